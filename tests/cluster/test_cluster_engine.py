"""One version of the model at work: what it knows of users and items, and what others have changed or learnt."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from llm4rec.cluster.engine import Engine, new_slate_id
from llm4rec.cluster.online import new_follower
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.cluster.states import States
from llm4rec.online.feedback import Feedback
from llm4rec.online.log import EventLog
from llm4rec.online.parameters import Shift
from llm4rec.serve.contract import RecommendRequest
from llm4rec.serve.errors import NotFoundError
from tests.cluster.small_run import WordsAsNumbers

CONFIG = RunConfig.model_validate(
    {
        "source": {"format": "movielens", "path": "unused"},
        "recommend": {"temperature": 0.0},
        "online": {"learner": {"item_rate": 0.5, "user_rate": 0.5}},
    }
)
RECORD: dict[str, Any] = {"title": "Fargo (1996)", "text": "Snow.", "categories": ["Drama"], "numbers": {}}


@pytest.fixture
def engine(snapshot: Snapshot, log: EventLog) -> Engine:
    return new_engine(snapshot, log)


def new_engine(snapshot: Snapshot, log: EventLog) -> Engine:
    return Engine(snapshot, CONFIG, log, WordsAsNumbers(CONFIG.encode))  # type: ignore[arg-type]


def shown(engine: Engine, **request: Any) -> list[str]:
    asked = RecommendRequest(k=10, **request)
    return [item.item_id for item in engine.rank(asked, engine.retrieve(asked)).logged.exposures]


def like(engine: Engine, log: EventLog, user_id: str, item_id: str) -> None:
    """Ask for a slate, and like something on it."""
    asked = RecommendRequest(k=10, user_id=user_id)
    slate = engine.rank(asked, engine.retrieve(asked)).logged
    log.record_exposures(slate)
    log.append_feedback([Feedback(f"{user_id}-{item_id}", user_id, item_id, "like", slate_id=slate.slate_id)])


def test_a_slate_tells_what_it_was_drawn_for(engine: Engine, log: EventLog) -> None:
    asked = RecommendRequest(k=3, user_id="u1")
    drawn = engine.rank(asked, engine.retrieve(asked))
    log.record_exposures(drawn.logged)
    assert log.slate(drawn.logged.slate_id) == drawn.logged and drawn.logged.model_version == "test"
    state = np.frombuffer(drawn.logged.state, "<f4")
    np.testing.assert_array_equal(state, engine.snapshot.states[1])
    assert {item.item_id for item in drawn.logged.exposures}.isdisjoint({"a", "d"}) and len(drawn.titles) == 3
    anonymous = RecommendRequest(k=3, history=["a"])
    assert engine.rank(anonymous, engine.retrieve(anonymous)).logged.state == b""


def test_who_ranks_may_not_know_yet_what_who_retrieved_has_seen(
    snapshot: Snapshot, engine: Engine, log: EventLog
) -> None:
    late = new_engine(snapshot, log)
    engine.put_item("new", RECORD)
    asked = RecommendRequest(k=10, user_id="u2", history=["new", "a"])
    retrieved = engine.retrieve(asked)
    assert len(late.catalogue) < len(engine.catalogue) == len(retrieved.logits)
    shown = late.rank(asked, retrieved).logged.exposures
    assert {item.item_id for item in shown} == {"b", "c", "d", "cold"}


def test_ids_of_slates_are_in_order_of_time_and_of_one_length(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for milliseconds in (1, 255, 256, 1_800_000_000_000, 1_800_000_000_001):
        monkeypatch.setattr("time.time_ns", lambda now=milliseconds: now * 1_000_000)
        ids += [new_slate_id()]
    assert ids == sorted(ids) and {len(one) for one in ids} == {32}
    assert len({new_slate_id() for _ in range(1000)}) == 1000, "of one millisecond"


def test_slates_of_one_millisecond_are_drawn_with_other_numbers(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds: list[int] = []
    default_rng = np.random.default_rng
    monkeypatch.setattr("numpy.random.default_rng", lambda seed: seeds.append(seed) or default_rng(seed))
    monkeypatch.setattr("time.time_ns", lambda: 1_800_000_000_000_000_000)
    for _ in range(200):
        shown(engine, user_id="u1")
    assert len(set(seeds)) == 200 and max(seeds) >= 2**72


def test_states_that_were_kept_are_those_that_are_computed(snapshot: Snapshot, engine: Engine) -> None:
    person = engine.people.find("u0", engine.catalogue)
    assert person.unchanged == 0
    computed = States(replace(snapshot, states=snapshot.scorer.no_states)).of(person)
    np.testing.assert_allclose(States(snapshot).of(person), computed, atol=1e-5)


def test_a_click_makes_another_state_which_is_computed_once(
    snapshot: Snapshot, engine: Engine, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append_feedback([Feedback("e", "u1", "c", "like", timestamp=10**9)])
    states, person = States(snapshot), engine.people.find("u1", engine.catalogue)
    assert person.unchanged is None
    first = states.of(person)
    assert not np.allclose(first, snapshot.states[1])
    monkeypatch.setattr(snapshot.scorer, "states", None)
    assert states.of(engine.people.find("u1", engine.catalogue)) is first


def test_attributes_that_were_put_make_another_state(engine: Engine, log: EventLog) -> None:
    log.put_user("u0", {"gender": "M"})
    assert engine.people.find("u0", engine.catalogue).unchanged is None


def test_what_another_replica_changes_is_known_at_the_next_look(snapshot: Snapshot, log: EventLog) -> None:
    here, there = new_engine(snapshot, log), new_engine(snapshot, log)
    here.put_item("new", RECORD)
    assert there.with_items(["new", "a"]).has("new")  # who names it sees it at once
    assert "new" in shown(here, history=["a"]) and "new" in shown(there, history=["a"])
    there.delete_item("new")
    here.follow()
    assert "new" not in shown(here, history=["a"])
    with pytest.raises(NotFoundError, match="'new'"):
        here.delete_item("new")


def test_a_history_may_name_an_item_that_was_put_elsewhere_just_now(snapshot: Snapshot, log: EventLog) -> None:
    here, there = new_engine(snapshot, log), new_engine(snapshot, log)
    here.put_item("new", RECORD)
    assert "new" not in shown(there, history=["new", "a"])
    with pytest.raises(NotFoundError, match="unknown item 'newer'"):
        shown(there, history=["newer"])


def test_codes_of_added_items_are_the_same_in_all_processes(snapshot: Snapshot, log: EventLog) -> None:
    here, there = new_engine(snapshot, log), new_engine(snapshot, log)
    here.put_item("z", RECORD)
    there.put_item("b2", RECORD)
    here.put_item("m", RECORD)
    there.delete_item("z")
    here.put_item("b2", {**RECORD, "title": "Other"})
    later = new_engine(snapshot, log)
    for engine in (here, there, later):
        engine.follow()
        assert engine.catalogue.item_ids[5:] == ["z", "b2", "m"] and not engine.catalogue.has("z")
        assert engine.catalogue.titles[6] == "Other"


def test_who_has_come_half_way_and_who_starts_now_agree_on_a_log_that_keeps_first_and_last(
    snapshot: Snapshot, log: EventLog
) -> None:
    engines = []
    for number, item_id in enumerate(("z", "m", "z", "m", "q", "z")):
        log.put_item(item_id, {**RECORD, "title": f"Title {number}"})
        engines.append(new_engine(snapshot, log))
    log.delete_item("m")
    for engine in (*engines, new_engine(snapshot, log)):
        engine.follow()
        assert engine.catalogue.item_ids[5:] == ["z", "m", "q"] and not engine.catalogue.has("m")
        assert [engine.catalogue.records[code]["title"] for code in (5, 7)] == ["Title 5", "Title 4"]


def test_what_is_learnt_changes_scores_of_everybody_and_most_of_the_user(engine: Engine, log: EventLog) -> None:
    like(engine, log, "u1", "b")
    follower = new_follower(engine, log, CONFIG)
    assert follower.catch_up() == 1 and follower.learner.examples == 1
    before = {user: engine.retrieve(RecommendRequest(k=5, user_id=user)).logits for user in ("u0", "u1", "u2")}
    engine.take(0, follower.update_since(*engine.shift.followed(0)))
    after = {user: engine.retrieve(RecommendRequest(k=5, user_id=user)).logits for user in ("u0", "u1", "u2")}
    assert not np.array_equal(before["u2"], after["u2"])
    assert after["u1"][1] > before["u1"][1]
    learnt = engine.shift
    engine.take(0, follower.update_since(*learnt.followed(0)))
    assert engine.shift is learnt  # no news
    engine.shift = Shift.none(learnt.shift.shape[1])
    np.testing.assert_array_equal(engine.retrieve(RecommendRequest(k=5, user_id="u2")).logits, before["u2"])


def test_learning_scores_as_serving_does(engine: Engine, log: EventLog) -> None:
    for user, item in (("u1", "b"), ("u2", "c"), ("u1", "c")):
        like(engine, log, user, item)
    follower = new_follower(engine, log, CONFIG)
    follower.catch_up()
    engine.take(0, follower.update_since("", 0))
    served = engine.retrieve(RecommendRequest(k=5, user_id="u0")).logits
    expected = engine.snapshot.frozen.sharpness * follower.learner.moved @ engine.snapshot.states[0]
    np.testing.assert_allclose(served, expected, rtol=1e-4, atol=1e-4)


def test_the_forgotten_teach_nothing_more(engine: Engine, log: EventLog) -> None:
    log.append_feedback([Feedback("e1", "u1", "b", "like")])
    follower = new_follower(engine, log, CONFIG)
    follower.catch_up()
    assert follower.learner.examples == 1
    log.delete_user("u1")
    log.append_feedback([Feedback("e2", "u1", "c", "like")])  # the same name again: a stranger
    follower.catch_up()
    assert follower.learner.examples == 0 and follower.sequence == 2


BAD = pytest.mark.parametrize("bad", [{"title": 7}, {**RECORD, "title": None}, {**RECORD, "categories": [7]}, {}])


@BAD
def test_an_item_that_cannot_be_taken_over_stops_none_of_those_after_it(
    snapshot: Snapshot, log: EventLog, bad: dict[str, object]
) -> None:
    """Whatever the log holds, by hand or from another version: it has its code everywhere, and no slate shows it."""
    here = new_engine(snapshot, log)
    log.put_item("bad", bad)
    log.put_item("good", RECORD)
    here.follow()
    later = new_engine(snapshot, log)
    for engine in (here, later):
        assert engine.catalogue.item_ids[5:] == ["bad", "good"]
        assert engine.catalogue.has("good") and not engine.catalogue.has("bad")
    here.put_item("bad", RECORD)
    assert here.catalogue.has("bad")


@BAD
def test_an_item_that_cannot_be_taken_over_is_not_stored(engine: Engine, log: EventLog, bad: dict[str, object]) -> None:
    with pytest.raises((TypeError, KeyError, AttributeError)):
        engine.put_item("bad", bad)
    assert not log.item_overlays() and not log.changes_after(0)
