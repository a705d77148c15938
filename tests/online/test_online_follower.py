from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from llm4rec.online.config import LearnerConfig
from llm4rec.online.errors import UnavailableError
from llm4rec.online.example import ExampleReader
from llm4rec.online.feedback import Exposure, Feedback, Logged, Slate
from llm4rec.online.follower import Follower, shard_of
from llm4rec.online.learner import Frozen
from llm4rec.online.log import EventLog
from llm4rec.online.parameters import to_snapshot

CODES = {"a": 0, "b": 1, "c": 2, "d": 3}
VECTORS = np.eye(4, dtype=np.float32)
STATES = {"known": np.array([1, 0, 0, 0], np.float32)}
CONFIG = LearnerConfig(daily_events=3)


def said(event_id: str, user_id: str, item_id: str, event: str = "like", slate_id: str | None = None) -> Feedback:
    return Feedback(event_id, user_id, item_id, event, slate_id=slate_id, timestamp=10)


def slate(slate_id: str, user_id: str, version: str = "v1") -> Slate:
    state = np.array([0, 0, 1, 0], "<f4").tobytes()
    return Slate(slate_id, user_id, version, 100, (Exposure("a", 2.0, 0.5), Exposure("b", 1.0, 0.25)), state)


def reader(log: EventLog, past: Callable[[str], list[int]] = lambda _: []) -> ExampleReader:
    def known(user_id: str) -> tuple[np.ndarray, np.ndarray | None]:
        return np.array(past(user_id), np.int32), STATES.get(user_id)

    return ExampleReader(CODES, "v1", known, log.logged_of, CONFIG.daily_events, log.disliked_rating)


def follower(log: EventLog, **more: int) -> Follower:
    return Follower(log, Frozen(VECTORS, 2.0), lambda: reader(log), CONFIG, "v1", **more)


def caught_up(log: EventLog, **more: int) -> Follower:
    found = follower(log, **more)
    while found.catch_up():
        pass
    return found


def fill(log: EventLog, users: str = "stuvwxyz", start: int = 0) -> None:
    for number, user in enumerate(users, start):
        log.record_exposures(slate(f"s{number}", user))
        events = [
            said(f"{number}-{item}", user, item, "skip" if item == "c" else "like", f"s{number}") for item in "abc"
        ]
        log.append_feedback(events)


def same(one: Follower, other: Follower) -> bool:
    return to_snapshot(one.learner, 0, 0) == to_snapshot(other.learner, 0, 0)


def test_examples_are_made_of_slate_and_event(log: EventLog) -> None:
    log.record_exposures(slate("s1", "u"))
    log.append_feedback(
        [said("e1", "u", "b", "dislike", "s1"), said("e2", "known", "a"), said("e3", "u", "c", "like", "s1")]
    )
    read = reader(log, lambda user_id: [3])
    disliked, usual, unshown = (read.of(row) for row in log.logged_after(0))
    assert disliked is not None and usual is not None and unshown is not None
    assert (disliked.item, disliked.wanted, disliked.propensity, disliked.known.tolist()) == (1, False, 0.25, [3])
    np.testing.assert_array_equal(disliked.state, [0, 0, 1, 0])
    assert (usual.propensity, usual.wanted) == (None, True)
    np.testing.assert_array_equal(usual.state, STATES["known"])
    assert (unshown.propensity, unshown.known.tolist()) == (None, [1, 3])


LATER = slate("other model of known", "known", "v0")


@pytest.mark.parametrize(
    "event",
    [
        said("e", "u", "unheard of", slate_id="s1"),
        said("e", "u", "d", slate_id="s1"),  # is in the history
        said("e", "stranger", "a"),  # no slate, no usual state
        said("e", "u", "a", slate_id="other model"),
        said("e", "u", "a", slate_id="other user"),
        said("e", "known", "a", slate_id="other model of known"),
    ],
)
def test_events_without_an_example(log: EventLog, event: Feedback) -> None:
    for shown in (slate("s1", "u"), slate("other model", "u", "v0"), slate("other user", "v"), LATER):
        log.record_exposures(shown)
    log.append_feedback([event])
    (row,) = log.logged_after(0)
    assert reader(log, lambda _: [3]).of(row) is None


def test_a_user_teaches_of_each_item_once_and_so_many_times_a_day(log: EventLog) -> None:
    log.append_feedback([said(f"e{n}", "known", item) for n, item in enumerate("aabcd")])
    rows = log.logged_after(0)
    later = replace(rows[-1], received=rows[-1].received + 86_400)
    read = reader(log)
    assert [read.of(row) is not None for row in [*rows, later]] == [True, False, True, True, False, True]


def test_a_reader_that_starts_later_knows_what_was_before(log: EventLog) -> None:
    log.append_feedback([said(f"e{n}", "known", item) for n, item in enumerate("abcd")])
    *_, third, fourth = log.logged_after(0)
    assert reader(log).of(fourth) is None  # three were before, on the same day
    example = reader(log).of(third)
    assert example is not None and example.known.tolist() == [0, 1]


