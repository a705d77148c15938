import numpy as np
import pytest

from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.weights import clip, clip_threshold, effective_sample_size, snips


def test_weights_by_hand():
    # 1/p = 2, 4, 10, mean 16/3
    np.testing.assert_allclose(snips(np.array([0.5, 0.25, 0.1])), [0.375, 0.75, 1.875], rtol=1e-6)


def test_clipping_by_hand():
    clipped = clip(np.array([0.5, 0.25, 0.01]), 0.1)
    np.testing.assert_allclose(clipped, [0.5, 0.25, 0.1])


@pytest.mark.parametrize(
    ("quantile", "floor", "expected"),
    [(0.5, 0.0, 0.3), (0.5, 0.4, 0.4), (0.0, 0.2, 0.2), (0.0, 0.0, 0.0)],
)
def test_larger_of_quantile_and_floor_is_the_threshold(quantile, floor, expected):
    config = DebiasConfig(clip_quantile=quantile, clip_floor=floor)
    assert clip_threshold(np.array([0.1, 0.2, 0.3, 0.4, 0.5]), config) == pytest.approx(expected)


def test_effective_sample_size_by_hand():
    assert effective_sample_size(np.ones(7)) == pytest.approx(7)
    assert effective_sample_size(np.array([3.0, 1.0])) == pytest.approx(16 / 10)
    assert effective_sample_size(np.array([5.0, 0.0, 0.0])) == pytest.approx(1)


def test_clipping_more_raises_the_effective_sample_size():
    propensity = np.random.default_rng(0).uniform(0.001, 0.9, 500)
    sizes = [effective_sample_size(snips(clip(propensity, threshold))) for threshold in (0.0, 0.05, 0.2)]
    assert sizes[0] < sizes[1] < sizes[2]


def test_snips_recovers_the_mean_under_known_selection():
    rng = np.random.default_rng(1)
    outcome = rng.normal(2, 1, 200_000)
    propensity = 1 / (1 + np.exp(-(outcome - 3)))
    seen = rng.random(len(outcome)) < propensity
    assert outcome[seen].mean() > 2.4
    assert np.average(outcome[seen], weights=snips(propensity[seen])) == pytest.approx(2, abs=0.03)
