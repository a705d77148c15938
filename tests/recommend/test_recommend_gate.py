"""The gate between a network and a linear item-item model: by hand, where the truth is known, and on disk."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix

from llm4rec.artifacts import RunStore
from llm4rec.baselines.config import EASEConfig
from llm4rec.baselines.ease import EASE
from llm4rec.errors import ArtifactError
from llm4rec.recommend import gate as module
from llm4rec.recommend.gate import Gate, Gated, Likelihood, Linear, learn_gate, linear_items
from llm4rec.schema import TRAIN, VALID, Corpus
from tests.baselines.loops import loops_corpus
from tests.corpora import history

WEIGHTS = csr_matrix(np.array([[0, 1, 2], [3, 0, 4], [5, 6, 0]], np.float32))


@dataclass
class Noise:
    """A network that has learnt nothing."""

    num_items: int
    name: str = "noise"

    def score(self, users: np.ndarray, histories: object) -> np.ndarray:
        return np.random.default_rng(1).normal(size=(len(users), self.num_items)).astype(np.float32)


@pytest.fixture
def corpus(monkeypatch: pytest.MonkeyPatch) -> Corpus:
    """Users who walk round loops: what comes next goes with what came last."""
    monkeypatch.setattr(module, "REG", 1.0)
    return loops_corpus()


def test_newer_items_weigh_more_by_hand() -> None:
    linear = Linear(WEIGHTS, 0.5)
    found = linear.score([history(0, 1), history(1, 0), history()])  # 0.5 * 2 + 4 and 2 + 0.5 * 4
    assert found.tolist() == [[0, 0, 5], [0, 0, 4], [0, 0, 0]]


def test_a_repeated_item_counts_once_where_it_is_newest() -> None:
    assert Linear(WEIGHTS, 0.5).score([history(0, 0, 1, 0)]).tolist() == [[0, 0, 4]]


def test_items_of_later_than_the_corpus_say_nothing_but_take_a_place() -> None:
    assert Linear(WEIGHTS, 0.5).score([history(0, 7)]).tolist() == [[0, 0.5, 1]]


def test_without_decay_it_is_ease(corpus: Corpus) -> None:
    users, histories = np.arange(corpus.num_users, dtype=np.int32), corpus.histories(TRAIN)
    ease = EASE(EASEConfig(reg=1.0)).fit(corpus)
    expected = ease.score(users, histories)
    for row, past in zip(expected, histories, strict=True):
        row[past.item] = 0
    np.testing.assert_allclose(Linear.of(corpus).score(histories), expected, atol=1e-6)


def test_only_the_largest_weights_of_linear_items_are_kept(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Linear.of(corpus).weights.toarray()
    monkeypatch.setattr(module, "NUM_NEIGHBORS", 3)
    few = Linear.of(corpus).weights.toarray()
    assert (np.count_nonzero(few, axis=0) <= 3).all()
    np.testing.assert_allclose(np.sort(np.abs(few), axis=0)[-3:], np.sort(np.abs(whole), axis=0)[-3:])
    monkeypatch.setattr(module, "MAX_ITEMS", 6)
    popular = np.argsort(-np.bincount(corpus.part(TRAIN).item, minlength=24), kind="stable")[:6]
    among = Linear.of(corpus).weights.toarray()
    assert set(np.flatnonzero(among.any(axis=0))) <= set(popular.tolist())
    assert among.any() and among.shape == (24, 24)


def test_scale_and_weight_of_known_choices_are_found() -> None:
    rng = np.random.default_rng(0)
    logits, linear = (rng.normal(size=(20_000, 8)).astype(np.float32) for _ in range(2))
    chances = np.exp(0.5 * logits + 2 * linear)
    targets = np.array([rng.choice(8, p=row / row.sum()) for row in chances.astype(np.float64)], np.int32)
    likelihood = Likelihood(logits, targets, np.ones(logits.shape, np.bool_), np.full(20_000, 1 / 20_000))
    scale, weight, gain = likelihood.fit(linear)
    assert (scale, weight) == (pytest.approx(0.5, abs=0.05), pytest.approx(2, abs=0.1))
    assert gain > 0.5


def test_the_gradient_is_the_slope() -> None:
    rng = np.random.default_rng(0)
    logits, linear = (rng.normal(size=(6, 5)).astype(np.float32) for _ in range(2))
    competing = np.ones((6, 5), np.bool_)
    competing[:, 4] = False
    targets, share = np.array([0, 1, 2, 3, 0, 1], np.int32), np.array([0.3, 0.1, 0.1, 0.2, 0.2, 0.1])
    loss = Likelihood(logits, targets, competing, share)._loss
    at, step = np.array([0.7, 0.4]), 1e-4
    _, gradient = loss(at, linear, 2.0)
    slopes = [
        (loss(at + move, linear, 2.0)[0] - loss(at - move, linear, 2.0)[0]) / (2 * step) for move in np.eye(2) * step
    ]
    assert gradient == pytest.approx(slopes, rel=1e-2)


def test_what_does_not_compete_is_no_evidence() -> None:
    logits = np.zeros((2, 3), np.float32)
    linear = np.array([[1, 0, 9], [1, 0, 9]], np.float32)  # the last was seen before
    competing = np.array([[True, True, False]] * 2)
    _, weight, gain = Likelihood(logits, np.zeros(2, np.int32), competing, np.full(2, 0.5)).fit(linear)
    assert weight > 0.5 and gain > 0.2


def test_a_linear_model_that_misleads_is_not_heard() -> None:
    logits = np.zeros((2, 3), np.float32)
    linear = np.array([[0, 1, 1]] * 2, np.float32)
    likelihood = Likelihood(logits, np.zeros(2, np.int32), np.ones((2, 3), np.bool_), np.full(2, 0.5))
    assert likelihood.fit(linear)[1:] == (0, pytest.approx(0, abs=1e-6))


def test_counting_is_heard_where_the_network_has_learnt_nothing(corpus: Corpus) -> None:
    gate = learn_gate(Noise(corpus.num_warm_items), corpus)
    assert gate.weight > 0 and gate.gain > 0.5
    assert gate.scale < 0.2
    users, histories = np.arange(5, dtype=np.int32), corpus.histories(TRAIN)[:5]
    logits = Noise(corpus.num_warm_items).score(users, histories)
    expected = gate.scale * logits + gate.weight * gate.linear.score(histories)
    np.testing.assert_allclose(Gated(Noise(24), gate).score(users, histories), expected, rtol=1e-5)


def test_coming_back_to_an_item_is_no_evidence(corpus: Corpus) -> None:
    """In the validation split a third of the users take again what they took last."""
    before = learn_gate(Noise(corpus.num_warm_items), only(corpus, lambda user: user % 3 > 0))
    log = corpus.interactions
    item = log.item.copy()
    again = np.flatnonzero((log.split == VALID) & (log.user % 3 == 0))
    item[again] = item[again - 1]
    after = learn_gate(Noise(corpus.num_warm_items), replace(corpus, interactions=replace(log, item=item)))
    assert (after.scale, after.weight) == (
        pytest.approx(before.scale, rel=0.02),
        pytest.approx(before.weight, rel=0.02),
    )


def only(corpus: Corpus, wanted: Callable[[np.ndarray], np.ndarray]) -> Corpus:
    """With the validation choices of some users only."""
    log = corpus.interactions
    return replace(corpus, interactions=log.where((log.split != VALID) | wanted(log.user)))


def test_of_a_large_catalogue_the_linear_items_decide(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ITEMS", 12)
    monkeypatch.setattr(module, "MIN_USERS", 20)
    used = linear_items(corpus)
    assert len(used) == 12 and (np.diff(used) > 0).all()
    gate = learn_gate(Noise(corpus.num_warm_items), corpus)
    assert gate.weight > 0
    scores = gate.linear.score(corpus.histories(TRAIN))
    assert scores.shape == (corpus.num_users, 24)
    assert not scores[:, np.setdiff1d(np.arange(24), used)].any()


def test_too_few_users_leave_the_network_alone(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_USERS", corpus.num_users + 1)
    gate = learn_gate(Noise(corpus.num_warm_items), corpus)
    assert (gate.scale, gate.weight, gate.gain) == (1, 0, 0)


def test_the_same_log_makes_the_same_gate(corpus: Corpus) -> None:
    one, other = (learn_gate(Noise(corpus.num_warm_items), corpus) for _ in range(2))
    assert (one.scale, one.weight, one.linear.decay) == (other.scale, other.weight, other.linear.decay)


def test_new_items_behind_those_of_the_log_keep_the_networks_logits() -> None:
    gate = Gate(2.0, 10.0, Linear(WEIGHTS, 1.0), 0.1)
    logits = np.ones((1, 5), np.float32)
    assert gate(logits, [history(0)]).tolist() == [[2, 12, 22, 2, 2]]
    assert logits.tolist() == [[1] * 5]
    assert Gate.shut(3)(logits, [history(0)]).tolist() == [[1] * 5]


def test_of_another_corpus_it_is_as_loud_and_counts_anew(corpus: Corpus) -> None:
    gate = Gate(0.5, 2.0, replace(Linear.of(corpus), decay=0.9), 0.1)
    everything = gate.of(corpus.as_train())
    assert (everything.scale, everything.weight, everything.linear.decay) == (0.5, 2.0, 0.9)
    expected = Linear.of(corpus.as_train()).weights.toarray()
    np.testing.assert_array_equal(everything.linear.weights.toarray(), expected)
    assert not np.array_equal(expected, gate.linear.weights.toarray())
    shut = Gate.shut(corpus.num_warm_items)
    assert shut.of(corpus.as_train()) is shut


def test_reads_back_what_was_written(tmp_path: Path) -> None:
    store, gate = RunStore(str(tmp_path)), Gate(0.5, 2.0, Linear(WEIGHTS, 0.9), 0.25)
    with store.write("index", {}) as writer:
        gate.write(writer)
    found = Gate.read(store.open("index"), 3)
    assert (found.scale, found.weight, found.linear.decay, found.gain) == (0.5, 2.0, 0.9, 0.25)
    past = [history(0, 2)]
    assert found.linear.score(past).tolist() == gate.linear.score(past).tolist()
    with pytest.raises(ArtifactError, match=r"a linear model of 3 items for 4 warm items; run jobs/index\.py again"):
        Gate.read(store.open("index"), 4)


def test_an_index_of_an_older_version_says_what_to_do(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path))
    with store.write("index", {}) as writer:
        writer.write_json("other.json", {})
    with pytest.raises(ArtifactError, match=r"made by an older version; run jobs/index\.py again"):
        Gate.read(store.open("index"), 3)


def test_a_shut_gate_reads_back(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path))
    with store.write("index", {}) as writer:
        Gate.shut(3).write(writer)
    shut = replace(Gate.read(store.open("index"), 3), weight=1.0)
    assert shut.linear.score([history(0, 1)]).tolist() == [[0, 0, 0]]