def test_following_in_pieces_and_after_a_crash_is_the_same_to_the_last_bit(log: EventLog) -> None:
    fill(log)
    whole = caught_up(log)
    assert whole.learner.examples == 24 and whole.sequence == 24
    pieces = follower(log)
    for until in (1, 2, 7, 15):
        assert pieces.catch_up(until)
    assert pieces.save()
    pieces.catch_up(20)  # lost with the process: not saved
    again = follower(log)
    again.open()
    assert again.sequence == 15
    while again.catch_up():
        pass
    assert same(again, whole) and again.sequence == 24


def test_a_log_that_fails_half_way_teaches_nothing_twice(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(log)
    whole, again = caught_up(log), follower(log)
    again.catch_up(20)
    again.save()
    asked, answer = [], log.logged_of

    def fail_once(user_id: str, before: int) -> list[Logged]:
        asked.append(user_id)
        if len(asked) == 1:
            raise UnavailableError("away")
        return answer(user_id, before)

    monkeypatch.setattr(log, "logged_of", fail_once)
    later = follower(log)
    later.open()
    with pytest.raises(UnavailableError):
        later.catch_up()
    while later.catch_up():
        pass
    assert same(later, whole) and asked[0] == asked[1]


def test_other_settings_do_not_go_on_from_what_was_learnt(log: EventLog) -> None:
    fill(log)
    caught_up(log).save()
    other = CONFIG.model_copy(update={"max_shift": 0.01})
    cautious = Follower(log, Frozen(VECTORS, 2.0), lambda: reader(log), other, "v1")
    cautious.open()
    assert cautious.sequence == 0


def test_what_was_learnt_with_another_border_of_dislikes_is_not_gone_on_with(log: EventLog) -> None:
    before = follower(log).key
    log.disliked_rating = 4.0
    assert follower(log).key != before


def test_a_damaged_snapshot_is_passed_over(log: EventLog, caplog: pytest.LogCaptureFixture) -> None:
    fill(log)
    whole = caught_up(log)
    whole.save()
    snapshot = log.snapshot(whole.key)
    assert snapshot is not None
    log.save_snapshot(whole.key, replace(snapshot, contents=snapshot.contents[:-9]), 4)
    again = follower(log)
    again.open()
    assert again.sequence == 0 and "checksum" in caplog.text
    again.catch_up()
    assert same(again, whole)


def test_a_forgotten_user_is_unlearnt(log: EventLog, tmp_path_factory: pytest.TempPathFactory) -> None:
    fill(log)
    learnt = caught_up(log)
    learnt.save()
    epoch = learnt.update_since("", 0).epoch
    log.delete_user("u")
    assert not learnt.save()  # it still holds what the user taught
    assert log.snapshot(learnt.key) is None
    while learnt.catch_up():
        pass
    other = EventLog(f"sqlite:///{tmp_path_factory.mktemp('log')}/never.db")
    fill(other, "st")
    fill(other, "vwxyz", start=3)
    assert same(learnt, caught_up(other)) and "u" not in learnt.learner.adapters
    assert learnt.update_since(epoch, 24).epoch != epoch and learnt.save()
    other.close()


def test_while_all_is_learnt_anew_slates_have_what_was_learnt_before(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm4rec.online.follower.PAGE", 10)
    fill(log)
    learnt = caught_up(log)
    before = learnt.update_since("", 0)
    log.delete_user("u")
    assert learnt.catch_up() == 10 and learnt.told()["examples"] < before.examples
    meanwhile = learnt.update_since(before.epoch, before.examples)
    assert meanwhile.epoch != before.epoch and meanwhile.examples == before.examples
    assert set(meanwhile.adapters) == set("stvwxyz"), "of the deleted user nothing is used any more"
    assert len(meanwhile.items) == len(before.items)
    while learnt.catch_up():
        pass
    after = learnt.update_since(before.epoch, before.examples)
    assert after.epoch != before.epoch and set(after.adapters) == set("stvwxyz")


def test_shards_share_the_users_out(log: EventLog) -> None:
    fill(log)
    parts = [caught_up(log, shard=shard, shards=3) for shard in range(3)]
    for shard, part in enumerate(parts):
        assert all(shard_of(user_id, 3) == shard for user_id in part.learner.adapters)
    assert sum(part.learner.examples for part in parts) == 24
    assert shard_of("ann", 1000) == 870  # never another: users would lose what was learnt of them


def test_updates_tell_only_what_is_new_until_all_is_new(log: EventLog) -> None:
    fill(log, "st")
    learnt = caught_up(log)
    first = learnt.update_since("", 0)
    assert set(first.adapters) == {"s", "t"} and first.examples == 6
    fill(log, "u", start=2)
    learnt.catch_up()
    assert set(learnt.update_since(first.epoch, first.examples).adapters) == {"u"}
    assert set(learnt.update_since("another", first.examples).adapters) == {"s", "t", "u"}
    assert learnt.told() == {"sequence": 9, "behind": 0, "examples": 9, "rollbacks": 0, "gain": 0.0}
