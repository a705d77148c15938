"""Scoring users with a trained recommender, in batches. Shapes: B users, I items, D width."""

from collections.abc import Sequence

import numpy as np
import torch

from llm4rec.model.inputs import IntMatrix
from llm4rec.model.recommender import Recommender
from llm4rec.model.repair import Repair
from llm4rec.schema import FloatMatrix, History, IntVector


class ModelScorer:
    """A recommender frozen for scoring: item vectors are computed once.

    Attributes:
        repair: what takes the trace of attributes out of states; None, as after construction, leaves them as they are.
        repaired: the places of those attributes.
    """

    name = "llm4rec"

    def __init__(self, model: Recommender, attributes: IntMatrix, batch_size: int = 64) -> None:
        """Freeze.

        Args:
            model: the trained network; it is put into evaluation mode.
            attributes: attribute codes by user, shape (U, A).
            batch_size: users scored at once.
        """
        self.model = model.eval()
        self.attributes = attributes
        self.batch_size = batch_size
        self.repair: Repair | None = None
        self.repaired: list[int] = []
        with torch.no_grad():
            self.item_vectors = model.item_vectors()

    @property
    def no_states(self) -> FloatMatrix:
        """The h_u of nobody, shape (0, D)."""
        return np.empty((0, self.model.config.embedding_size), np.float32)

    def user_states(self, users: IntVector, histories: Sequence[History], *, repaired: bool = True) -> FloatMatrix:
        """h_u of each user after the whole history, shape (B, D); of unit length where no repair has moved it."""
        return self.states(histories, self.attributes[users], repaired=repaired)

    def states(self, histories: Sequence[History], attributes: IntMatrix, *, repaired: bool = True) -> FloatMatrix:
        """h_u by histories and attribute codes (B, A), shape (B, D)."""
        order = np.argsort([len(history) for history in histories], kind="stable")  # alike lengths waste no padding
        result = np.zeros((len(histories), self.model.config.embedding_size), np.float32)
        for start in range(0, len(order), self.batch_size):
            rows = order[start : start + self.batch_size]
            batch = self.model.shape.history.encode([histories[row] for row in rows])
            with torch.no_grad():
                states = self.model.user_states(self.item_vectors, batch, attributes[rows])
            last = torch.from_numpy((batch.item >= 0).sum(axis=1))
            result[rows] = states[torch.arange(len(rows)), last].float().cpu().numpy()
        return self.repaired_states(result, attributes) if repaired else result

    def repaired_states(self, states: FloatMatrix, attributes: IntMatrix) -> FloatMatrix:
        """States (B, D) of users with attribute codes (B, A) after the repair, if there is one."""
        return states if self.repair is None else self.repair(states, attributes[:, self.repaired])

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Scores of the warm items, shape (B, I_warm)."""
        warm = self.item_vectors[: self.model.shape.num_warm_items].float().cpu().numpy()
        return self.user_states(users, histories) @ warm.T / np.float32(self.model.config.temperature)
