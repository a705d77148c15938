"""EASE: a linear item-item model with a closed-form solution."""

from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import Field, PositiveFloat

from llm4rec.config import StrictModel
from llm4rec.history_matrix import binary_matrix, decayed_matrix
from llm4rec.linear import item_item_weights
from llm4rec.schema import TRAIN, Corpus, FloatMatrix, History, IntVector


class EASEConfig(StrictModel):
    """Settings of EASE; the default was chosen on the validation split of ML-100K."""

    reg: PositiveFloat = 100.0
    """L2 regularisation, lambda; larger catalogues with more users want more."""
    decay: float = Field(default=1.0, gt=0, le=1)
    """The n-th newest item of a history (from 0) weighs decay ** n when it is scored; 1 is Steck's model."""


class EASEDecayedConfig(EASEConfig):
    """Settings of EASE that hears the newest items most."""

    decay: float = Field(default=0.8, gt=0, le=1)


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
