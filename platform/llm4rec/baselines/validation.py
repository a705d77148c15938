"""Early stopping on the validation split."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from torch import Tensor, nn

from llm4rec.schema import TRAIN, VALID, Corpus, FloatMatrix, History, IntVector

TOP_N = 10


@dataclass
class Validation:
    """Measures NDCG@10 of each user's first validation item, and keeps the best weights seen.

    The catalogue is ranked whole, items of the history removed; ties count against the model.
    """

    users: IntVector
    histories: Sequence[History]
    targets: IntVector
    patience: int
    best: float = -1.0
    _misses: int = 0
    _weights: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def of(cls, corpus: Corpus, patience: int) -> Self | None:
        """The validation users of a corpus, None where it has no validation interactions."""
        valid = corpus.part(VALID)
        if not len(valid):
            return None
        users, first = np.unique(valid.user, return_index=True)
        histories = corpus.histories(TRAIN)
        return cls(users, [histories[user] for user in users], valid.item[first], patience)

    @property
    def should_stop(self) -> bool:
        """Whether the last `patience` measurements brought nothing better."""
        return self._misses >= self.patience

    def measure(self, score: Callable[[IntVector, Sequence[History]], FloatMatrix], network: nn.Module) -> float:
        """Score all validation users; the weights are copied when the mean NDCG@10 is the best so far."""
        scores = score(self.users, self.histories)
        rows = np.arange(len(scores))
        wanted = scores[rows, self.targets]
        for row, history in zip(scores, self.histories, strict=True):
            row[history.item] = -np.inf
        scores[rows, self.targets] = -np.inf
        # Written so that NaN, which compares false, counts against the model too.
        ranks = (~(scores < wanted[:, None])).sum(axis=1)
        ndcg = float(np.where(ranks < TOP_N, 1 / np.log2(ranks + 2), 0.0).mean())
        if ndcg > self.best:
            self.best, self._misses, self._weights = ndcg, 0, copy.deepcopy(network.state_dict())
        else:
            self._misses += 1
        return ndcg

    def restore(self, network: nn.Module) -> None:
        """Put the best weights back."""
        network.load_state_dict(self._weights)
