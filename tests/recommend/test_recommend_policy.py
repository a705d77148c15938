"""The logging policy: exact propensities, and draws that follow them."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm4rec.errors import ConfigError, DataError
from llm4rec.recommend.policy import chances_of, draw, propensities

# exp(scores) = 1, 2, 3, 6 at temperature 1: probabilities can be worked out by hand.
SCORES = np.log(np.array([1, 2, 3, 6])).astype(np.float32)


def test_propensities_by_hand():
    order = np.log([6.0, 1.0, 3.0, 2.0])
    assert propensities(order) == pytest.approx([6 / 12, 1 / 6, 3 / 5, 1.0])


def test_draws_follow_their_propensities():
    rng = np.random.default_rng(7)
    draws = 12_000
    counts = Counter(tuple(draw(SCORES, 2, 1.0, rng)[0].tolist()) for _ in range(draws))
    worth = [1, 2, 3, 6]
    for first, second in permutations(range(4), 2):
        expected = worth[first] / 12 * worth[second] / (12 - worth[first])
        error = 4 * np.sqrt(expected * (1 - expected) / draws)
        assert counts[first, second] / draws == pytest.approx(expected, abs=error)


def test_inverse_propensity_is_unbiased():
    # The mean of 1[item i shown first] / propensity is one for every item, which is what the log is for.
    rng = np.random.default_rng(3)
    weight = np.zeros(4)
    for _ in range(12_000):
        order, propensity = draw(SCORES, 1, 1.0, rng)
        weight[order[0]] += 1 / propensity[0]
    assert weight / 12_000 == pytest.approx(np.ones(4), abs=0.15)


scores_of_any_size = st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=30)


@settings(max_examples=60, deadline=None)
@given(scores_of_any_size, st.integers(1, 40), st.floats(1e-6, 100), st.integers(0, 2**32 - 1))
def test_a_draw_is_a_slate_with_probabilities(values, k, temperature, seed):
    scores = np.array(values, np.float32)
    order, propensity = draw(scores, k, temperature, np.random.default_rng(seed))
    assert len(order) == len(propensity) == min(k, len(scores))
    assert len(set(order.tolist())) == len(order)
    assert ((propensity >= 0) & (propensity <= 1 + 1e-9)).all()
    if k >= len(scores):
        assert propensity[-1] == pytest.approx(1)


@given(scores_of_any_size)
def test_temperature_zero_sorts_and_is_certain(values):
    scores = np.array(values, np.float32)
    order, propensity = draw(scores, 5, 0, np.random.default_rng(0))
    assert order.tolist() == np.argsort(-scores, kind="stable")[:5].tolist()
    assert (propensity == 1).all()


def test_the_same_seed_draws_the_same_slate():
    first, second = (draw(SCORES, 3, 1.0, np.random.default_rng(5)) for _ in range(2))
    assert first[0].tolist() == second[0].tolist()
    assert first[1].tolist() == second[1].tolist()


def test_the_tiniest_temperature_still_has_probabilities():
    # One candidate is certain, the two far below it share what is left evenly: scores / 5e-324 is minus infinity.
    order, propensity = draw(np.array([1, -1, -1], np.float32), 3, 5e-324, np.random.default_rng(0))
    assert order[0] == 0
    assert propensity == pytest.approx([1, 0.5, 1], abs=1e-3)


def test_no_candidates_give_an_empty_draw():
    for temperature in (0.0, 1.0):
        order, propensity = draw(np.empty(0, np.float32), 3, temperature, np.random.default_rng(0))
        assert len(order) == len(propensity) == 0


@pytest.mark.parametrize(("k", "temperature"), [(0, 1.0), (3, -1.0), (3, float("nan"))])
def test_unusable_settings_are_refused(k, temperature):
    with pytest.raises(ConfigError):
        draw(SCORES, k, temperature, np.random.default_rng(0))


def test_scores_that_are_not_finite_are_refused():
    with pytest.raises(DataError):
        draw(np.array([1, np.nan], np.float32), 1, 1.0, np.random.default_rng(0))


@settings(max_examples=60, deadline=None)
@given(scores_of_any_size, st.integers(1, 40), st.sampled_from([0.0, 1e-6, 0.05, 100.0]), st.integers(0, 2**32 - 1))
def test_the_chances_of_a_draw_are_its_propensities(values, k, temperature, seed):
    scores = np.array(values, np.float32)
    order, propensity = draw(scores, k, temperature, np.random.default_rng(seed))
    np.testing.assert_allclose(chances_of(scores, order, temperature), propensity, rtol=1e-6, atol=1e-12)


def test_the_chances_of_another_order_by_hand():
    np.testing.assert_allclose(chances_of(SCORES, np.array([3, 0, 1]), 1.0), [6 / 12, 1 / 6, 2 / 5], rtol=1e-6)
    np.testing.assert_allclose(chances_of(SCORES, np.array([2, -1, 3]), 1.0), [3 / 12, 0, 6 / 9], rtol=1e-6)
    assert chances_of(SCORES, np.array([3, 1, 2]), 0.0).tolist() == [1, 0, 1]
