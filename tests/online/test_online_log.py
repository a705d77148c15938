import sqlite3
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event, Timer
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, create_engine, insert, inspect, make_url
from sqlalchemy.event import listens_for, remove
from sqlalchemy.schema import DropIndex

from llm4rec.errors import ConfigError
from llm4rec.online import database
from llm4rec.online import log as online_log
from llm4rec.online.database import reading, writing
from llm4rec.online.errors import ConflictError, UnavailableError
from llm4rec.online.feedback import Appended, Exposure, Feedback, ItemOverlay, LearnerState, Plain, Slate
from llm4rec.online.group import COLUMNS, VALUES_PER_STATEMENT
from llm4rec.online.log import EventLog
from llm4rec.online.tables import BY_KEY, BY_USER, FEEDBACK, NEWEST_OF_USER, OLDER_INDEXES, PLAIN, STATES
from tests.ports import free_port
from tests.postgres import Postgres

SLATE = Slate("s1", "u1", "v1", 100, (Exposure("b", 2.0, 0.5), Exposure("a", 1.0, 0.25)))


def like(event_id: str, user_id: str = "u1", item_id: str = "a", **more: object) -> Feedback:
    return Feedback(event_id, user_id, item_id, "like", timestamp=10, **more)


def test_feedback_comes_back_in_order_and_survives_reopening(log_url: str) -> None:
    first, second = like("e1", value=4.5, slate_id="s1"), Feedback("e2", "u1", "b", "skip", timestamp=5)
    log = EventLog(log_url)
    assert log.append_feedback([first, like("e3", user_id="u2"), second]) == Appended(accepted=3, duplicates=0)
    log.close()
    again = EventLog(log_url)
    assert again.feedback_of("u1") == [first, second]
    assert [number for number, _ in again.feedback_after(0)] == [1, 2, 3]
    assert [event.event_id for _, event in again.feedback_after(1, limit=1)] == ["e3"]
    again.close()


def test_of_a_user_the_newest_feedback_on_each_item_is_known(log: EventLog) -> None:
    assert (log.known("u1").feedback, log.known("u1").newest) == ([], 0)
    log.append_feedback([like("e1"), like("e2", item_id="b"), like("e3", user_id="u2"), like("e4"), like("e5")])
    known = log.known("u1")
    assert [event.event_id for event in known.feedback] == ["e2", "e5"] and known.newest == 5


def test_of_a_plain_slate_the_feedback_before_it_is_known_whatever_clocks_say(log: EventLog) -> None:
    log.append_feedback([like("e1"), like("e2", item_id="b"), like("e3"), replace(like("e4"), timestamp=2**31)])
    slate = replace(SLATE, plain=Plain(None, None, heard=2))
    assert [event.event_id for event in log.feedback_before(slate)] == ["e1", "e2"]
    assert log.feedback_before(replace(SLATE, plain=Plain(None, None, heard=0))) == []
    older = replace(SLATE, plain=Plain(None, None))  # of a version that did not write it down
    assert log.feedback_before(older) == []
    assert [event.event_id for event in log.feedback_before(replace(older, timestamp=2**31))] == ["e2", "e4"]


def test_times_of_this_century_fit(log: EventLog) -> None:
    late = Feedback("e1", "u1", "a", "like", timestamp=4_102_444_800)
    log.append_feedback([late])
    assert log.feedback_of("u1") == [late]


def test_the_same_event_again_is_a_duplicate_in_the_log_and_in_the_batch(log: EventLog) -> None:
    assert log.append_feedback([like("e1"), like("e1")]) == Appended(accepted=1, duplicates=1)
    assert log.append_feedback([like("e1"), like("e2")]) == Appended(accepted=1, duplicates=1)
    assert log.counts()["feedback"] == 2


def test_an_event_without_a_timestamp_gets_the_time_of_arrival_and_may_be_sent_again(log: EventLog) -> None:
    event = Feedback("e1", "u1", "a", "click")
    log.append_feedback([event])
    assert log.append_feedback([event]) == Appended(accepted=0, duplicates=1)
    (logged,) = log.feedback_of("u1")
    assert logged.timestamp is not None and logged.timestamp > 1_700_000_000


