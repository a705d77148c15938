"""Full ranking by hand: seen items, ties, short slates, bad scores."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm4rec.errors import Llm4RecError
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import NO_ITEM, best_items, rank, remove_seen, slates
from tests.corpora import history


class Fixed:
    """Gives each user code a fixed row of scores."""

    name = "fixed"

    def __init__(self, *rows: list[float]) -> None:
        self.rows = np.array(rows, np.float32)

    def score(self, users, histories):
        return self.rows[users]


SCORES = Fixed([9, 8, 7, 5, 6], [5, 1, 4, 3, 2])


def test_seen_items_are_removed_but_never_the_target(corpus):
    ranked = rank(SCORES, EvaluationSet.build(corpus), EvaluateConfig(top_n=3))
    # User 0 has seen 0 1 2, target 3: only 4 stands before it. User 1 has seen 0 and 1, and 1 is the target: 2 3 4 1.
    assert ranked.target_rank.tolist() == [1, 3]
    assert ranked.items.tolist() == [[4, 3, -1], [2, 3, 4]]
    np.testing.assert_array_equal(ranked.scores, [[6, 5, -np.inf], [4, 3, 2]])


def test_seen_items_can_be_kept(corpus):
    ranked = rank(SCORES, EvaluationSet.build(corpus), EvaluateConfig(top_n=2, remove_seen=False))
    assert ranked.target_rank.tolist() == [4, 4]
    assert ranked.items.tolist() == [[0, 1], [0, 2]]


def test_constant_scores_earn_nothing(corpus):
    constant = Fixed([1] * 5, [1] * 5)
    ranked = rank(constant, EvaluationSet.build(corpus), EvaluateConfig(top_n=2))
    assert ranked.target_rank.tolist() == [1, 3]  # the last of the unseen items
    assert ranked.items.tolist() == [[3, 4], [1, 2]]  # equal scores by item code


def test_the_size_of_chunks_does_not_matter(corpus):
    evaluation_set = EvaluationSet.build(corpus)
    one, many = (rank(SCORES, evaluation_set, EvaluateConfig(chunk_size=size)) for size in (1, 100))
    np.testing.assert_array_equal(one.items, many.items)
    np.testing.assert_array_equal(one.target_rank, many.target_rank)


def test_slates_agree_with_a_full_sort():
    rng = np.random.default_rng(0)
    for _ in range(50):
        scores = rng.integers(0, 6, 40).astype(np.float32)
        assert best_items(scores, 10).tolist() == sorted(range(40), key=lambda item: (-scores[item], item))[:10]


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 8))
def test_slates_of_many_rows_agree_with_a_full_sort_of_each(seed, top_n, kinds):
    """Few kinds of scores make many ties, and some items are removed."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, kinds, (5, 9)).astype(np.float32)
    scores[rng.random(scores.shape) < 0.3] = -np.inf
    items, found = slates(scores, top_n)
    for row, own_items, own_scores in zip(scores, items, found, strict=True):
        best = [item for item in sorted(range(9), key=lambda item: (-row[item], item)) if row[item] > -np.inf][:top_n]
        assert own_items.tolist() == best + [NO_ITEM] * (top_n - len(best))
        assert own_scores.tolist() == [row[item] for item in best] + [-np.inf] * (top_n - len(best))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_diverged_scores_are_refused(corpus, bad):
    with pytest.raises(Llm4RecError, match="fixed gave 1 scores that are NaN or infinite"):
        rank(Fixed([1, 2, 3, bad, 5], [1] * 5), EvaluationSet.build(corpus), EvaluateConfig())


def test_wrong_shape_is_refused(corpus):
    with pytest.raises(Llm4RecError, match=r"shape \(2, 4\), expected \(2, 5\)"):
        rank(Fixed([1] * 4, [1] * 4), EvaluationSet.build(corpus), EvaluateConfig())


def test_items_seen_are_removed_but_for_targets():
    histories = [history(0, 2), history(1)]
    scores = np.arange(6, dtype=np.float32).reshape(2, 3)
    remove_seen(scores, histories)
    assert scores.tolist() == [[-np.inf, 1, -np.inf], [3, -np.inf, 5]]
    scores = np.arange(6, dtype=np.float32).reshape(2, 3)
    remove_seen(scores, histories, np.array([2, 0], np.int32))
    assert scores.tolist() == [[-np.inf, 1, 2], [3, -np.inf, 5]]
