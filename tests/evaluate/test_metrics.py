"""Every metric against a value worked out by hand."""

import numpy as np
import pytest

from llm4rec.evaluate import metrics

SLATES = np.array([[0, 1, 2], [0, 1, 3], [0, -1, -1]], np.int32)
POPULARITY = np.array([8, 4, 2, 0, 1], np.int32)


def test_accuracy_of_ranks():
    ranks = np.array([0, 2, 9, 10], np.int32)
    np.testing.assert_allclose(metrics.ndcg(ranks, 10), [1, 1 / 2, 1 / np.log2(11), 0], rtol=1e-6)
    np.testing.assert_array_equal(metrics.hit_rate(ranks, 10), [1, 1, 1, 0])
    np.testing.assert_array_equal(metrics.hit_rate(ranks, 2), [1, 0, 0, 0])
    np.testing.assert_allclose(metrics.reciprocal_rank(ranks), [1, 1 / 3, 1 / 10, 1 / 11], rtol=1e-6)


def test_means_by_user_come_in_order_of_users():
    users, values = np.array([7, 2, 7, 7], np.int32), np.array([1, 4, 0, 2], np.float32)
    assert metrics.mean_by_user(users, values).tolist() == [4.0, 1.0]


def test_coverage_counts_distinct_items_once_and_no_padding():
    assert metrics.coverage(SLATES, 5) == pytest.approx(4 / 5)


def test_gini():
    # Counts ascending 0 1 1 2 3; weights -4 -2 0 2 4; (-2 + 0 + 4 + 12) / (5 * 7).
    assert metrics.gini(SLATES, 5) == pytest.approx(14 / 35)
    assert metrics.gini(np.array([[0, 1], [2, 3]], np.int32), 4) == 0
    assert metrics.gini(np.array([[2], [2]], np.int32), 4) == pytest.approx(1 - 1 / 4)


def test_average_popularity_ignores_padding():
    np.testing.assert_allclose(metrics.average_popularity(SLATES, POPULARITY), [14 / 3, 4, 8], rtol=1e-6)


def test_novelty_in_bits():
    # 8 users: self-information 0, 1, 2 bits; never seen counts as seen once, 3 bits.
    np.testing.assert_allclose(metrics.novelty(SLATES, POPULARITY, 8), [1, 4 / 3, 0], rtol=1e-6)


def test_diversity_is_one_minus_mean_cosine():
    vectors = np.array([[2, 0], [0, 1], [1, 1], [-3, 0], [0, 0]], np.float32)
    slates = np.array([[0, 1, 2], [0, 3, -1], [0, 1, 4], [0, 4, -1]], np.int32)
    root = np.sqrt(0.5)
    # Pairs of the first slate: 0, root, root. Item 4 has no vector: the third slate has one pair, the fourth none.
    np.testing.assert_allclose(metrics.diversity(slates, vectors), [1 - 2 * root / 3, 2, 1, np.nan], rtol=1e-6)


def test_popular_items_are_the_head_of_the_catalogue():
    np.testing.assert_array_equal(metrics.popular_items(POPULARITY, 0.4), [True, True, False, False, False])
    assert metrics.popular_items(np.array([1, 1, 1]), 0.01).tolist() == [True, False, False]


def test_popular_exposure_is_discounted_by_position():
    popular = np.array([False, True, False, False, False])
    second, third = 1 / np.log2(3), 1 / 2
    expected = second / (1 + second + third)
    np.testing.assert_allclose(metrics.popular_exposure(SLATES, popular), [expected, expected, 0], rtol=1e-6)


def test_parity_gap_is_the_furthest_group_from_the_mean():
    exposure = np.array([1.0, 1.0, 0.5, 0.0, 0.0], np.float32)
    groups = np.array(["a", "a", "b", "b", "c"])
    # Overall 0.5; a 1.0, b 0.25, c 0.0.
    assert metrics.parity_gap(exposure, groups, 1) == pytest.approx(0.5)
    assert metrics.parity_gap(exposure[1:], groups[1:], 2) == pytest.approx(0.125)  # b 0.25 against 0.375
    assert metrics.parity_gap(exposure, groups, 3) == 0


def test_equal_groups_have_no_gap():
    exposure = np.array([0.2, 0.6, 0.2, 0.6], np.float32)
    assert metrics.parity_gap(exposure, np.array(["a", "a", "b", "b"]), 1) == pytest.approx(0, abs=1e-7)


def test_slice_means():
    sliced = metrics.slice_means(np.array([1, 0, 0.5], np.float32), np.array(["x", "x", "y"]))
    assert sliced == {"x": {"mean": 0.5, "users": 2}, "y": {"mean": 0.5, "users": 1}}


def test_slices_come_in_the_order_of_their_numbers():
    labels = ["unknown", "7 to 25", "26 to 31", "100", "-1 to 3"]
    sliced = metrics.slice_means(np.ones(5, np.float32), np.array(labels))
    assert list(sliced) == ["-1 to 3", "7 to 25", "26 to 31", "100", "unknown"]


def test_tail_share_by_hand():
    slates, popular = np.array([[0, 1, 2], [2, 3, -1]], np.int32), np.array([True, False, False, True])
    np.testing.assert_allclose(metrics.tail_share(slates, popular), [2 / 3, 1 / 2])
