"""Training weights from propensities: clipped, IPS, SNIPS or dynamic, with the effective sample size they leave."""

import numpy as np
import numpy.typing as npt

from llm4rec.debias.config import DebiasConfig
from llm4rec.schema import FloatVector

Floats = npt.NDArray[np.floating]


def training_weights(propensity: Floats, density: float, config: DebiasConfig) -> FloatVector:
    """The weights that the configuration asks for, from clipped propensities.

    Args:
        propensity: of the observed pairs, shape (N,), clipped.
        density: observed pairs among all pairs.
        config: which weights.
    """
    match config.weights:
        case "ips":
            return ips(propensity, density)
        case "snips":
            return snips(propensity)
        case "dynamic":
            return dynamic(propensity, config.bias_share)


def clip_threshold(propensity: Floats, quantile: float, floor: float) -> float:
    """The smallest propensity that weights may divide by: the larger of a quantile of them and a floor."""
    return max(float(np.quantile(propensity, quantile)) if quantile > 0 else 0.0, floor)


def clip(propensity: Floats, threshold: float) -> Floats:
    """Propensities raised to at least the threshold: p' = max(p, threshold).

    Inverse propensity scoring sums outcome / p over observed pairs, which is unbiased where every p > 0 but has
    unbounded variance (Schnabel et al. 2016, equation 10); bounding 1 / p trades some bias for it.
    """
    return np.maximum(propensity, threshold)


def ips(propensity: Floats, density: float) -> FloatVector:
    """Inverse propensity weights, mean 1 in expectation: w_n = density / p_n (Schnabel et al. 2016).

    The mean of w_n l_n over observed pairs then estimates, without bias, the mean of l over all pairs.
    """
    return (density / np.asarray(propensity, np.float64)).astype(np.float32)


def snips(propensity: Floats) -> FloatVector:
    """Self-normalised inverse propensity weights, mean 1: w_n = (1 / p_n) / mean_m(1 / p_m).

    Dividing by the realised sum of the weights instead of its expectation makes a weighted mean invariant to
    shifts of the outcome and bounded by it (Swaminathan and Joachims 2015, the self-normalised estimator).
    """
    return _normalised(1.0 / np.asarray(propensity, np.float64))


def dynamic(propensity: Floats, bias_share: float) -> FloatVector:
    """Weights p^-a with the exponent of each pair that minimises b bias^2 + (1 - b) variance, then of mean 1.

    A pair that is observed with probability p and then counts x times its loss l has bias (p x - 1) l and variance
    p (1 - p) x^2 l^2. The best x = p^-a with a from 0 to 1 (the dynamic estimators of Ha et al. 2024) is
    x = b / (b p + (1 - b) (1 - p)), kept from 1 to 1 / p.

    Args:
        propensity: p, shape (N,), above 0.
        bias_share: b, from 0 (all weights equal) to 1 (inverse propensities).
    """
    p = np.asarray(propensity, np.float64)
    best = bias_share / (bias_share * p + (1 - bias_share) * (1 - p) + np.finfo(np.float64).tiny)
    return _normalised(np.clip(best, 1.0, 1.0 / p))


def effective_sample_size(weight: Floats) -> float:
    """Number of equally weighted rows with the same variance of a mean, (sum w)^2 / sum w^2 (Kish 1965); 0 of none."""
    exact = np.asarray(weight, np.float64)
    squares = float((exact**2).sum())
    return float(exact.sum() ** 2) / squares if squares else 0.0


def _normalised(weight: npt.NDArray[np.float64]) -> FloatVector:
    return (weight / weight.mean()).astype(np.float32)
