"""A catalogue too large to score whole: the slates are those of all items, and nothing that was changed is missed."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from llm4rec.artifacts import RunStore
from llm4rec.cluster import candidates
from llm4rec.cluster.candidates import Candidates
from llm4rec.cluster.engine import Engine
from llm4rec.cluster.entry import Entry
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.errors import ArtifactError
from llm4rec.index.approximate import ApproximateIndex
from llm4rec.online.log import EventLog
from llm4rec.online.parameters import Shift
from llm4rec.recommend.gate import Gate, Linear
from llm4rec.serve.contract import RecommendRequest
from tests.cluster.small_run import WordsAsNumbers, write_run
from tests.cluster.test_cluster_engine import CONFIG, RECORD

VECTORS = np.random.default_rng(0).normal(size=(4000, 8)).astype(np.float32)
STATE = np.random.default_rng(1).normal(size=8).astype(np.float32)
NONE = np.empty(0, np.int32)


@pytest.fixture(scope="module")
def near() -> ApproximateIndex:
    return ApproximateIndex.build(VECTORS)


def few(
    near: ApproximateIndex,
    scores: np.ndarray,
    wanted: int = 100,
    hidden: np.ndarray | None = None,
    seen: np.ndarray = NONE,
    others: np.ndarray = NONE,
) -> np.ndarray:
    hidden = np.zeros(len(scores), np.bool_) if hidden is None else hidden
    return Candidates(near, 0).logits(lambda codes: scores[codes], STATE, wanted, hidden, seen, others)


def test_the_nearest_the_sample_and_new_items_that_are_better_have_scores(
    near: ApproximateIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "SAMPLE", 50)
    scores = np.concatenate([VECTORS @ STATE, [99.0, -99.0]]).astype(np.float32)
    found = few(near, scores)
    scored = np.flatnonzero(np.isfinite(found))
    assert np.array_equal(found[scored], scores[scored])
    assert np.isin(np.argsort(-scores[:4000])[:100], scored).mean() > 0.7  # vectors without any order: the worst case
    assert 140 <= len(scored) <= 151 and 4000 in scored and 4001 not in scored
    assert np.array_equal(found, few(near, scores))


def test_others_have_scores_where_they_do_better_than_the_last_of_the_nearest(
    near: ApproximateIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So any number of them, all that learning online has touched, does not change what scores are measured by."""
    monkeypatch.setattr(candidates, "SAMPLE", 0)
    scores = VECTORS @ STATE
    worst = np.argsort(scores)[:1000].astype(np.int32)
    scores[worst[:3]] = 99.0  # what an adapter or the linear model made of them
    scored = np.flatnonzero(np.isfinite(few(near, scores, others=worst)))
    assert set(worst[:3]) <= set(scored) and not np.isin(worst[3:], scored).any()
    assert len(scored) == 103