@pytest.mark.parametrize("where", ["log", "batch"])
def test_an_event_id_with_other_contents_is_refused_and_nothing_written(log: EventLog, where: str) -> None:
    batch = [like("new"), like("e1", item_id="b")]
    if where == "log":
        log.append_feedback([like("e1")])
    else:
        batch.append(like("e1"))
    before = log.counts()
    with pytest.raises(ConflictError, match=r"'e1' is in .*another item_id"):
        log.append_feedback(batch)
    assert log.counts() == before


def test_a_batch_larger_than_one_query_is_checked_whole(log: EventLog) -> None:
    events = [like(f"e{number}") for number in range(1200)]
    assert log.append_feedback(events).accepted == 1200
    assert log.append_feedback(events) == Appended(accepted=0, duplicates=1200)


def test_a_batch_of_more_values_than_one_statement_takes_keeps_its_order(log: EventLog) -> None:
    events = [like(f"e{number}", value=float(number)) for number in range(VALUES_PER_STATEMENT)]
    assert log.append_feedback(events).accepted == len(events)
    assert [event for _, event in log.feedback_after(0, limit=len(events) + 1)] == events


def test_statements_have_few_values_and_few_texts(tmp_path: Path) -> None:
    statements: list[str] = []

    @listens_for(Engine, "connect")
    def trace(connection: sqlite3.Connection, _: object) -> None:
        connection.set_trace_callback(statements.append)

    try:
        log = EventLog(f"sqlite:///{tmp_path}/log.db")
    finally:
        remove(Engine, "connect", trace)
    for size in range(1, 150):
        log.append_feedback([like(f"{size}-{number}") for number in range(size)])
    log.close()
    rows = {text.count("), (") + 1 for text in statements if text.startswith("INSERT INTO feedback")}
    assert 1 < len(rows) <= 64  # sqlite3 keeps 128, of all tables
    assert max(rows) * len(COLUMNS[FEEDBACK]) <= VALUES_PER_STATEMENT


def test_parallel_writers_of_the_same_events_write_each_once(log_url: str) -> None:
    logs = [EventLog(log_url) for _ in range(2)]
    batches = [[like(f"e{number}") for number in range(start, start + 20)] for start in range(0, 100, 10)]
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda pair: logs[pair[0] % 2].append_feedback(pair[1]), enumerate(batches * 2)))
    assert sum(each.accepted for each in done) == 110 == logs[0].counts()["feedback"]
    for log in logs:
        log.close()


def test_sequence_numbers_are_never_used_again(log: EventLog) -> None:
    log.append_feedback([like("e1")])
    log.delete_user("u1")
    log.append_feedback([like("e2", user_id="u2")])
    assert [number for number, _ in log.feedback_after(0)] == [2]


def test_a_slate_is_recorded_once_with_positions_and_propensities(log: EventLog) -> None:
    log.record_exposures(SLATE)
    assert log.slate("s1") == SLATE
    assert log.slate("s2") is None
    with pytest.raises(ConflictError, match="'s1'"):
        log.record_exposures(SLATE)


def test_a_group_is_written_together_and_a_conflict_concerns_only_its_own_batch(log: EventLog) -> None:
    log.append_feedback([like("e1")])
    done = log.write_group([[like("e1"), like("e2")], SLATE, [like("e3"), like("e2", item_id="b")], SLATE, []])
    assert done[0] == Appended(accepted=1, duplicates=1) and done[1] is None
    assert isinstance(done[2], ConflictError) and isinstance(done[3], ConflictError)
    assert done[4] == Appended(accepted=0, duplicates=0)
    assert [event.event_id for event in log.feedback_of("u1")] == ["e1", "e2"] and log.slate("s1") == SLATE


def test_feedback_is_read_with_the_slate_that_it_is_about(log: EventLog) -> None:
    slate = replace(SLATE, state=b"\x00\x00\x80?")
    log.record_exposures(slate)
    log.append_feedback([like("e1", slate_id="s1"), like("e2", slate_id="unknown"), like("e3")])
    assert [row.slate for row in log.logged_after(0)] == [slate, None, None]
    assert [row.feedback.event_id for row in log.logged_after(1)] == ["e2", "e3"] and log.last_sequence() == 3


