"""A catalogue cut into parts of neighbouring codes, each searched apart, and what they found put together."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from llm4rec.index.vectors import NO_ITEM
from llm4rec.schema import FloatMatrix, IntVector


class SearchableIndex(Protocol):
    """What exact and approximate indexes, parts of them and all parts together have in common."""

    @property
    def num_items(self) -> int:
        """I."""

    def search(
        self, queries: FloatMatrix, k: int, exclude: Sequence[IntVector] | None = None
    ) -> tuple[IntVector, FloatMatrix]:
        """Codes and inner products, each of shape (B, k); see `ItemIndex.search`."""


class Part:
    """An index over neighbouring codes of a catalogue."""

    def __init__(self, index: SearchableIndex, first: int) -> None:
        """The index, in which code 0 is item `first` of the catalogue."""
        self._index, self._first = index, first

    @property
    def num_items(self) -> int:
        """Items of the part."""
        return self._index.num_items

    def search(
        self, queries: FloatMatrix, k: int, exclude: Sequence[IntVector] | None = None
    ) -> tuple[IntVector, FloatMatrix]:
        """As `ItemIndex.search`, in codes of the whole catalogue."""
        own = None
        if exclude is not None:
            last = self._first + self.num_items
            own = [codes[(codes >= self._first) & (codes < last)] - self._first for codes in exclude]
        codes, scores = self._index.search(queries, k, own)
        return np.where(codes == NO_ITEM, NO_ITEM, codes + self._first).astype(np.int32), scores


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
