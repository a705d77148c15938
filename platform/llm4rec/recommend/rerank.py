"""Changes to one user's scores before the slate is drawn, all in units of the standardised score."""

import numpy as np

from llm4rec.errors import DataError
from llm4rec.schema import BoolVector, FloatMatrix, FloatVector


def standardise(scores: FloatVector, among: BoolVector) -> FloatVector:
    """Scores of shape (I,) shifted and scaled to mean 0 and standard deviation 1 over the items of a mask.

    All zero where those items score alike.

    Raises:
        DataError: one of those items has no finite score.
    """
    chosen = scores[among].astype(np.float64)
    if not np.isfinite(chosen).all():
        raise DataError(f"{np.sum(~np.isfinite(chosen))} of {len(chosen)} scores are NaN or infinite")
    if not len(chosen):
        return np.zeros(len(scores), np.float32)
    spread = chosen.std()
    # Below this the differences are rounding of equal scores, not a preference.
    if spread <= 1e-7 * max(1.0, float(np.abs(chosen).max())):
        return np.zeros(len(scores), np.float32)
    return ((scores - chosen.mean()) / spread).astype(np.float32)


def steer(scores: FloatVector, relevance: FloatVector, weight: float, among: BoolVector) -> FloatVector:
    """Scores drawn towards a request in words: plus `weight` times the standardised relevance.

    Args:
        scores: standardised, shape (I,).
        relevance: how well each item answers the request, shape (I,).
        weight: 0 leaves the scores alone; 1 makes words and taste count alike.
        among: the items to standardise over, shape (I,).
    """
    return scores + np.float32(weight) * standardise(relevance, among)


def chances(logits: FloatMatrix) -> FloatMatrix:
    """Softmax by row, shape (B, I); 0 where a logit is -inf."""
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)


def charge(scores: FloatVector, chance: FloatVector, price: FloatVector, k: int, among: BoolVector) -> FloatVector:
    """Scores handed out anew in the order of chance_i - price_i, the chance of a choice less the price of a place.

    The k items that are worth most keep the order of their own scores. Nothing but who has which score changes, so
    that what is done to scores afterwards means the same.

    Args:
        scores: shape (I,).
        chance: that the user chooses an item, shape (I,).
        price: of each item, shape (I,).
        k: items wanted.
        among: the items that compete, shape (I,).
    """
    codes = np.flatnonzero(among)
    own = scores[codes]
    order = np.argsort(price[codes] - chance[codes], kind="stable")
    order[:k] = order[:k][np.argsort(-own[order[:k]], kind="stable")]
    charged = scores.copy()
    charged[codes[order]] = np.sort(own)[::-1]
    return charged


def diversify(scores: FloatVector, vectors: FloatMatrix, diversity: float) -> FloatVector:
    """Scores that fall with likeness to better candidates: maximal marginal relevance.

    Candidates are taken greedily by (1 - diversity) * score - diversity * (highest cosine with one already taken), as
    in Carbonell and Goldstein 1998, and each keeps the value it was taken with. Cosines below zero count as zero, so
    those values never rise: sorting by them gives the greedy order, and a policy can draw from them.

    Args:
        scores: of n candidates, shape (n,).
        vectors: their item vectors, shape (n, D).
        diversity: from 0, scores unchanged, to 1, likeness alone.
    """
    if diversity == 0 or not len(scores):
        return scores
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(lengths > 0, lengths, 1)
    relevance = (1 - diversity) * scores
    likeness = np.zeros(len(scores))
    left = np.ones(len(scores), np.bool_)
    taken_with = np.empty(len(scores), np.float32)
    for _ in range(len(scores)):
        marginal = np.where(left, relevance - diversity * likeness, -np.inf)
        best = int(marginal.argmax())
        taken_with[best], left[best] = marginal[best], False
        likeness = np.maximum(likeness, unit @ unit[best])
    return taken_with
