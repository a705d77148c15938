"""Uncertainty over users: intervals, paired comparison, correction for many comparisons."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.floating]
Means = npt.NDArray[np.float64]


def resampled_means(values: Values, samples: int, seed: int) -> Means:
    """Means of `samples` resamples of the users with replacement, shape (samples,); NaN values are left out first."""
    known = np.asarray(values, np.float64)
    known = known[~np.isnan(known)]
    rng = np.random.default_rng(seed)
    return np.array([known[rng.integers(0, len(known), len(known))].mean() for _ in range(samples)])


def confidence_interval(values: Values, samples: int, seed: int) -> tuple[float, float]:
    """Percentile bootstrap: the 2.5 % and 97.5 % quantiles of the mean over users."""
    low, high = np.quantile(resampled_means(values, samples, seed), [0.025, 0.975])
    return float(low), float(high)


def paired_p_value(ours: Values, theirs: Values, samples: int, seed: int) -> float:
    """Two-sided p-value of equal means when both models rank for the same users, in the same order.

    With d the differences by user and d* a resample, p = (1 + #{|mean(d*) - mean(d)| >= |mean(d)|}) / (1 + samples).
    Users of whom one of the two has no value take no part.
    """
    difference = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    difference = difference[~np.isnan(difference)]
    mean = difference.mean()
    extreme = np.abs(resampled_means(difference, samples, seed) - mean) >= abs(mean)
    return float((1 + extreme.sum()) / (1 + samples))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values that keep the chance of any false claim below the level (Holm, 1979).

    With p_(1) <= ... <= p_(m): adjusted p_(i) = max over j <= i of min(1, (m - j + 1) p_(j)).
    """
    adjusted, highest = {}, 0.0
    for position, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        highest = max(highest, min(1.0, (len(p_values) - position) * p_values[name]))
        adjusted[name] = highest
    return {name: adjusted[name] for name in p_values}
