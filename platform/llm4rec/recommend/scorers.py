"""What evaluation ranks with, beside the model itself. Shapes: B users, U users of the corpus, I items, D width."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import Scorer, best_items
from llm4rec.model.scorer import ModelScorer
from llm4rec.recommend.rerank import chances, charge, diversify, standardise
from llm4rec.schema import BoolVector, FloatMatrix, FloatVector, History, IntVector


@dataclass
class OfStates:
    """The model's scores of users whose states are known.

    Attributes:
        states: by user code, shape (U, D).
        items: vectors of the warm items, shape (I, D).
        temperature: scores are divided by it.
    """

    states: FloatMatrix
    items: FloatMatrix
    temperature: float
    name: str = ModelScorer.name

    @classmethod
    def of(cls, states: FloatMatrix, model: ModelScorer, evaluation_set: EvaluationSet) -> Self:
        """From the states of an evaluation set's users, shape (E, D)."""
        by_code = np.zeros((len(model.attributes), states.shape[1]), np.float32)
        by_code[evaluation_set.users] = states
        warm = model.item_vectors[: model.model.shape.num_warm_items].float().cpu().numpy()
        return cls(by_code, warm, model.model.config.temperature)

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Scores of the warm items, shape (B, I)."""
        return self.states[users] @ self.items.T / np.float32(self.temperature)


@dataclass
class Debiased:
    """A scorer whose slates pay for popularity, as those of a request with `debias` do.

    Attributes:
        scorer: scores are logits.
        price: of each item, shape (at least I,).
        weight: how much of it each user's slate pays, shape (U,).
        config: length of slates, and whether items seen compete.
    """

    scorer: Scorer
    price: FloatVector
    weight: FloatVector
    config: EvaluateConfig
    name: str = ModelScorer.name

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Scores of the warm items, handed out anew, shape (B, I)."""
        scores = self.scorer.score(users, histories)
        charged = scores.copy()
        for row, history, weight in zip(charged, histories, self.weight[users], strict=True):
            competing = _competing(row, history, self.config)
            chance = chances(np.where(competing, row, -np.inf)[None])[0]
            row[:] = charge(row, chance, np.float32(weight) * self.price[: len(row)], self.config.top_n, competing)
        return charged


@dataclass
class Varied:
    """A scorer whose slates vary, as those of a request with `diversity` do where no two scores are equal.

    Attributes:
        scorer: scores are logits.
        vectors: of each item, shape (at least I, D).
        diversity: weight of being unlike the items above.
        candidates: so many of the best items may change places; as many as a slate has always do.
        config: length of slates, and whether items seen compete.
    """

    scorer: Scorer
    vectors: FloatMatrix
    diversity: float
    candidates: int
    config: EvaluateConfig
    name: str = ModelScorer.name

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Scores of the warm items, handed out anew among the candidates, shape (B, I)."""
        scores = self.scorer.score(users, histories)
        for row, history in zip(scores, histories, strict=True):
            competing = _competing(row, history, self.config)
            best = best_items(np.where(competing, row, -np.inf), max(self.config.top_n, self.candidates))
            varied = diversify(standardise(row, competing)[best], self.vectors[best], self.diversity)
            row[best[np.argsort(-varied, kind="stable")]] = row[best]
        return scores


def _competing(scores: FloatVector, history: History, config: EvaluateConfig) -> BoolVector:
    """Which of the warm items may stand on a slate after a history, shape (I,)."""
    competing = np.ones(len(scores), np.bool_)
    if config.remove_seen:
        competing[history.item] = False
    return competing
