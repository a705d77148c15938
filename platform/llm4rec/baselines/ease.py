"""EASE: a linear item-item model with a closed-form solution."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from llm4rec.baselines.config import EASEConfig
from llm4rec.history_matrix import binary_matrix, decayed_matrix
from llm4rec.linear import item_item_weights
from llm4rec.schema import TRAIN, Corpus, FloatMatrix, History, IntVector


class EASE:
    """Scores are X B, B as `item_item_weights` solves for it (Steck 2019)."""

    def __init__(self, config: EASEConfig) -> None:
        self.config = config
        self.name = "ease" if config.decay == 1 else "ease_decayed"
        self._weights: FloatMatrix = np.empty((0, 0), np.float32)

    def fit(self, corpus: Corpus, splits: tuple[int, ...] = (TRAIN,)) -> Self:
        """Solve for the weights of all warm items, shape (warm items, warm items)."""
        matrix = binary_matrix(corpus.histories(*splits), corpus.num_warm_items)
        self._weights = item_item_weights(matrix, self.config.reg)
        return self

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Scores of all warm items, shape (len(users), warm items)."""
        return decayed_matrix(histories, len(self._weights), self.config.decay) @ self._weights
