"""Every figure of the report, each a function of ranks or slates.

Shapes: E users, n slate length (`top_n`), I warm items, D width. Slates are item codes, -1 where a slate is short.
"""

import re

import numpy as np
import numpy.typing as npt

from llm4rec.schema import BoolVector, FloatMatrix, FloatVector, IntVector

Labels = npt.NDArray[np.str_]


def ndcg(target_rank: IntVector, top_n: int) -> FloatVector:
    """Per user: 1 / log2(rank + 2) if rank < top_n else 0, rank from 0; one target, so the ideal DCG is 1."""
    return np.where(target_rank < top_n, 1.0 / np.log2(target_rank + 2.0), 0.0).astype(np.float32)


def hit_rate(target_rank: IntVector, top_n: int) -> FloatVector:
    """Per user: 1 if rank < top_n else 0; with one target the same as recall."""
    return (target_rank < top_n).astype(np.float32)


def reciprocal_rank(target_rank: IntVector) -> FloatVector:
    """Per user: 1 / (rank + 1), rank from 0, without a cut; the mean is MRR."""
    return (1.0 / (target_rank + 1.0)).astype(np.float32)


def coverage(slates: IntVector, num_items: int) -> float:
    """Distinct items in all slates / I."""
    return float(len(np.unique(slates[slates >= 0])) / num_items)


def gini(slates: IntVector, num_items: int) -> float:
    """Inequality of exposure: sum_i (2 i - I - 1) c_i / (I sum_i c_i).

    c_1 <= ... <= c_I are the numbers of slates each item stands in; 0 is equal exposure, 1 - 1/I one item only.
    """
    counts = np.sort(np.bincount(slates[slates >= 0], minlength=num_items))
    ranks = np.arange(1, num_items + 1)
    return float(((2 * ranks - num_items - 1) * counts).sum() / (num_items * counts.sum()))


def average_popularity(slates: IntVector, popularity: IntVector) -> FloatVector:
    """Per user: mean training interactions of the slate's items; the mean over users is ARP."""
    return _slate_mean(slates, popularity.astype(np.float32))


def novelty(slates: IntVector, popularity: IntVector, num_users: int) -> FloatVector:
    """Per user: mean self-information -log2(max(interactions, 1) / users) of the slate's items, in bits."""
    return _slate_mean(slates, -np.log2(np.maximum(popularity, 1) / num_users).astype(np.float32))


def diversity(slates: IntVector, vectors: FloatMatrix) -> FloatVector:
    """Per user: ILD = 1 - mean cosine of all pairs of the slate's items; `vectors` has shape (I, D).

    Items without a vector (zero row) are left out; a user with fewer than two items left gets NaN.
    """
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = vectors / np.where(norms > 0, norms, 1.0)
    usable = (slates >= 0) & (norms[slates, 0] > 0)
    sums = np.stack([unit[slate[keep]].sum(axis=0) for slate, keep in zip(slates, usable, strict=True)])
    counts = usable.sum(axis=1)
    # |sum of unit vectors|^2 = count + 2 * (sum of the cosines of all pairs)
    cosines = (np.square(sums).sum(axis=1) - counts) / np.where(counts > 1, counts * (counts - 1), np.nan)
    return (1.0 - cosines).astype(np.float32)


def popular_items(popularity: IntVector, share: float) -> BoolVector:
    """Which items belong to the most popular `share` of the catalogue, shape (I,); ties by item code."""
    chosen = np.argsort(-popularity, kind="stable")[: max(1, round(share * len(popularity)))]
    mask = np.zeros(len(popularity), np.bool_)
    mask[chosen] = True
    return mask


def popular_exposure(slates: IntVector, popular: BoolVector) -> FloatVector:
    """Per user: share of the slate's exposure that popular items get; rank r (from 0) is exposed 1 / log2(r + 2)."""
    weights = np.where(slates >= 0, 1.0 / np.log2(np.arange(slates.shape[1]) + 2.0), 0.0)
    return ((weights * popular[slates]).sum(axis=1) / weights.sum(axis=1)).astype(np.float32)


def tail_share(slates: IntVector, popular: BoolVector) -> FloatVector:
    """Per user: share of the slate's items that are not popular; the mean over users is APLT (Abdollahpouri 2019)."""
    return _slate_mean(slates, (~popular).astype(np.float32))


def parity_gap(exposure: FloatVector, groups: Labels, min_group_size: int) -> float:
    """Demographic parity gap: max over groups g of |mean exposure in g - mean exposure of all users|.

    Groups smaller than `min_group_size` are not compared; without any group left the gap is 0.
    """
    names, member, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    means = np.bincount(member, exposure, len(names)) / sizes
    gaps = np.abs(means - exposure.mean())[sizes >= min_group_size]
    return float(gaps.max(initial=0.0))


def slice_means(values: FloatVector, labels: Labels) -> dict[str, dict[str, float]]:
    """Mean and number of users by label: {label: {"mean": x, "users": n}}, labels sorted, numbers by their value."""
    return {
        str(label): {"mean": float(values[labels == label].mean()), "users": int((labels == label).sum())}
        for label in sorted(np.unique(labels).tolist(), key=_in_order)
    }


def _in_order(label: str) -> tuple[bool, float, str]:
    """Sorts "7 to 25" before "26 to 31", and words behind numbers."""
    number = re.match(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", label)
    return number is None, float(number[0]) if number else 0.0, label


def mean_by_user(users: IntVector, values: FloatVector) -> FloatVector:
    """Each user's mean of the values of its rows, users in ascending order: one user, one vote."""
    _, member, counts = np.unique(users, return_inverse=True, return_counts=True)
    return (np.bincount(member, values) / counts).astype(np.float32)


def _slate_mean(slates: IntVector, values: FloatVector) -> FloatVector:
    filled = slates >= 0
    return (np.where(filled, values[slates], 0.0).sum(axis=1) / filled.sum(axis=1)).astype(np.float32)
