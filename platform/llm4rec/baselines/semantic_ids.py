"""Semantic ids: items as short series of codes that alike items share, and the tree that these series make.

Shapes: I items, C codes an item, K codes a level, N nodes of a level of the tree.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans

from llm4rec.schema import FloatMatrix, IntVector


@dataclass(frozen=True)
class TreeLevel:
    """The distinct beginnings of a certain length.

    Attributes:
        parent: of each node, its beginning one shorter, a node of the level above, shape (N,).
        code: of each node, its last code, shape (N,).
    """

    parent: IntVector
    code: IntVector


def semantic_ids(vectors: FloatMatrix, levels: int, codebook_size: int, seed: int) -> IntVector:
    """Codes of every item by residual k-means of its content, and one more that tells apart items which share them.

    Each level clusters what the centres of the levels before have left of the vectors. The order of items that share
    all codes is that of their own codes.

    Args:
        vectors: content, shape (I, D).
        levels: how often residuals are clustered, C - 1.
        codebook_size: K, clusters a level; fewer where there are fewer distinct residuals.
        seed: of the first centres.

    Returns:
        Shape (I, C).
    """
    rest, columns = np.array(vectors, np.float32), []
    for _ in range(levels):
        clusters = min(codebook_size, len(np.unique(rest, axis=0)))
        found = KMeans(clusters, n_init=1, random_state=seed).fit(rest)
        columns.append(found.labels_)
        rest = rest - found.cluster_centers_[found.labels_]
    codes = np.stack(columns, axis=1)
    _, group = np.unique(codes, axis=0, return_inverse=True)
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
