import numpy as np
import pytest

from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.weights import clip, clip_threshold, dynamic, effective_sample_size, ips, snips, training_weights


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
    assert clip_threshold(np.array([0.1, 0.2, 0.3, 0.4, 0.5]), quantile, floor) == pytest.approx(expected)


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


def test_ips_by_hand_and_its_mean_under_known_selection():
    np.testing.assert_allclose(ips(np.array([0.5, 0.25]), 0.25), [0.5, 1.0])
    rng = np.random.default_rng(2)
    propensity = rng.uniform(0.05, 0.6, 100_000)
    seen = rng.random(len(propensity)) < propensity
    assert ips(propensity[seen], seen.mean()).mean() == pytest.approx(1, abs=0.02)


def test_dynamic_by_hand():
    # b = 0.8: p = 0.5 gives 0.8 / 0.5 = 1.6, p = 0.1 gives 0.8 / (0.08 + 0.18) = 3.077; mean 2.338
    found = dynamic(np.array([0.5, 0.1]), 0.8)
    np.testing.assert_allclose(found, np.array([1.6, 0.8 / 0.26]) / np.mean([1.6, 0.8 / 0.26]), rtol=1e-6)


def test_dynamic_goes_from_equal_to_inverse_weights():
    propensity = np.random.default_rng(0).uniform(0.01, 0.9, 200)
    np.testing.assert_allclose(dynamic(propensity, 0.5), np.ones(200), rtol=1e-6)
    np.testing.assert_allclose(dynamic(propensity, 1.0), snips(propensity), rtol=1e-5)
    sizes = [effective_sample_size(dynamic(propensity, share)) for share in (0.5, 0.8, 0.95, 1.0)]
    assert sizes == sorted(sizes, reverse=True) and sizes[1] > sizes[3]


@pytest.mark.parametrize("share", [0.6, 0.8, 0.97])
def test_dynamic_minimises_the_mix_of_bias_and_variance(share):
    """By search over exponents from 0 to 1, for one pair at a time."""
    propensity = np.array([0.02, 0.2, 0.7])
    powers = propensity[:, None] ** -np.linspace(0, 1, 20_001)
    bias = np.square(propensity[:, None] * powers - 1)
    variance = propensity[:, None] * (1 - propensity[:, None]) * powers**2
    best = powers[np.arange(3), (share * bias + (1 - share) * variance).argmin(axis=1)]
    np.testing.assert_allclose(dynamic(propensity, share), best / best.mean(), rtol=1e-3)


def test_the_configuration_chooses():
    propensity = np.array([0.5, 0.1])
    for name, expected in (("ips", ips(propensity, 0.2)), ("snips", snips(propensity)), ("dynamic", None)):
        found = training_weights(propensity, 0.2, DebiasConfig(weights=name, bias_share=0.8))
        np.testing.assert_array_equal(found, dynamic(propensity, 0.8) if expected is None else expected)
