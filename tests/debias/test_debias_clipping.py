"""Which quantile of clipping is chosen, in populations where it is known which is best."""

import numpy as np
import pytest

from llm4rec.debias.clipping import QUANTILES, UNCHOSEN, choose_quantile
from llm4rec.debias.config import DebiasConfig

RNG = np.random.default_rng(0)
CONFIG = DebiasConfig()


def choose(covariate: np.ndarray, propensity: np.ndarray, believed: np.ndarray) -> tuple[float, dict[float, float]]:
    observed = RNG.random(len(covariate)) < propensity
    ones = np.ones(len(covariate))
    return choose_quantile(covariate[:, None], observed, ones, believed, float(propensity.mean()), CONFIG)


def test_imbalance_by_hand():
    # all pairs: mean 1.5, deviation 1.5; observed: 0 and 3 with weights 1/4 and 3/4, so 2.25
    pairs, observed = np.array([[0.0], [3.0], [0.0], [3.0]]), np.array([True, True, False, False])
    held_out = np.array([0.6, 0.2, 0.5, 0.5])
    _, imbalance = choose_quantile(pairs, observed, np.ones(4), held_out, 0.5, CONFIG)
    assert imbalance[0.0] == pytest.approx(0.25)
    assert imbalance[0.5] == pytest.approx(0.04)  # .2 raised to .4: weights .4 and .6, so 1.8


def test_right_propensities_with_overlap_are_not_clipped():
    covariate = RNG.normal(size=100_000)
    propensity = 1 / (1 + np.exp(-covariate))
    quantile, imbalance = choose(covariate, propensity, propensity)
    assert quantile <= 0.05
    assert imbalance[quantile] < imbalance[0.5] / 10


def test_propensities_that_are_too_extreme_are_clipped():
    covariate = RNG.normal(size=5_000)
    propensity = 1 / (1 + np.exp(-covariate))
    quantile, _ = choose(covariate, propensity, 1 / (1 + np.exp(-4 * covariate)))
    assert quantile >= 0.1


def test_weights_that_leave_a_handful_of_pairs_do_not_compete():
    covariate = RNG.normal(size=20_000)
    propensity = 1 / (1 + np.exp(3 - 3 * covariate))  # exact, but few of the pairs carry nearly all weight
    quantile, imbalance = choose(covariate, propensity, propensity)
    assert imbalance[0.0] < imbalance[quantile]
    assert quantile > 0


def test_where_nothing_differs_nothing_is_chosen():
    observed = np.arange(10) < 5
    assert choose_quantile(np.ones((10, 2)), observed, np.ones(10), np.full(10, 0.5), 0.5, CONFIG) == (UNCHOSEN, {})


def test_a_covariate_that_never_differs_is_left_out():
    pairs = np.column_stack([RNG.normal(size=400), np.ones(400)])
    observed = RNG.random(400) < 0.5
    _, imbalance = choose_quantile(pairs, observed, np.ones(400), np.full(400, 0.5), 0.5, CONFIG)
    assert set(imbalance) == set(QUANTILES)
    assert np.isfinite(list(imbalance.values())).all()