def test_hidden_and_seen_items_take_no_places(near: ApproximateIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(candidates, "SAMPLE", 0)
    scores = VECTORS @ STATE
    best = np.argsort(-scores)[:60].astype(np.int32)
    hidden = np.zeros(4000, np.bool_)
    hidden[best[:30]] = True
    found = few(near, scores, hidden=hidden, seen=best[30:])
    assert np.isfinite(found).sum() == 100 and np.isneginf(found[best]).all()


def test_scores_of_some_items_are_those_that_all_would_have() -> None:
    moved = Shift(np.array([3, 9], np.int32), np.ones((2, 8), np.float32), {})
    codes = np.array([1, 3, 9, 12], np.int32)
    found = moved.products_of(codes, STATE, VECTORS)
    np.testing.assert_allclose(found[codes], moved.products(STATE, VECTORS)[codes], rtol=1e-5)
    assert np.isneginf(np.delete(found, codes)).all()


ONE = CONFIG.model_copy(update={"recommend": CONFIG.recommend.model_copy(update={"k": 1, "candidates": 1})})


@pytest.fixture
def engines(snapshot: Snapshot, log: EventLog, monkeypatch: pytest.MonkeyPatch) -> tuple[Engine, Engine]:
    """One that scores every item, one that scores the nearest one and what may be better."""
    monkeypatch.setattr(candidates, "SAMPLE", 0)
    text = WordsAsNumbers(CONFIG.encode)
    whole, large = (Engine(one, ONE, log, text) for one in (snapshot, replace(snapshot, near=snapshot.index)))  # type: ignore[arg-type]
    return whole, large


def first(engine: Engine, **request: Any) -> str:
    asked = RecommendRequest(k=1, user_id="u1", **request)
    return engine.rank(asked, engine.retrieve(asked)).logged.exposures[0].item_id


def test_the_first_item_is_that_of_all_items(engines: tuple[Engine, Engine]) -> None:
    whole, large = engines
    assert first(large) == first(whole)
    assert first(large, debias=1.0) == first(whole, debias=1.0)
    assert first(large, query="drama") == first(whole, query="drama")


def test_an_item_that_learning_has_moved_is_found_where_the_index_has_it_far_away(
    engines: tuple[Engine, Engine],
) -> None:
    whole, large = engines
    asked = RecommendRequest(k=1, user_id="u1")
    scored = whole.retrieve(asked)
    unseen = [code for code in np.argsort(scored.logits) if code not in scored.person.seen]
    moved = np.array([unseen[0]], np.int32)
    for engine in engines:
        engine.shift = Shift(moved, 9 * scored.state[None] / np.linalg.norm(scored.state), {})
    assert first(large) == first(whole) == whole.catalogue.item_ids[unseen[0]] != whole.catalogue.item_ids[unseen[-1]]


def test_items_put_since_the_index_was_learnt_are_found_in_their_new_place(
    engines: tuple[Engine, Engine], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, large = engines
    asked = RecommendRequest(k=1, user_id="u1")
    scored = whole.retrieve(asked)
    far = next(code for code in np.argsort(scored.logits) if code not in scored.person.seen)
    for item_id in (whole.catalogue.item_ids[far], "new"):
        best = 9 * scored.state / np.linalg.norm(scored.state)
        there = Entry.of(item_id, RECORD, best, np.ones(6, np.float32))
        for engine in engines:
            monkeypatch.setattr(engine._content, "encode", lambda _, there=there: [there])
        whole.put_item(item_id, RECORD)
        large.follow()
        assert first(large) == first(whole) == item_id
        whole.delete_item(item_id)
        large.follow()
        assert first(large) == first(whole) != item_id


def test_what_goes_with_the_last_items_is_found_whatever_its_vector(snapshot: Snapshot, log: EventLog) -> None:
    text = WordsAsNumbers(CONFIG.encode)
    scored = Engine(snapshot, ONE, log, text).retrieve(RecommendRequest(k=1, user_id="u1"))  # type: ignore[arg-type]
    far = next(code for code in np.argsort(scored.logits) if code not in scored.person.seen)
    weights = np.zeros((snapshot.corpus.num_warm_items,) * 2, np.float32)
    weights[scored.person.history.item[-1], far] = 99.0
    gate = Gate(1.0, 1.0, Linear(csr_matrix(weights), 1.0), 0.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(candidates, "SAMPLE", 0)
        large = Engine(replace(snapshot, gate=gate, near=snapshot.index), ONE, log, text)  # type: ignore[arg-type]
        assert first(large) == snapshot.corpus.item_ids[far]


def test_a_larger_catalogue_than_is_scored_needs_the_index_that_was_learnt_for_it(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 0)
    small = CONFIG.model_copy(update={"run": CONFIG.run.model_copy(update={"path": run, "refit": False})})
    assert Snapshot.open(RunStore(run), small).near is None
    large = small.model_copy(update={"index": small.index.model_copy(update={"exact_up_to": 0})})
    assert Snapshot.open(RunStore(run), large).near is None, "too few to learn an index from"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llm4rec.index.approximate.FEWEST_ITEMS", 1)
        with pytest.raises(ArtifactError, match="more than index.exact_up_to, 0: run jobs/index.py again"):
            Snapshot.open(RunStore(run), large)