def test_changes_tell_other_replicas_what_to_look_at_again(log: EventLog) -> None:
    log.put_item("a", {"title": "A"})
    (first,) = log.changes_after(0)
    assert (first.kind, first.key) == ("item", "a")
    log.delete_item("a")
    log.delete_user("u1")
    kinds = [(change.kind, change.key) for change in log.changes_after(first.sequence)]
    assert kinds[0] == ("item", "a") and kinds[1][0] == "forgotten" and "u1" not in kinds[1][1]


def test_of_many_changes_of_an_item_the_first_and_the_last_are_kept(log: EventLog) -> None:
    """The first gives an added item its place, and who has come half way still sees the last."""
    for item_id in ("z", "a", "z", "z"):
        log.put_item(item_id, {"title": item_id})
    (_, _, last) = log.changes_after(0)
    log.put_item("z", {"title": "newest"})
    log.delete_user("u1")
    changes = log.changes_after(0)
    assert [change.key for change in changes[:3]] == ["z", "a", "z"] and changes[3].kind == "forgotten"
    assert [change.key for change in log.changes_after(last.sequence)][0] == "z"


def test_a_snapshot_is_replaced_and_goes_when_a_user_is_forgotten(log: EventLog) -> None:
    first, second = LearnerState(5, 0, b"five", "x"), LearnerState(7, 0, b"seven", "y")
    assert log.save_snapshot("k", first, 4) and log.save_snapshot("k", second, 4)
    assert log.snapshot("k") == second and log.snapshot("other") is None
    log.delete_user("u1")
    assert log.snapshot("k") is None and log.times_forgotten() == 1
    assert not log.save_snapshot("k", second, 4) and log.snapshot("k") is None
    assert log.save_snapshot("k", replace(second, forgotten=1), 4)


def test_a_user_is_forgotten_while_slates_are_being_written(tmp_path: Path) -> None:
    log, other, ended = EventLog(f"sqlite:///{tmp_path}/log.db"), EventLog(f"sqlite:///{tmp_path}/log.db"), Event()
    ten = tuple(Exposure(f"item {n}", 1.0, 0.5) for n in range(10))
    many = [Slate(f"{n}", f"u{n % 20}", "v1", 1, ten, state=bytes(256)) for n in range(20_000)]
    for start in range(0, len(many), 1000):  # 20 MB: more than a commit leaves in the write-ahead log
        log.write_group(many[start : start + 1000])

    def write() -> int:
        written = 0
        while not ended.wait(0.005):
            other.record_exposures(replace(SLATE, slate_id=f"late {written}", user_id="somebody"))
            written += 1
        return written

    with ThreadPoolExecutor(1) as pool:
        writing_on = pool.submit(write)
        try:
            for number in range(8):
                log.delete_user(f"u{number}")
        finally:
            ended.set()
        assert writing_on.result() > 10
    assert log.slate("3") is None and log.slate("late 3") is not None
    for one in (log, other):
        one.close()


def fails(_: object) -> None:
    raise UnavailableError("delete once more")


