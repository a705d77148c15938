"""How much propensities are clipped, chosen on pairs that the propensity model has not seen."""

import numpy as np
import numpy.typing as npt

from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.weights import clip, clip_threshold, effective_sample_size, training_weights
from llm4rec.schema import BoolVector, FloatMatrix

Floats = npt.NDArray[np.floating]
QUANTILES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.35, 0.5)
UNCHOSEN = 0.05
"""Where nothing tells which quantile is best."""
MIN_EFFECTIVE = 0.1
"""Weights must leave an effective sample of this share of the pairs: training sees them batch by batch."""


def choose_quantile(
    pairs: FloatMatrix, observed: BoolVector, scale: Floats, held_out: Floats, density: float, config: DebiasConfig
) -> tuple[float, dict[float, float]]:
    """The quantile whose weights make the observed pairs most like all pairs, and the imbalance that each leaves.

    Right weights make the weighted mean of every covariate over observed pairs its mean over all pairs (the balance
    that Imai and Ratkovic 2014 fit propensities to). The squared distance, in standard deviations and averaged over
    covariates, holds what clipping leaves of the selection and what a few large weights add by chance, so that the
    smallest is the best trade of the two. It needs no outcome. Quantiles whose weights leave too small an effective
    sample do not compete; if all do, the largest is taken.

    Args:
        pairs: covariates of a sample of observed and unobserved pairs, shape (S, F).
        observed: which were observed, shape (S,).
        scale: how many pairs of the population each stands for, shape (S,).
        held_out: propensity of each from a model that has not seen it, shape (S,).
        density: observed pairs among all pairs.
        config: which weights, and the floor.

    Returns:
        The quantile and the imbalance of each; UNCHOSEN and nothing where no covariate varies.
    """
    mean = np.average(pairs, axis=0, weights=scale)
    deviation = np.sqrt(np.average((pairs - mean) ** 2, axis=0, weights=scale))
    varies = deviation > 1e-9
    if not varies.any():
        return UNCHOSEN, {}
    distance = (pairs[observed][:, varies] - mean[varies]) / deviation[varies]
    propensity = held_out[observed]
    imbalance, effective = {}, {}
    for quantile in QUANTILES:
        clipped = clip(propensity, clip_threshold(propensity, quantile, config.clip_floor))
        weight = training_weights(clipped, density, config)
        imbalance[quantile] = float((np.average(distance, axis=0, weights=weight) ** 2).mean())
        effective[quantile] = effective_sample_size(weight) / len(weight)
    enough = [quantile for quantile in QUANTILES if effective[quantile] >= MIN_EFFECTIVE] or [QUANTILES[-1]]
    return min(enough, key=lambda quantile: imbalance[quantile]), imbalance
