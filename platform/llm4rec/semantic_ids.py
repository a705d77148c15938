"""Semantic ids: items as short series of codes that alike items share, and the tree that these series make.

Shapes: I items, C codes an item, K codes a level, N nodes of a level of the tree, D width of vectors.
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
from pydantic import Field, PositiveInt

from llm4rec.config import StrictModel
from llm4rec.schema import FloatMatrix, IntVector
from llm4rec.table_rows import with_rows


class GenerativeConfig(StrictModel):
    """Settings of semantic ids and of the head that writes them."""

    levels: PositiveInt = 2
    """Codes of an item that come from its vector; one more tells apart items that share them."""
    codebook_size: int = Field(default=64, ge=2, le=65_536)
    """Codes a level."""
    hidden_size: PositiveInt = 512
    """Of the layer between state and codes."""
    steps: PositiveInt = 2000
    """Training steps."""


@dataclass(frozen=True)
class TreeLevel:
    """The distinct beginnings of a certain length.

    Attributes:
        parent: of each node, its beginning one shorter, a node of the level above, shape (N,).
        code: of each node, its last code, shape (N,).
    """

    parent: IntVector
    code: IntVector


@dataclass(frozen=True)
class SemanticIds:
    """The codes of a catalogue, and what gives a new item its own.

    Attributes:
        codes: of every item, shape (I, C); the last one tells apart items that share all others.
        centres: of each level that comes from content, C - 1 arrays of shape (K, D).
    """

    codes: IntVector
    centres: tuple[FloatMatrix, ...]

    @classmethod
    def fit(cls, vectors: FloatMatrix, levels: int, codebook_size: int, seed: int) -> Self:
        """Residual k-means: each level clusters what the centres of the levels before have left of the vectors.

        Args:
            vectors: content, shape (I, D).
            levels: how often residuals are clustered, C - 1.
            codebook_size: K, clusters a level; fewer where there are fewer distinct residuals.
            seed: of the first centres.
        """
        from sklearn.cluster import KMeans  # here, since settings are read from this file with every configuration

        rest, columns, centres = np.array(vectors, np.float32), [], []
        for _ in range(levels):
            clusters = min(codebook_size, len(np.unique(rest, axis=0)))
            found = KMeans(clusters, n_init=1, random_state=seed).fit(rest)
            columns.append(found.labels_)
            centres.append(found.cluster_centers_)
            rest = rest - found.cluster_centers_[found.labels_]
        return cls(_told_apart(np.stack(columns, axis=1)), tuple(centres))

    def assign(self, vectors: FloatMatrix) -> IntVector:
        """The codes that come from content of other items with vectors (n, D): the nearest centres, (n, C - 1)."""
        rest, columns = np.array(vectors, np.float32), []
        for centres in self.centres:
            # |x - c|^2 less the |x|^2 that all share
            nearest = ((centres**2).sum(axis=1) - 2 * rest @ centres.T).argmin(axis=1)
            columns.append(nearest)
            rest = rest - centres[nearest]
        return np.stack(columns, axis=1).astype(np.int32)

    def put(self, items: IntVector, vectors: FloatMatrix) -> "SemanticIds":
        """With ids given anew to some items, or to more items behind those known; others keep theirs.

        Args:
            items: which, shape (n,), each once; those that are not known are the next ones.
            vectors: shape (n, D).
        """
        codes = with_rows(self.codes, items, -1)  # nobody's, until each has its own
        for item, own in zip(items, self.assign(vectors), strict=True):
            codes[item] = _free_id(codes, own)
        return SemanticIds(codes, self.centres)

    @property
    def collisions(self) -> float:
        """The share of items that share their codes from content with another one."""
        _, group, count = np.unique(self.codes[:, :-1], axis=0, return_inverse=True, return_counts=True)
        return float((count[group.ravel()] > 1).mean())


def _free_id(codes: IntVector, own: IntVector) -> IntVector:
    """An item's codes from content with the first last code that no item which shares them has."""
    taken = codes[(codes[:, :-1] == own).all(axis=1), -1]
    return np.append(own, np.setdiff1d(np.arange(len(taken) + 1), taken)[0]).astype(np.int32)


def _told_apart(codes: IntVector) -> IntVector:
    """Codes (I, C - 1) with one more, which counts the items before that share them, shape (I, C)."""
    group = np.unique(codes, axis=0, return_inverse=True)[1].ravel()
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], group)
    last = np.empty(len(codes), np.int64)
    last[order] = np.arange(len(codes))
    return np.column_stack([codes, last - starts]).astype(np.int32)


def tree(codes: IntVector) -> tuple[list[TreeLevel], IntVector]:
    """The tree of all items' codes, shape (I, C), and the leaf of each item, shape (I,)."""
    levels, above = [], np.zeros(len(codes), np.int64)
    for column in codes.T:
        pairs, node = np.unique(np.column_stack([above, column]), axis=0, return_inverse=True)
        levels.append(TreeLevel(pairs[:, 0].astype(np.int32), pairs[:, 1].astype(np.int32)))
        above = node.ravel()
    return levels, above.astype(np.int32)
