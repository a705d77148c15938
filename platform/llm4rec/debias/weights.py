"""Inverse propensity weights: clipped, self-normalised, with the effective sample size they leave."""

import numpy as np
import numpy.typing as npt

from llm4rec.debias.config import DebiasConfig
from llm4rec.schema import FloatVector

Floats = npt.NDArray[np.floating]


def clip_threshold(propensity: Floats, config: DebiasConfig) -> float:
    """The smallest propensity that weights may divide by: max(quantile(p, clip_quantile), clip_floor)."""
    quantile = float(np.quantile(propensity, config.clip_quantile)) if config.clip_quantile > 0 else 0.0
    return max(quantile, config.clip_floor)


def clip(propensity: Floats, threshold: float) -> Floats:
    """Propensities raised to at least the threshold: p' = max(p, threshold).

    Inverse propensity scoring sums outcome / p over observed pairs, which is unbiased where every p > 0 but has
    unbounded variance (Schnabel et al. 2016, equation 10); bounding 1 / p trades some bias for it.
    """
    return np.maximum(propensity, threshold)


def snips(propensity: Floats) -> FloatVector:
    """Self-normalised inverse propensity weights, mean 1: w_n = (1 / p_n) / mean_m(1 / p_m).

    Dividing by the realised sum of the weights instead of its expectation makes a weighted mean invariant to
    shifts of the outcome and bounded by it (Swaminathan and Joachims 2015, the self-normalised estimator).
    """
    inverse = 1.0 / np.asarray(propensity, np.float64)
    return (inverse / inverse.mean()).astype(np.float32)


def effective_sample_size(weight: Floats) -> float:
    """Number of equally weighted rows with the same variance of a mean: (sum w)^2 / sum w^2 (Kish 1965)."""
    exact = np.asarray(weight, np.float64)
    return float(exact.sum() ** 2 / (exact**2).sum())
