"""Scores of the closed-form baselines on a log small enough to work out on paper."""

import numpy as np
import pyarrow as pa
import pytest

from llm4rec.baselines.config import EASEConfig, IALSConfig, ItemKNNConfig, PopularConfig
from llm4rec.baselines.ease import EASE
from llm4rec.baselines.ials import IALS
from llm4rec.baselines.item_knn import ItemKNN
from llm4rec.baselines.popular import Popular
from llm4rec.schema import ITEM_ID, TITLE, TRAIN, USER_ID, Corpus, History, Interactions


def history(*items: int) -> History:
    size = len(items)
    return History(np.array(items, np.int32), np.arange(size), np.ones(size, np.float32), np.zeros(size, np.int32))


@pytest.fixture
def corpus() -> Corpus:
    """Users with items {0, 1}, {0, 1, 1}, {0, 2}, {3}."""
    user = np.array([0, 0, 1, 1, 1, 2, 2, 3], np.int32)
    item = np.array([0, 1, 0, 1, 1, 0, 2, 3], np.int32)
    zeros = np.zeros(8, np.int32)
    interactions = Interactions(user, item, np.arange(8), np.ones(8, np.float32), zeros, zeros + TRAIN)
    names = ["a", "b", "c", "d"]
    return Corpus(interactions, pa.table({ITEM_ID: names, TITLE: names}), pa.table({USER_ID: names}), ("view",), 4)


def test_popular_counts_interactions(corpus):
    scores = Popular(PopularConfig()).fit(corpus).score(np.array([2]), [history(3)])
    np.testing.assert_array_equal(scores, [[3, 3, 1, 1]])


def test_item_knn_is_a_shrunk_cosine(corpus):
    model = ItemKNN(ItemKNNConfig(last=None, shrink=1)).fit(corpus)
    # c_01 = 2, c_00 = 3, c_11 = 2; item 1 counts once for user 1, who had it twice.
    expected = 2 / (np.sqrt(3 * 2) + 1)
    scores = model.score(np.array([0]), [history(1)])
    np.testing.assert_allclose(scores, [[expected, 0, 0, 0]], rtol=1e-6)


def test_item_knn_weighs_the_newest_most(corpus):
    model = ItemKNN(ItemKNNConfig(last=2, decay=0.5, shrink=0)).fit(corpus)
    by_1, by_2 = 2 / np.sqrt(3 * 2), 1 / np.sqrt(3 * 1)
    scores = model.score(np.array([0]), [history(0, 1, 2)])
    assert scores[0, 0] == pytest.approx(0.5 * by_1 + by_2)
    assert scores[0, 1] == 0  # item 0 is older than the last two


def test_item_knn_keeps_the_nearest_only(corpus):
    model = ItemKNN(ItemKNNConfig(last=None, num_neighbors=1, shrink=0)).fit(corpus)
    # Item 0 is nearer to 1 (0.82) than to 2 (0.58): 2 says nothing about 0 any more.
    assert model.score(np.array([0]), [history(2)])[0, 0] == 0
    assert model.score(np.array([0]), [history(1)])[0, 0] > 0


def test_ease_solves_its_equation(corpus):
    """The minimum of ||X - XB||^2 + reg ||B||^2 with zero diagonal, item by item, by ridge regression."""
    matrix = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]], float)
    reg = 0.7
    expected = np.zeros((4, 4))
    for item in range(4):
        others = [other for other in range(4) if other != item]
        design = matrix[:, others]
        expected[others, item] = np.linalg.solve(design.T @ design + reg * np.eye(3), design.T @ matrix[:, item])
    model = EASE(EASEConfig(reg=reg)).fit(corpus)
    scores = model.score(np.arange(2), [history(0), history(1, 2)])
    np.testing.assert_allclose(scores, [expected[0], expected[1] + expected[2]], atol=1e-6)


def test_decayed_ease_hears_the_newest_place_of_each_item_most(corpus):
    plain, decayed = (EASE(EASEConfig(reg=0.7, decay=decay)).fit(corpus) for decay in (1, 0.5))
    one, two = plain.score(np.arange(2), [history(0), history(1)])
    found = decayed.score(np.arange(3), [history(0, 1), history(1, 1, 0), history(1)])
    np.testing.assert_allclose(found, [0.5 * one + two, one + 0.5 * two, two], atol=1e-6)
    assert (plain.name, decayed.name) == ("ease", "ease_decayed")
    repeated = plain.score(np.arange(1), [history(0, 0, 1)])
    np.testing.assert_allclose(repeated, [one + two], atol=1e-6)


def test_ials_is_where_no_vector_can_be_improved_alone(corpus):
    """At the optimum each item's vector solves its own weighted ridge regression on the users' vectors."""
    factors, alpha, reg = 2, 4.0, 0.5
    model = IALS(IALSConfig(factors=factors, alpha=alpha, reg=reg, iterations=200)).fit(corpus)
    histories = [history(0, 1), history(0, 1, 1), history(0, 2), history(3)]
    scores = model.score(np.arange(4), histories)
    had = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]], float)
    confidence = np.where(had > 0, alpha, 1.0)
    rng = np.random.default_rng(0)
    best = np.inf
    for _ in range(20):  # the same by plain least squares from several starts
        items = rng.normal(size=(4, factors))
        for _ in range(200):
            users = np.stack([_ridge(items, had[u], confidence[u], reg) for u in range(4)])
            items = np.stack([_ridge(users, had[:, i], confidence[:, i], reg) for i in range(4)])
        users = np.stack([_ridge(items, had[u], confidence[u], reg) for u in range(4)])
        loss = (confidence * (had - users @ items.T) ** 2).sum() + reg * ((users**2).sum() + (items**2).sum())
        if loss < best - 1e-9:
            best, expected = loss, users @ items.T
    np.testing.assert_allclose(scores, expected, atol=1e-3)


def _ridge(x, y, weight, reg):
    return np.linalg.solve(x.T @ (weight[:, None] * x) + reg * np.eye(x.shape[1]), x.T @ (weight * y))
