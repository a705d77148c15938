"""A catalogue too large to score whole: the slates are those of all items, and nothing that was changed is missed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llm4rec.artifacts import RunStore
from llm4rec.cluster import candidates
from llm4rec.cluster.candidates import Candidates
from llm4rec.cluster.engine import Engine
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.errors import ArtifactError
from llm4rec.index.approximate import ApproximateIndex
from llm4rec.online.log import EventLog
from llm4rec.online.parameters import Shift
from tests.cluster.small_run import write_run
from tests.cluster.test_cluster_engine import CONFIG, RECORD, like, new_engine, shown

VECTORS = np.random.default_rng(0).normal(size=(4000, 8)).astype(np.float32)
STATE = np.random.default_rng(1).normal(size=8).astype(np.float32)
NONE = np.empty(0, np.int32)


@pytest.fixture(scope="module")
def near() -> ApproximateIndex:
    return ApproximateIndex.build(VECTORS)


def test_the_nearest_the_sample_the_changed_and_the_new_are_scored(
    near: ApproximateIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "SAMPLE", 50)
    best = np.argsort(-VECTORS @ STATE)
    changed = best[-2:].astype(np.int32)
    hidden = np.zeros(4003, np.bool_)
    found = Candidates(near, 0).of(STATE, 100, hidden, NONE, changed)
    assert np.isin(best[:100], found).mean() > 0.7  # without any order among the vectors the worst case
    assert {*changed.tolist(), 4000, 4001, 4002} <= set(found.tolist())
    assert 150 <= len(found) <= 155 and (np.diff(found) > 0).all()
    assert np.array_equal(found, Candidates(near, 0).of(STATE, 100, hidden, NONE, changed))


def test_hidden_and_seen_items_take_no_places(near: ApproximateIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "SAMPLE", 0)
    best = np.argsort(-VECTORS @ STATE)[:60].astype(np.int32)
    hidden = np.zeros(4000, np.bool_)
    hidden[best[:30]] = True
    found = Candidates(near, 0).of(STATE, 100, hidden, best[30:], NONE)
    assert len(found) == 100 and not np.isin(best, found).any()


def test_scores_of_some_items_are_those_that_all_would_have() -> None:
    moved = Shift(np.array([3, 9], np.int32), np.ones((2, 8), np.float32), {})
    codes = np.array([1, 3, 9, 12], np.int32)
    found = moved.products_of(codes, STATE, VECTORS)
    np.testing.assert_allclose(found[codes], moved.products(STATE, VECTORS)[codes], rtol=1e-5)
    assert np.isneginf(np.delete(found, codes)).all()


@pytest.fixture
def engines(snapshot: Snapshot, log: EventLog, monkeypatch: pytest.MonkeyPatch) -> tuple[Engine, Engine]:
    """One that scores every item, one that scores the nearest only."""
    monkeypatch.setattr(candidates, "SAMPLE", 0)
    return new_engine(snapshot, log), new_engine(replace(snapshot, near=snapshot.index), log)


def test_slates_are_those_of_all_items(engines: tuple[Engine, Engine], log: EventLog) -> None:
    whole, large = engines

    def alike(**request: Any) -> bool:
        return shown(whole, user_id="u1", **request) == shown(large, user_id="u1", **request) != []

    assert alike() and alike(debias=1.0) and alike(query="drama")
    like(whole, log, "u1", shown(whole, user_id="u1")[0])
    assert alike()
    whole.put_item("new", RECORD)
    large.follow()
    assert "new" in shown(large, user_id="u1") and alike()
    whole.put_item(shown(whole, user_id="u1")[1], RECORD)
    large.follow()
    assert alike()
    whole.delete_item(shown(whole, user_id="u1")[0])
    large.follow()
    assert alike()


def test_a_larger_catalogue_than_is_scored_needs_the_index_that_was_learnt_for_it(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 0)
    small = CONFIG.model_copy(update={"run": CONFIG.run.model_copy(update={"path": run})})
    assert Snapshot.open(RunStore(run), small).near is None
    large = small.model_copy(update={"index": small.index.model_copy(update={"exact_up_to": 0})})
    assert Snapshot.open(RunStore(run), large).near is None, "too few to learn an index from"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llm4rec.cluster.snapshot.FEWEST_ITEMS", 1)
        with pytest.raises(ArtifactError, match="near"):
            Snapshot.open(RunStore(run), large)
