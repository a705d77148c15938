"""Item-based nearest neighbours by cosine of co-occurrence."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from llm4rec.baselines.config import ItemKNNConfig
from llm4rec.history_matrix import binary_matrix, weighted_matrix
from llm4rec.schema import TRAIN, Corpus, FloatMatrix, FloatVector, History, IntVector


class ItemKNN:
    """Scores an item by its summed similarity to the items of the history.

    s(i, j) = c_ij / (sqrt(c_ii c_jj) + shrink), with c_ij the number of users who had both i and j
    (Sarwar et al., Item-based collaborative filtering recommendation algorithms, WWW 2001).
    """

    def __init__(self, config: ItemKNNConfig) -> None:
        self.config = config
        self.name = "item_knn" if config.last is None else f"item_knn_last_{config.last}"
        self._similarity: FloatMatrix = np.empty((0, 0), np.float32)

    def fit(self, corpus: Corpus, splits: tuple[int, ...] = (TRAIN,)) -> Self:
        """Compute the similarities of all warm items, shape (warm items, warm items)."""
        matrix = binary_matrix(corpus.histories(*splits), corpus.num_warm_items)
        together = (matrix.T @ matrix).toarray()
        norm = np.sqrt(together.diagonal())
        # The tiny constant only guards items without interactions when nothing is shrunk: 0 / 0.
        similarity = together / (np.outer(norm, norm) + self.config.shrink + 1e-12)
        np.fill_diagonal(similarity, 0.0)
        self._similarity = _keep_nearest(similarity.astype(np.float32), self.config.num_neighbors)
        return self

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Scores of all warm items, shape (len(users), warm items)."""
        if self.config.last is not None:
            histories = [history.last(self.config.last) for history in histories]
        weights = [self._weights(len(history)) for history in histories]
        return weighted_matrix(histories, weights, len(self._similarity)) @ self._similarity

    def _weights(self, length: int) -> FloatVector:
        if self.config.last is None:
            return np.ones(length, np.float32)
        return (self.config.decay ** np.arange(length - 1, -1, -1)).astype(np.float32)


def _keep_nearest(similarity: FloatMatrix, num_neighbors: int) -> FloatMatrix:
    """Zero all but the largest entries of each column: each candidate item keeps its own neighbours."""
    surplus = len(similarity) - num_neighbors
    if surplus > 0:
        far = np.argpartition(similarity, surplus, axis=0)[:surplus]
        np.put_along_axis(similarity, far, 0.0, axis=0)
    return similarity
