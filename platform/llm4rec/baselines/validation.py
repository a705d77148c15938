"""Early stopping on the validation split."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from torch import Tensor, nn

from llm4rec.schema import TRAIN, VALID, Choices, Corpus, FloatMatrix, History, IntVector

TOP_N = 10
ROWS = 1024
"""Scored at a time."""


@dataclass
class Validation:
    """Measures NDCG@10 of what users chose in the validation split, one vote a user, and keeps the best weights seen.

    The catalogue is ranked whole, items of the history removed; ties count against the model.
    """

    choices: Choices
    patience: int
    best: float = -1.0
    _misses: int = 0
    _weights: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, corpus: Corpus, patience: int, max_rows: int | None = None) -> Self | None:
        """The validation users of a corpus, None where it has no validation interactions."""
        choices = corpus.choices(VALID, (TRAIN,))
        if max_rows is not None:
            choices = choices.at_most(max_rows)
        return cls(choices, patience) if len(choices.users) else None

    @property
    def should_stop(self) -> bool:
        """Whether the last `patience` measurements brought nothing better."""
        return self._misses >= self.patience

    def measure(self, score: Callable[[IntVector, Sequence[History]], FloatMatrix], network: nn.Module) -> float:
        """Score all validation users; the weights are copied when the mean NDCG@10 is the best so far."""
        chunks = [slice(start, start + ROWS) for start in range(0, len(self.choices.users), ROWS)]
        ranks = np.concatenate([self._ranks(score, chunk) for chunk in chunks])
        gains = np.where(ranks < TOP_N, 1 / np.log2(ranks + 2), 0.0)
        _, member, counts = np.unique(self.choices.users, return_inverse=True, return_counts=True)
        ndcg = float((np.bincount(member, gains) / counts).mean())
        if ndcg > self.best:
            self.best, self._misses, self._weights = ndcg, 0, copy.deepcopy(network.state_dict())
        else:
            self._misses += 1
        return ndcg

    def _ranks(self, score: Callable[[IntVector, Sequence[History]], FloatMatrix], chunk: slice) -> IntVector:
        histories, items = self.choices.histories[chunk], self.choices.items[chunk]
        scores = score(self.choices.users[chunk], histories)
        rows = np.arange(len(scores))
        wanted = scores[rows, items]
        for row, history in zip(scores, histories, strict=True):
            row[history.item] = -np.inf
        scores[rows, items] = -np.inf
        # Written so that NaN, which compares false, counts against the model too.
        return (~(scores < wanted[:, None])).sum(axis=1)

    def state(self) -> dict[str, Any]:
        """What has been found so far."""
        return {"best": self.best, "misses": self._misses, "weights": self._weights}

    def continue_from(self, state: dict[str, Any]) -> None:
        """Know what the one knew whose `state` this is."""
        self.best, self._misses, self._weights = state["best"], state["misses"], state["weights"]

    def restore_best(self, network: nn.Module) -> None:
        """Put the best weights back."""
        network.load_state_dict(self._weights)
