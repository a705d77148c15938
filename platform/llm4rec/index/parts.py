"""A catalogue cut into parts of neighbouring codes, each searched apart, and what they found put together."""

from collections.abc import Sequence

import numpy as np

from llm4rec.index.vectors import NO_ITEM
from llm4rec.schema import FloatMatrix, IntVector


def cut(num_items: int, parts: int) -> list[tuple[int, int]]:
    """The first code of each part, and one past its last; their sizes differ by one item at most."""
    edges = np.linspace(0, num_items, parts + 1).round().astype(int)
    return [(int(start), int(stop)) for start, stop in zip(edges[:-1], edges[1:], strict=True)]


def merge(found: Sequence[tuple[IntVector, FloatMatrix]], k: int) -> tuple[IntVector, FloatMatrix]:
    """The k best of what parts found, best first; equal scores by code.

    Args:
        found: codes in the whole catalogue and scores of each part, both of shape (B, any), padded with code -1.
        k: items a query.
    """
    codes = np.concatenate([one for one, _ in found], axis=1)
    scores = np.concatenate([one for _, one in found], axis=1).astype(np.float32)
    scores = np.where(codes == NO_ITEM, -np.inf, scores)
    order = np.lexsort((codes, -scores), axis=1)[:, :k]
    short = max(0, k - order.shape[1])
    codes, scores = np.take_along_axis(codes, order, 1), np.take_along_axis(scores, order, 1)
    return (
        np.pad(codes, ((0, 0), (0, short)), constant_values=NO_ITEM).astype(np.int32),
        np.pad(scores, ((0, 0), (0, short)), constant_values=-np.inf),
    )
