"""The logging policy: a Plackett-Luce draw of a slate, with the exact propensity of every choice."""

import numpy as np
import numpy.typing as npt

from llm4rec.errors import ConfigError, DataError
from llm4rec.schema import FloatVector, LongVector

LOWEST_LOGIT = -1e12  # exp of it is 0, and float64 still tells it from its neighbours by less than a nat


def draw(
    scores: FloatVector, k: int, temperature: float, rng: np.random.Generator
) -> tuple[LongVector, npt.NDArray[np.float64]]:
    """Draw k of n candidates without replacement, each position proportional to exp(score / temperature).

    Adding Gumbel noise to the scaled scores and sorting draws from exactly this distribution (the Gumbel top-k trick,
    Kool, van Hoof and Welling 2019, arXiv 1903.06059).

    Args:
        scores: shape (n,), finite.
        k: positions to fill; all candidates if there are fewer.
        temperature: at least 0; 0 takes the highest scores, ties in the order given.
        rng: source of the noise.

    Returns:
        Rows of `scores` in slate order, and for each position the probability of that choice given the positions
        above it; both of shape (min(k, n),).

    Raises:
        DataError: a score is not finite.
        ConfigError: k below 1 or a temperature below 0.
    """
    if k < 1 or not temperature >= 0:
        raise ConfigError(f"k must be at least 1 and temperature at least 0, got k={k}, temperature={temperature}")
    if not np.isfinite(scores).all():
        raise DataError("candidates must have finite scores; leave out items that cannot be shown")
    if temperature == 0:
        order = np.argsort(-scores, kind="stable")[:k]
        return order, np.ones(len(order))
    logits = _logits(scores, temperature)
    order = np.argsort(-(logits + rng.gumbel(size=len(logits))), kind="stable")
    return order[:k], propensities(logits[order])[:k]


def chances_of(scores: FloatVector, chosen: LongVector, temperature: float) -> npt.NDArray[np.float64]:
    """With what chance `draw` would have made each of some choices, given those before it.

    Args:
        scores: of the candidates, shape (n,), finite.
        chosen: rows of `scores` in order, each once, shape (k,); -1 for what is no candidate.
        temperature: of the policy; at 0 the highest score is sure, the first among equals.

    Returns:
        shape (k,); 0 for what is no candidate.
    """
    left = np.ones(len(scores), np.bool_)
    logits = _logits(scores, temperature) if temperature else scores
    found = np.zeros(len(chosen))
    for place, row in enumerate(chosen):
        if row < 0:
            continue
        if temperature == 0:
            found[place] = float(row == np.flatnonzero(left)[logits[left].argmax()])
        else:
            found[place] = np.exp(logits[row] - np.logaddexp.reduce(logits[left]))
        left[row] = False
    return found


def propensities(logits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Plackett-Luce probability of each choice given those before it, for candidates in the order chosen, (n,).

    The one at position j was chosen with probability exp(l_j) / sum over i >= j of exp(l_i).
    """
    remaining = np.logaddexp.accumulate(logits[::-1])[::-1]
    return np.exp(logits - remaining)


def _logits(scores: FloatVector, temperature: float) -> npt.NDArray[np.float64]:
    # Shifted first: a tiny temperature must not turn the best score into infinity. Floored, so that the differences
    # among hopeless candidates stay numbers: draw and propensity both use the floored logits.
    with np.errstate(over="ignore"):
        logits = (scores.astype(np.float64) - scores.max(initial=-np.inf)) / temperature
    return np.maximum(logits, LOWEST_LOGIT)
