"""Full ranking: every warm item competes, none is sampled."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from llm4rec.errors import Llm4RecError
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.schema import FloatMatrix, FloatVector, History, IntVector

NO_ITEM = -1


class Scorer(Protocol):
    """What can be evaluated."""

    name: str

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Finite scores of the warm items, higher is better, shape (len(users), I_warm); the caller may change them."""
        ...


@dataclass(frozen=True)
class RankedLists:
    """The ranking of E users.

    Attributes:
        target_rank: rank of each target from 0, shape (E,). Ties count against the model: an item with the target's
            score stands before it, so that constant scores earn nothing.
        items: the slate of each user, best first, shape (E, top_n); equal scores by item code; -1 where the
            catalogue had no further unseen item.
        scores: their scores, shape (E, top_n); -inf where there is no item.
    """

    target_rank: IntVector
    items: IntVector
    scores: FloatMatrix


def rank(scorer: Scorer, evaluation_set: EvaluationSet, config: EvaluateConfig) -> RankedLists:
    """Rank the whole catalogue for every user of the evaluation set, `config.chunk_size` users at a time.

    Raises:
        Llm4RecError: the scorer gave scores of the wrong shape, NaN or infinity.
    """
    size = len(evaluation_set)
    target_rank = np.empty(size, np.int32)
    items = np.full((size, config.top_n), NO_ITEM, np.int32)
    top_scores = np.full((size, config.top_n), -np.inf, np.float32)
    for start in range(0, size, config.chunk_size):
        chunk = slice(start, start + config.chunk_size)
        histories, targets = evaluation_set.histories[chunk], evaluation_set.targets[chunk]
        scores = _checked_scores(scorer, evaluation_set.users[chunk], histories, evaluation_set.num_items)
        if config.remove_seen:
            remove_seen(scores, histories, targets)
        wanted = scores[np.arange(len(targets)), targets]
        target_rank[chunk] = (torch.from_numpy(scores) >= torch.from_numpy(wanted)[:, None]).sum(dim=1).numpy() - 1
        items[chunk], top_scores[chunk] = slates(scores, config.top_n)
    return RankedLists(target_rank, items, top_scores)


def _checked_scores(scorer: Scorer, users: IntVector, histories: Sequence[History], num_items: int) -> FloatMatrix:
    scores = np.ascontiguousarray(scorer.score(users, histories), np.float32)
    if scores.shape != (len(users), num_items):
        raise Llm4RecError(f"{scorer.name} gave scores of shape {scores.shape}, expected {(len(users), num_items)}")
    # The extremes tell of NaN and infinity, at a fraction of the time of looking at each score.
    if scores.size and not all(bound.isfinite() for bound in torch.from_numpy(scores).aminmax()):
        raise Llm4RecError(
            f"{scorer.name} gave {(~np.isfinite(scores)).sum()} scores that are NaN or infinite; "
            "its training has diverged: lower its learning rate and train it again"
        )
    return scores


def slates(scores: FloatMatrix, top_n: int) -> tuple[IntVector, FloatMatrix]:
    """The highest finite scores of every row: item codes, best first, equal scores by code, and the scores.

    Args:
        scores: shape (B, I).
        top_n: n.

    Returns:
        Both of shape (B, n); NO_ITEM and -inf where a row has fewer.
    """
    items = np.full((len(scores), top_n), NO_ITEM, np.int32)
    found = np.full((len(scores), top_n), -np.inf, np.float32)
    if not scores.size:
        return items, found
    values, codes = torch.from_numpy(scores).topk(min(top_n + 1, scores.shape[1]), dim=1)
    kept = slice(min(top_n, scores.shape[1]))
    found[:, kept], items[:, kept] = values[:, kept].numpy(), codes[:, kept].numpy()
    items[found == -np.inf] = NO_ITEM
    # Which of equal scores come first, and which are left out, is not defined above.
    tied = (values[:, 1:] == values[:, :-1]) & (values[:, 1:] > -torch.inf)
    for row in np.flatnonzero(tied.any(dim=1).numpy()):
        best = best_items(scores[row], top_n)
        items[row, : len(best)], found[row, : len(best)] = best, scores[row][best]
    return items, found


def remove_seen(scores: FloatMatrix, histories: Sequence[History], targets: IntVector | None = None) -> None:
    """Set the scores of items seen to -inf, in place, but for the targets' where there are any."""
    rows = np.arange(len(scores))
    wanted = None if targets is None else scores[rows, targets]
    for row, history in zip(scores, histories, strict=True):
        row[history.item] = -np.inf
    if targets is not None:
        scores[rows, targets] = wanted


def best_items(scores: FloatVector, top_n: int) -> IntVector:
    """Codes of the highest finite scores, best first."""
    bar = np.partition(scores, -top_n)[-top_n] if top_n < len(scores) else -np.inf
    contenders = np.flatnonzero((scores >= bar) & (scores > -np.inf))
    return contenders[np.argsort(-scores[contenders], kind="stable")][:top_n].astype(np.int32)
