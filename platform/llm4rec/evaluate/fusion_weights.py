"""What the fusion listens to: its weights alpha by modality and by group of items.

Shapes: I items, M modalities.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from llm4rec.evaluate.metrics import Labels
from llm4rec.schema import BoolVector, FloatMatrix, IntVector

ALL_ITEMS = "all items"
POPULARITY, MODALITIES = "popularity", "modalities"
THIRDS = ("most popular third", "middle third", "least popular third")
COLD = "cold"
NOTHING, OTHERS = "no modality", "other sets"
MAX_SETS = 12


def summarise(
    alpha: FloatMatrix, present: np.ndarray, names: Sequence[str], popularity: IntVector
) -> dict[str, dict[str, Any]]:
    """Mean weights of all items, by popularity, and by the set of modalities that an item has, ready for JSON.

    Args:
        alpha: shape (I, M), 0 where the modality is missing.
        present: shape (I, M), bool.
        names: the M modalities.
        popularity: training interactions of the warm items, which are the first ones.

    Returns:
        Kind of group to group to {"items": count, "weights": {modality: mean over the items that have it, null where
        none has}, "coverage": {modality: share of items that have it}}. Empty without modalities.
    """
    if not names:
        return {}
    groups = {
        ALL_ITEMS: np.full(len(alpha), ALL_ITEMS),
        POPULARITY: popularity_thirds(popularity, len(alpha)),
        MODALITIES: modality_sets(present, names),
    }
    order = (ALL_ITEMS, *THIRDS, COLD)
    found: dict[str, dict[str, Any]] = {}
    for kind, labels in groups.items():
        values, counts = np.unique(labels, return_counts=True)
        sizes = dict(zip(values.tolist(), counts.tolist(), strict=True))
        ranked = sorted(sizes, key=lambda n: (order.index(n) if n in order else len(order), n == OTHERS, -sizes[n], n))
        found[kind] = {name: _means(alpha, present, names, labels == name) for name in ranked}
    return found


def popularity_thirds(popularity: IntVector, num_items: int) -> Labels:
    """Label of each item: the third of the warm items it is in, by training interactions, ties by code; or cold."""
    labels = np.full(num_items, COLD, dtype=f"<U{max(map(len, THIRDS))}")
    for name, codes in zip(THIRDS, np.array_split(np.argsort(-popularity, kind="stable"), len(THIRDS)), strict=True):
        labels[codes] = name
    return labels


def modality_sets(present: np.ndarray, names: Sequence[str]) -> Labels:
    """Label of each item: the modalities it has; the rarest sets, beyond `MAX_SETS`, share one label."""
    sets, member, counts = np.unique(present, axis=0, return_inverse=True, return_counts=True)
    labels = [" + ".join(name for name, has_it in zip(names, row, strict=True) if has_it) or NOTHING for row in sets]
    for rare in np.argsort(-counts, kind="stable")[MAX_SETS:]:
        labels[rare] = OTHERS
    return np.array(labels)[member.ravel()]


def _means(alpha: FloatMatrix, present: np.ndarray, names: Sequence[str], chosen: BoolVector) -> dict[str, Any]:
    own, having = alpha[chosen], present[chosen]
    weights = {name: float(own[having[:, m], m].mean()) if having[:, m].any() else None for m, name in enumerate(names)}
    return {
        "items": int(chosen.sum()),
        "weights": weights,
        "coverage": {name: float(having[:, m].mean()) for m, name in enumerate(names)},
    }