def test_remains_are_erased_once(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    erased: list[object] = []
    monkeypatch.setattr(online_log, "erase_remains", erased.append)
    log.append_feedback([like("e1")])
    for _ in range(3):
        log.delete_user("u1")
    assert len(erased) == 1
    log.append_feedback([like("e2")])  # came back
    log.delete_user("u1")
    assert len(erased) == 2
    other = EventLog(log._engine.url.render_as_string(hide_password=False))  # another process, which fails to erase
    other.append_feedback([like("e3")])
    monkeypatch.setattr(online_log, "erase_remains", fails)
    with pytest.raises(UnavailableError, match="once more"):
        other.delete_user("u1")
    other.close()
    monkeypatch.setattr(online_log, "erase_remains", erased.append)
    log.delete_user("u1")
    assert len(erased) == 3


def test_an_unreachable_server_is_not_blamed_on_the_disk() -> None:
    port = free_port()
    with pytest.raises(
        UnavailableError, match=rf"the log events .*refused.*server at 127\.0\.0\.1:{port} runs"
    ) as told:
        EventLog(f"postgresql://me:secret@127.0.0.1:{port}/events")
    assert "Check its disk" not in str(told.value) and "secret" not in str(told.value)


def test_a_server_that_a_network_has_lost_is_given_up(postgres: Postgres) -> None:
    for asked, seconds in (("", "10"), ("?keepalives_idle=77", "77")):
        log = EventLog(postgres.new_database() + asked)
        with reading(log._engine) as connection:
            told = connection.connection.dbapi_connection.info.get_parameters()  # type: ignore[union-attr]
        assert (told["keepalives_idle"], told["tcp_user_timeout"]) == (seconds, "25000")
        log.close()


def test_postgresql_numbers_events_beyond_32_bits_in_a_log_of_an_older_version_too(postgres: Postgres) -> None:
    url = postgres.new_database()
    for narrow in (False, True):
        log = EventLog(url)
        if narrow:  # as it was
            with writing(log._engine) as connection:
                connection.exec_driver_sql("DELETE FROM feedback")
                connection.exec_driver_sql("DELETE FROM plain_requests")
                connection.exec_driver_sql("ALTER TABLE feedback ALTER COLUMN sequence TYPE INTEGER")
                connection.exec_driver_sql("ALTER SEQUENCE feedback_sequence_seq RESTART WITH 5")
                connection.exec_driver_sql("ALTER SEQUENCE feedback_sequence_seq AS INTEGER")
                connection.exec_driver_sql("ALTER TABLE plain_requests ALTER COLUMN heard TYPE INTEGER")
            log.close()
            log = EventLog(url)
        with writing(log._engine) as connection:
            connection.exec_driver_sql("ALTER SEQUENCE feedback_sequence_seq RESTART WITH 3000000000")
        log.append_feedback([like("e1")])
        assert log.known("u1").newest == 3_000_000_000
        log.record_exposures(replace(SLATE, slate_id=f"{narrow}", plain=Plain(None, None, heard=3_000_000_000)))
        log.close()


def test_item_overlays_tell_put_from_withdrawn(log: EventLog) -> None:
    log.put_item("a", {"title": "A"})
    log.put_item("a", {"title": "A2"})
    log.delete_item("b")
    assert log.item_overlays() == [ItemOverlay("a", {"title": "A2"}), ItemOverlay("b", None)]
    many = ["b", *map(str, range(1200)), "a"]
    assert {overlay.item_id for overlay in log.item_overlays(many)} == {"a", "b"}
    assert log.item_overlays(["c", "b"]) == [ItemOverlay("b", None)] and log.item_overlays([]) == []


def test_a_deleted_user_is_gone_and_remembered_as_forgotten(log: EventLog) -> None:
    log.put_user("u1", {"age": 3})
    log.append_feedback([like("e1"), like("e2", user_id="u2")])
    log.record_exposures(SLATE)
    log.delete_user("u1")
    assert log.known("u1").attributes is None and log.feedback_of("u1") == [] and log.slate("s1") is None
    assert log.is_forgotten("u1") and not log.is_forgotten("u2")
    assert log.counts() == {
        "changes": 1,
        "exposures": 0,
        "feedback": 1,
        "forgotten_users": 1,
        "plain_requests": 0,
        "items": 0,
        "releases": 0,
        "snapshots": 0,
        "states": 0,
        "users": 0,
    }
    log.put_user("u1", {"age": 4})
    assert log.known("u1").attributes == {"age": 4} and log.is_forgotten("u1")


def test_a_slate_that_was_being_drawn_when_its_user_was_deleted_is_not_written(log: EventLog) -> None:
    log.put_user("u1", {"age": 3})
    log.delete_user("u1")
    late, other = SLATE, replace(SLATE, slate_id="s2", user_id="u2")
    refused, written = log.write_group([late, other])
    assert isinstance(refused, ConflictError) and "was deleted while" in str(refused) and written is None
    assert log.slate("s1") is None and log.slate("s2") == other
    assert log.known("u1").forgotten == 1
    log.record_exposures(replace(late, forgotten=1))
    assert log.slate("s1") == SLATE, "of somebody who came back"
    log.delete_user("u1")
    again = replace(SLATE, slate_id="s3", forgotten=1)
    with pytest.raises(ConflictError, match="was deleted while"):
        log.record_exposures(again)
    assert log.known("u1").forgotten == 2


def test_a_user_deleted_again_while_his_slate_is_drawn_is_not_in_it(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append_feedback([like("e1")])
    log.delete_user("u1")
    log.append_feedback([like("e2")])  # came back
    newest_feedback = log._newest_feedback

    def and_then_deleted(*asked: Any) -> list[Feedback]:
        found = newest_feedback(*asked)
        log.delete_user("u1")
        return found

    monkeypatch.setattr(log, "_newest_feedback", and_then_deleted)
    known = log.known("u1")
    assert [event.event_id for event in known.feedback] == ["e2"]
    with pytest.raises(ConflictError, match="was deleted while"):
        log.record_exposures(replace(SLATE, forgotten=known.forgotten))


def test_who_is_forgotten_and_has_left_nothing_since_changes_nothing(log: EventLog) -> None:
    log.append_feedback([like("e1")])
    log.delete_user("u1")
    learnt = LearnerState(5, 1, b"five", "x")
    assert log.save_snapshot("k", learnt, 4)
    log.delete_user("u1")
    assert log.times_forgotten() == 1 and log.snapshot("k") == learnt
    log.append_feedback([like("e2")])
    log.delete_user("u1")
    assert log.times_forgotten() == 2 and log.snapshot("k") is None


def test_snapshots_of_models_that_nobody_follows_go(log: EventLog) -> None:
    for number in range(6):
        assert log.save_snapshot(f"model {number}", LearnerState(10 + number, 0, b"", ""), 3)
    kept = [number for number in range(6) if log.snapshot(f"model {number}") is not None]
    assert kept == [3, 4, 5]
    assert log.save_snapshot("begins anew", LearnerState(1, 0, b"", ""), 3)
    assert log.snapshot("begins anew") is not None and log.snapshot("model 5") is not None


def test_a_slate_without_items_leaves_nothing_that_could_not_be_deleted(log: EventLog) -> None:
    log.record_exposures(replace(SLATE, exposures=(), state=b"state", plain=Plain(None, None)))
    counts = log.counts()
    assert counts["states"] == counts["plain_requests"] == counts["exposures"] == 0


def test_no_writer_waits_while_the_slates_of_a_user_are_looked_for(tmp_path: Path) -> None:
    log = EventLog(f"sqlite:///{tmp_path}/log.db")
    log.record_exposures(replace(SLATE, state=b"state", plain=Plain(None, None)))
    done: list[tuple[str, Sequence[object]]] = []

    def note(_: object, __: object, statement: str, parameters: Sequence[object], *___: object) -> None:
        if statement.startswith("DELETE"):
            done.append((statement, parameters))

    listens_for(log._engine, "before_cursor_execute")(note)
    log.delete_user("u1")
    remove(log._engine, "before_cursor_execute", note)
    of_slates = [one for one in done if any(table in one[0] for table in OLDER_INDEXES)]
    assert len(of_slates) == 6
    with reading(log._engine) as connection:
        for statement, parameters in of_slates:
            steps = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters).scalars("detail").all()
            assert steps and not any("SCAN" in step for step in steps), (statement, steps)
    log.close()


def test_isolation_of_readers_is_not_that_of_who_writes_next(postgres: Postgres) -> None:
    log = EventLog(postgres.new_database())
    for _ in range(2):  # on one connection in turn
        with reading(log._engine) as connection:
            assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "repeatable read"
        with writing(log._engine) as connection:
            assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
    assert log._engine.pool.checkedin() == 1  # type: ignore[attr-defined]
    log.close()


def test_judged_slates_are_the_newest_of_one_second_too(log: EventLog) -> None:
    for number in range(4):
        log.record_exposures(replace(SLATE, slate_id=f"{number}", plain=Plain(None, None)))
    assert [judged.slate.slate_id for judged in log.judged(3)] == ["1", "2", "3"]


def test_a_log_of_an_older_version_is_brought_up_and_forgets_as_well(log_url: str) -> None:
    kept = replace(SLATE, slate_id="s2", user_id="u2", state=b"two", plain=Plain(None, None))
    log = EventLog(log_url)
    log.write_group([replace(SLATE, state=b"one", plain=Plain(0.5, None)), kept])
    with writing(log._engine) as connection:  # as it was
        connection.execute(DropIndex(BY_USER))
        connection.execute(DropIndex(BY_KEY))
        connection.execute(DropIndex(NEWEST_OF_USER))
        for table, index in OLDER_INDEXES.items():
            connection.exec_driver_sql(f"CREATE INDEX {index} ON {table} (user_id)")
        connection.exec_driver_sql("ALTER TABLE plain_requests DROP COLUMN heard")
    log.close()
    with ThreadPoolExecutor(4) as pool:  # replicas that start together
        logs = list(pool.map(EventLog, [log_url] * 4))
    for log in logs:
        found = inspect(log._engine)
        indexes = [index for table in OLDER_INDEXES for index in found.get_indexes(table)]
        assert {index["name"] for index in indexes if not index["unique"]} == {
            "ix_exposures_by_user",
            "ix_feedback_newest_of_user",
            "ix_feedback_slate_id",
            "ix_plain_requests_timestamp",
        }
        assert [index["name"] for index in found.get_indexes("changes")] == ["ix_changes_by_key"]
    with writing(log._engine) as connection:  # an older version, which still runs, logs a slate without items
        connection.execute(insert(STATES).values(slate_id="empty", user_id="u1", state=b"gone"))
        connection.execute(insert(PLAIN).values(slate_id="empty", user_id="u1", timestamp=1))
    log.record_exposures(replace(SLATE, slate_id="s3", user_id="u3", plain=Plain(None, 1.0, heard=7)))
    assert log.slate("s3").plain == Plain(None, 1.0, 7)
    log.delete_user("u1")
    counts = log.counts()
    assert log.slate("s1") is None and log.slate("s2") == kept
    assert counts["states"] == 1 and counts["plain_requests"] == 2 and counts["exposures"] == 4
    for log in logs:
        log.close()


@pytest.mark.parametrize("seed", range(4))
def test_copies_in_the_free_part_of_pages_go_with_a_user(tmp_path: Path, seed: int) -> None:
    """Of cells that moved to another page: ids in no order, as they come to a large log."""
    rng, secret = np.random.default_rng(seed), "ann@example.org"
    log = EventLog(f"sqlite:///{tmp_path}/log.db")
    exposures = tuple(Exposure(f"i{n}", 1.0, 0.1) for n in range(10))
    for _ in range(30):
        users = [secret if rng.random() < 0.04 else f"{rng.bytes(7).hex()}" for _ in range(100)]
        slates = [Slate(rng.bytes(16).hex(), user, "v", 1, exposures, b"", 0, Plain(None, None)) for user in users]
        log.write_group([*slates, [like(rng.bytes(16).hex(), user_id=user) for user in users]])
    log.delete_user(secret)
    log.close()
    assert secret.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_options_of_a_postgresql_url_stand_beside_ours(postgres: Postgres) -> None:
    url = postgres.new_database()
    EventLog(url).close()
    with create_engine(make_url(url).set(drivername="postgresql+psycopg")).begin() as connection:
        connection.exec_driver_sql("CREATE SCHEMA mine")
    log = EventLog(f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3Dmine&connect_timeout=7")
    log.put_item("a", {"title": "A"})
    with reading(log._engine) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM mine.items").scalar_one() == 1
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "on"
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar_one() != "0"
    log.close()


def test_deleting_a_user_leaves_no_byte_of_the_id_on_the_disk(tmp_path: Path) -> None:
    log = EventLog(f"sqlite:///{tmp_path}/log.db")
    secret = "ann@example.org"
    for number in range(40):  # many small transactions in between: page splits leave old copies behind
        others = [like(f"{hash((number, k))}", user_id=f"user-{k * 37 % 50}") for k in range(50)]
        log.append_feedback([*others, like(f"{hash(number)}x", user_id=secret)])
        log.record_exposures(Slate(f"s{number}", secret, "v1", 1, SLATE.exposures, b"state", 0, Plain(None, None)))
    log.put_user(secret, {"name": secret})
    assert secret.encode() in b"".join(path.read_bytes() for path in tmp_path.iterdir())
    log.delete_user(secret)
    assert {path.name for path in tmp_path.iterdir()} == {"log.db", "log.db-wal", "log.db-shm"}
    for path in tmp_path.iterdir():
        assert secret.encode() not in path.read_bytes(), path.name
    assert log.counts()["feedback"] == 2000
    log.close()


def test_a_locked_database_is_unavailable_and_writes_nothing(tmp_path: Path) -> None:
    log = EventLog(f"sqlite:///{tmp_path}/log.db", busy_timeout_s=0.05)
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match=r"log\.db could not be written: database is locked.* Check its disk"):
        log.append_feedback([like("e1")])
    other.execute("ROLLBACK")
    other.close()
    assert log.append_feedback([like("e1")]).accepted == 1
    log.close()


def test_a_writer_waits_for_another_process_and_keeps_its_patience(tmp_path: Path) -> None:
    log = EventLog(f"sqlite:///{tmp_path}/log.db", busy_timeout_s=30)
    other = sqlite3.connect(tmp_path / "log.db", isolation_level=None, check_same_thread=False)
    for event_id in ("e1", "e2"):
        other.execute("BEGIN IMMEDIATE")
        Timer(0.2, other.execute, ["ROLLBACK"]).start()
        assert log.append_feedback([like(event_id)]).accepted == 1
    with reading(log._engine) as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
    other.close()
    log.close()


def test_damage_that_the_begin_of_a_write_meets_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "log.db").write_bytes(b"no database at all " * 500)
    cursor = sqlite3.connect(tmp_path / "log.db", isolation_level=None).cursor()
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        database._begin_writing(cursor, 60)


