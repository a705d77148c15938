"""What was learnt, on its way: to the disk and back, and from the learner to those who score.

Shapes: I items of the corpus, D width of item vectors, T items touched, U users with an adapter.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from safetensors.numpy import load, save

from llm4rec.errors import DataError
from llm4rec.online.feedback import LearnerState
from llm4rec.online.learner import Adapter, Learner
from llm4rec.schema import FloatMatrix, FloatVector, IntVector

PARTS = {"items", "shift", "step", "adapters", "adapter_steps", "gains", "told"}
"""Of a snapshot."""


@dataclass(frozen=True)
class Update:
    """What has changed of a learner's parameters.

    Attributes:
        epoch: changes whenever earlier updates no longer hold; this one then has everything.
        examples: how many the learner had learnt.
        sequence: number of the last feedback that it had read.
        items: codes of the items that moved, shape (T,).
        shift: of their vectors, shape (T, D).
        adapters: of users, by id, each of shape (D,).
    """

    epoch: str
    examples: int
    sequence: int
    items: IntVector
    shift: FloatMatrix
    adapters: dict[str, FloatVector]


def update_since(learner: Learner, epoch: str, examples: int, sequence: int) -> Update:
    """What a learner that has read feedback up to `sequence` has changed since it had learnt so many examples."""
    moved = np.flatnonzero(learner.changed > examples)
    users = [user_id for user_id, changed in learner.user_changed.items() if changed > examples]
    adapters = {user_id: learner.adapters[user_id].value for user_id in users}
    return Update(epoch, learner.examples, sequence, moved.astype(np.int32), learner.shift[moved], adapters)


@dataclass(frozen=True)
class Shift:
    """What several learners have moved, as scoring needs it; updates make a new one.

    Attributes:
        items: codes of the items that moved, shape (T,), sorted.
        shift: of their vectors, shape (T, D).
        adapters: of users, by id.
        by_shard: what each shard has moved in all.
    """

    items: IntVector
    shift: FloatMatrix
    adapters: dict[str, FloatVector]
    by_shard: dict[int, Update] = field(default_factory=dict)

    @classmethod
    def none(cls, width: int) -> Self:
        """Nothing moved."""
        return cls(np.empty(0, np.int32), np.empty((0, width), np.float32), {})

    def with_update(self, shard: int, update: Update, longest: float) -> "Shift":
        """After an update of one shard; what shards have moved adds up to `longest` at most."""
        before = self.by_shard.get(shard)
        if before is not None and before.epoch == update.epoch:
            update = _merged(before, update)
        by_shard = {**self.by_shard, shard: update}
        parts = by_shard.values()
        items = np.unique(np.concatenate([part.items for part in parts])).astype(np.int32)
        shift = np.zeros((len(items), self.shift.shape[1]), np.float32)
        for part in parts:
            shift[np.searchsorted(items, part.items)] += part.shift
        lengths = np.linalg.norm(shift, axis=1, keepdims=True)
        shift *= np.minimum(np.float32(1), np.float32(longest) / np.maximum(lengths, np.float32(1e-12)))
        adapters = {user_id: value for part in parts for user_id, value in part.adapters.items()}
        return Shift(items, shift, adapters, by_shard)

    def followed(self, shard: int) -> tuple[str, int]:
        """Epoch and number of examples of what is known of a shard, to ask for what is new."""
        update = self.by_shard.get(shard)
        return ("", 0) if update is None else (update.epoch, update.examples)

    def state(self, user_id: str | None, state: FloatVector) -> FloatVector:
        """h_u + a_u, shape (D,)."""
        adapter = None if user_id is None else self.adapters.get(user_id)
        return state if adapter is None else state + adapter

    def products(self, state: FloatVector, vectors: FloatMatrix) -> FloatVector:
        """<h, e_i + shift_i> of items with vectors (I or more, D), shape (I or more,)."""
        products = vectors @ state
        products[self.items] += self.shift @ state
        return products

    def products_of(self, codes: IntVector, state: FloatVector, vectors: FloatMatrix) -> FloatVector:
        """The same of some items alone; the others have -inf."""
        products = np.full(len(vectors), -np.inf, np.float32)
        products[codes] = vectors[codes] @ state
        products[self.items] += self.shift @ state
        return products


def _merged(before: Update, update: Update) -> Update:
    kept = ~np.isin(before.items, update.items)
    return Update(
        update.epoch,
        update.examples,
        update.sequence,
        np.concatenate([before.items[kept], update.items]),
        np.concatenate([before.shift[kept], update.shift]),
        before.adapters | update.adapters,
    )


def to_snapshot(learner: Learner, sequence: int, forgotten: int) -> LearnerState:
    """All that a learner knows, to go on from after feedback number `sequence`."""
    touched = np.flatnonzero(learner.changed)
    users = sorted(learner.adapters)
    width = learner.shift.shape[1]
    values = [learner.adapters[user_id].value for user_id in users]
    steps = [learner.adapters[user_id].step for user_id in users]
    told = {
        "users": users,
        "examples": learner.examples,
        "rollbacks": learner.rollbacks,
        "weights": learner.weights,
        "gain": learner.gain,
    }
    contents = save(
        {
            "items": touched,
            "shift": learner.shift[touched],
            "step": learner.step[touched],
            "adapters": np.array(values, np.float32).reshape(len(users), width),
            "adapter_steps": np.array(steps, np.float32).reshape(len(users), width),
            "gains": np.array(learner.gains, np.float64),
            "told": np.frombuffer(json.dumps(told).encode(), np.uint8),
        }
    )
    return LearnerState(sequence, forgotten, contents, hashlib.sha256(contents).hexdigest())


def restore(learner: Learner, snapshot: LearnerState) -> None:
    """Go on from a snapshot.

    Raises:
        DataError: it is damaged, or of other items.
    """
    if hashlib.sha256(snapshot.contents).hexdigest() != snapshot.sha256:
        raise DataError("the snapshot of what was learnt online is damaged: its checksum does not fit")
    parts = load(snapshot.contents)
    if missing := PARTS - parts.keys():
        raise DataError(f"the snapshot of what was learnt online is of another version: it has no {sorted(missing)[0]}")
    told = json.loads(parts["told"].tobytes())
    items = parts["items"]
    if parts["shift"].shape[1] != learner.shift.shape[1] or (len(items) and items.max() >= len(learner.shift)):
        raise DataError("the snapshot of what was learnt online is of other items")
    learner.start_again()
    learner.shift[items], learner.step[items] = parts["shift"], parts["step"]
    learner.moved[items] += parts["shift"]
    learner.examples, learner.rollbacks, learner.gain = told["examples"], told["rollbacks"], told["gain"]
    learner.weights = (told["weights"][0], told["weights"][1])
    learner.gains = parts["gains"].tolist()
    learner.changed[items] = learner.examples
    for user_id, value, step in zip(told["users"], parts["adapters"], parts["adapter_steps"], strict=True):
        learner.adapters[user_id] = Adapter(value, step)
        learner.user_changed[user_id] = learner.examples
