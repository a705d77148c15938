"""Learning from feedback as it comes: momentum SGD on the item vectors it touches and on an adapter of its user.

Shapes: I items of the corpus, D width of item vectors.
"""

from dataclasses import dataclass

import numpy as np

from llm4rec.online.config import LearnerConfig
from llm4rec.online.example import Example
from llm4rec.schema import FloatMatrix, FloatVector, LongVector

TOP_N = 10
CONFIDENCE = 2.0
"""Standard errors by which learning must do worse than not learning before it is undone."""


@dataclass(frozen=True)
class Frozen:
    """The model that learning starts from and is bounded by.

    Attributes:
        vectors: e_i of the corpus's items, of length 1, shape (I, D).
        sharpness: logits are sharpness times <h_u, e_i>: the gate's scale over the temperature.
    """

    vectors: FloatMatrix
    sharpness: float


@dataclass
class Adapter:
    """What is added to a user's states, and its momentum, both of shape (D,)."""

    value: FloatVector
    step: FloatVector


class Learner:
    """What feedback has moved since the model was trained.

    For an event of user u on item i with state h = h_u + a_u, and p the softmax of all items the user did not have,
    the loss of a wanted item is -log p_i, that of an unwanted one -log(1 - p_i). Its gradient, without the factor of
    sharpness, which the rates hold, moves the row of i and those of the most likely other items, and a_u:

        v = momentum v + rate w gradient,    theta = theta - v,

    with w = min(1 / propensity, max_weight) over its mean so far, times the surprise, loss / (surprise log I), at most
    1. Logits here are the network's; the linear model that serving adds (`recommend.gate`) is left out, in `gain` too.
    Rows stay within `max_shift` of where training put them, adapters within `max_adapter` of zero. The same
    examples in the same order give the same parameters, to the last bit on one kind of machine.

    Attributes:
        shift: of item vectors, shape (I, D).
        moved: item vectors as they are now, shape (I, D).
        step: momentum of item vectors, shape (I, D).
        adapters: by user id.
        changed: the newest example number that touched an item, shape (I,), 0 for none.
        user_changed: the same by user id.
        examples: how many were learnt.
        rollbacks: how often drift has undone all.
        gain: progressive NDCG@10 less that of the frozen model, mean of the last full window; 0 before.
    """

    def __init__(self, frozen: Frozen, config: LearnerConfig) -> None:
        self._frozen = frozen
        self._config = config
        self.shift = np.zeros_like(frozen.vectors)
        self.step = np.zeros_like(frozen.vectors)
        self.moved = frozen.vectors.copy()
        self.adapters: dict[str, Adapter] = {}
        self.changed = np.zeros(len(frozen.vectors), np.int64)
        self.user_changed: dict[str, int] = {}
        self.examples = 0
        self.rollbacks = 0
        self.weights = (0, 0.0)  # events shown with a propensity, and the sum of their weights
        self.gains: list[float] = []  # of the window so far
        self.gain = 0.0

    def learn(self, example: Example) -> float | None:
        """Take one step.

        Returns:
            by how much NDCG@10 of the item was better than without learning, before this step; None of unwanted items.
        """
        adapter = self.adapters.get(example.user_id)
        state = example.state if adapter is None else example.state + adapter.value
        logits = self._logits(self.moved, state, example)
        gain = self._gain(logits, example) if example.wanted else None
        logits -= logits.max()
        chance = np.exp(logits)
        chance /= chance.sum()
        self.examples += 1
        self._step(example, state, chance)
        if gain is not None:
            self.gains.append(gain)
            self._watch()
        return gain

    def _logits(self, vectors: FloatMatrix, state: FloatVector, example: Example) -> FloatVector:
        logits = np.float32(self._frozen.sharpness) * (vectors @ state)
        logits[example.known] = -np.inf
        return logits

    def _gain(self, logits: FloatVector, example: Example) -> float:
        before = self._logits(self._frozen.vectors, example.state, example)
        return _ndcg(logits, example.item) - _ndcg(before, example.item)

    def _step(self, example: Example, state: FloatVector, chance: FloatVector) -> None:
        item, config = example.item, self._config
        gradient = chance.copy()  # of the loss by the logits
        gradient[item] -= 1
        if not example.wanted:  # of -log(1 - p_i): -p_i / (1 - p_i) times that of -log p_i
            gradient *= -chance[item] / max(1 - chance[item], np.float32(1e-3))
        weight = np.float32(self._weight(example, float(chance[item])))
        self._move_user(example.user_id, weight * (gradient @ self.moved))
        likely = np.argpartition(-chance, min(config.num_negatives, len(chance) - 1))[: config.num_negatives]
        self._move_items(np.union1d(likely, item), weight * gradient, state)

    def _move_items(self, rows: LongVector, gradient: FloatVector, state: FloatVector) -> None:
        config = self._config
        self.step[rows] *= np.float32(config.momentum)
        self.step[rows] += np.float32(config.item_rate) * gradient[rows, None] * state
        self.shift[rows] = _bounded(self.shift[rows] - self.step[rows], config.max_shift)
        self.moved[rows] = self._frozen.vectors[rows] + self.shift[rows]
        self.changed[rows] = self.examples

    def _move_user(self, user_id: str, gradient: FloatVector) -> None:
        config = self._config
        if not config.user_rate:
            return
        zero = np.zeros_like(gradient)
        before = self.adapters.get(user_id, Adapter(zero, zero))
        step = np.float32(config.momentum) * before.step + np.float32(config.user_rate) * gradient
        value = _bounded((np.float32(config.user_decay) * before.value - step)[None], config.max_adapter)[0]
        self.adapters[user_id] = Adapter(value, step)
        self.user_changed[user_id] = self.examples

    def _weight(self, example: Example, chance: float) -> float:
        seen = chance if example.wanted else 1 - chance  # of what happened
        surprise = -np.log(max(seen, 1e-9)) / (self._config.surprise * np.log(len(self.shift)))
        if example.propensity is None:
            return float(min(surprise, 1.0))
        inverse = min(1 / max(example.propensity, 1e-9), self._config.max_weight)
        count, total = self.weights = (self.weights[0] + 1, self.weights[1] + inverse)
        return float(min(surprise, 1.0) * inverse * count / total)

    def _watch(self) -> None:
        """After each window of events: start from zero where they were foreseen worse than without learning."""
        if len(self.gains) < self._config.drift_window:
            return
        gains = np.array(self.gains)
        self.gain = float(gains.mean())
        self.gains.clear()
        if self.gain + CONFIDENCE * gains.std() / np.sqrt(len(gains)) < 0:
            self.start_again()
            self.rollbacks += 1

    def forget(self, user_id: str) -> None:
        """Drop a user's adapter; items keep what the user taught."""
        self.adapters.pop(user_id, None)
        self.user_changed.pop(user_id, None)

    def start_again(self) -> None:
        """Back to the frozen model."""
        for array in (self.shift, self.step, self.changed):
            array[:] = 0
        self.moved[:] = self._frozen.vectors
        self.adapters.clear()
        self.user_changed.clear()


def _ndcg(logits: FloatVector, item: int) -> float:
    """1 / log2(rank + 2) among the first ten, rank from 0, the item last among equals."""
    rank = int((logits >= logits[item]).sum()) - 1
    return float(1 / np.log2(rank + 2)) if rank < TOP_N else 0.0


def _bounded(rows: FloatMatrix, longest: float) -> FloatMatrix:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows * np.minimum(np.float32(1), np.float32(longest) / np.maximum(lengths, np.float32(1e-12)))