def test_a_garbage_file_is_named_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    path.write_bytes(b"no database at all " * 500)
    with pytest.raises(UnavailableError, match=r"log\.db.*not a database"):
        EventLog(f"sqlite:///{path}")
    assert path.read_bytes() == b"no database at all " * 500


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    log = EventLog(f"sqlite:///{path}")
    log.append_feedback([like(f"e{number}") for number in range(2000)])
    log.close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UnavailableError, match=r"log\.db.*malformed"):
        EventLog(f"sqlite:///{path}").append_feedback([like(f"f{number}") for number in range(2000)])


def test_a_torn_last_transaction_loses_only_itself(tmp_path: Path) -> None:
    log = EventLog(f"sqlite:///{tmp_path}/log.db")
    log.append_feedback([like("e1")])
    whole = (tmp_path / "log.db-wal").stat().st_size
    log.append_feedback([like("e2")])
    copy = tmp_path / "copy.db"  # what a crash in the middle of the second commit leaves
    copy.write_bytes((tmp_path / "log.db").read_bytes())
    wal = (tmp_path / "log.db-wal").read_bytes()
    assert len(wal) > whole
    Path(f"{copy}-wal").write_bytes(wal[: whole + (len(wal) - whole) // 2])
    torn = EventLog(f"sqlite:///{copy}")
    assert [event.event_id for event in torn.feedback_of("u1")] == ["e1"]
    assert torn.append_feedback([like("e2")]).accepted == 1
    torn.close()
    log.close()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="nowhere/log.db.*unable to open"):
        EventLog(f"sqlite:///{tmp_path}/nowhere/log.db")


@pytest.mark.parametrize(
    "url", ["", "log.db", "sqlite://", "sqlite:///:memory:", "mysql://me:secret@host/db", "postgresql://me:secret@host"]
)
def test_a_url_that_is_no_log_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ConfigError, match="sqlite:////data") as caught:
        EventLog(url)
    assert "secret" not in str(caught.value)
