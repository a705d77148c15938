"""What the debias stage has found, and its artifact; read by processes that estimate nothing."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.special import expit

from llm4rec.artifacts import Artifact, ArtifactWriter
from llm4rec.errors import ArtifactError
from llm4rec.schema import ITEM_ID, USER_ID, BoolVector, Corpus, FloatMatrix, FloatVector, IntVector

MAX_WEIGHT = 3.0
WEIGHTS, WEIGHT = "weights", "weight"
"""A table, and its column."""


@dataclass(frozen=True)
class OutcomeModel:
    """Log odds of a good outcome as inner products.

    Attributes:
        users: shape (U, K).
        items: shape (I, K).
        threshold: values above it are good.
        loss: log loss of held-out interactions, in nats.
    """

    users: FloatMatrix
    items: FloatMatrix
    threshold: float
    loss: float

    def is_good(self, value: FloatVector) -> BoolVector:
        """Which outcomes are good."""
        return value > self.threshold

    def predict(self, user: IntVector, item: IntVector) -> FloatVector:
        """P(good outcome) of pairs, shape (pairs,)."""
        return expit((self.users[user] * self.items[item]).sum(axis=1)).astype(np.float32)


@dataclass(frozen=True)
class Effects:
    """What training and scoring take from the debias stage.

    Attributes:
        propensity: shape (N,), P(observed) of every corpus interaction before clipping; NaN outside train.
        weight: shape (N,), training weight of each interaction; mean about 1 over train, 0 outside.
        user_effect: shape (U,), change by one unit of `popularity`, for each user, of what `summary["outcome"]` names:
            the value of an interaction, or the choice. All 0, which corrects nothing, where no effect could be
            estimated (`summary["popularity_effect"]` is then None) or the average is not above 0.
        popularity: shape (I,), standardised log train popularity, in the unit of the effects.
        summary: estimates with intervals, diagnostics and warnings, ready for JSON.
        outcome: the outcome model, where one was asked for and could be fitted.
    """

    propensity: FloatVector
    weight: FloatVector
    user_effect: FloatVector
    popularity: FloatVector
    summary: dict[str, Any]
    outcome: OutcomeModel | None = None

    @property
    def user_weight(self) -> FloatVector:
        """How strongly popularity moves each user, as a multiple of the mean, shape (U,), from 0 to MAX_WEIGHT."""
        moved = np.maximum(self.user_effect, 0)
        return np.minimum(moved / moved.mean(), MAX_WEIGHT) if moved.any() else moved


def write_effects(writer: ArtifactWriter, corpus: Corpus, effects: Effects) -> None:
    """Write tables `weights` (a row for each corpus interaction, in order), `users`, `items`, and effects.json."""
    user_ids, item_ids = pa.array(corpus.user_ids, pa.string()), pa.array(corpus.item_ids, pa.string())
    weights = {
        USER_ID: user_ids.take(pa.array(corpus.interactions.user)),
        ITEM_ID: item_ids.take(pa.array(corpus.interactions.item)),
        "propensity": pa.array(effects.propensity, from_pandas=True),
        WEIGHT: effects.weight,
    }
    writer.write_table(WEIGHTS, pa.table(weights))
    users = {USER_ID: user_ids, "popularity_effect": effects.user_effect}
    items = {ITEM_ID: item_ids, "popularity": effects.popularity}
    if effects.outcome is not None:
        users["outcome"], items["outcome"] = _vectors(effects.outcome.users), _vectors(effects.outcome.items)
    writer.write_table("users", pa.table(users))
    writer.write_table("items", pa.table(items))
    writer.write_json("effects.json", effects.summary)


def read_effects(artifact: Artifact) -> Effects:
    """Read what `write_effects` wrote, rows in corpus order.

    Raises:
        ArtifactError: an older version wrote it.
    """
    weights, users, items = (artifact.read_table(name) for name in (WEIGHTS, "users", "items"))
    summary = artifact.read_json("effects.json")
    if "outcome_model" not in summary:
        raise ArtifactError(f"{artifact.path} was made by an older version; run jobs/debias.py again")
    known = summary["outcome_model"]
    tables = (_matrix(users, "outcome"), _matrix(items, "outcome")) if known else None
    return Effects(
        propensity=_floats(weights, "propensity"),
        weight=_floats(weights, WEIGHT),
        user_effect=_floats(users, "popularity_effect"),
        popularity=_floats(items, "popularity"),
        summary=summary,
        outcome=OutcomeModel(*tables, known["threshold"], known["held_out_loss"]) if tables else None,
    )


def write_weights(writer: ArtifactWriter, weight: FloatVector) -> None:
    """Write the training weight of every corpus interaction, in order."""
    writer.write_table(WEIGHTS, pa.table({WEIGHT: weight}))


def read_weights(artifact: Artifact) -> FloatVector:
    """Read what `write_weights` wrote."""
    return _floats(artifact.read_table(WEIGHTS), WEIGHT)


def _floats(table: pa.Table, name: str) -> FloatVector:
    return np.asarray(table[name].to_numpy(zero_copy_only=False), np.float32)


def _vectors(matrix: FloatMatrix) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])


def _matrix(table: pa.Table, name: str) -> FloatMatrix:
    column = table[name].combine_chunks()
    return np.asarray(column.flatten().to_numpy(zero_copy_only=False), np.float32).reshape(len(table), -1)
