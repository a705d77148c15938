"""Recommend what most users had."""

from collections.abc import Sequence
from typing import Self

import numpy as np

from llm4rec.baselines.config import PopularConfig
from llm4rec.schema import TRAIN, Corpus, FloatMatrix, FloatVector, History, IntVector


class Popular:
    """Scores every item by its number of interactions, the same for all users."""

    name = "popular"

    def __init__(self, config: PopularConfig) -> None:
        self.config = config
        self._popularity: FloatVector = np.empty(0, np.float32)

    def fit(self, corpus: Corpus, splits: tuple[int, ...] = (TRAIN,)) -> Self:
        """Count the interactions of each warm item in the given splits."""
        counts = np.bincount(corpus.part(*splits).item, minlength=corpus.num_warm_items)
        self._popularity = counts[: corpus.num_warm_items].astype(np.float32)
        return self

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Scores of all warm items, shape (len(users), warm items)."""
        return np.tile(self._popularity, (len(users), 1))
