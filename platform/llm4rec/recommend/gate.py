"""The gate between the network and a linear item-item model. Shapes: B users, N choices, I warm items."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from safetensors.numpy import load, save
from scipy.optimize import minimize
from scipy.sparse import csr_matrix

from llm4rec.artifacts import Artifact, ArtifactWriter
from llm4rec.errors import ArtifactError
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import Scorer
from llm4rec.history_matrix import binary_matrix, newest_places
from llm4rec.linear import item_item_weights
from llm4rec.model.scorer import ModelScorer
from llm4rec.schema import TRAIN, VALID, BoolVector, Corpus, FloatMatrix, FloatVector, History, IntVector, LongVector

WEIGHTS, NUMBERS = "linear.safetensors", "gate.json"
REG = 300.0
MAX_ITEMS = 5_000
"""Of a larger catalogue the most popular so many go into the linear model: its closed form inverts a matrix of them."""
NUM_NEIGHBORS = 200
"""Weights kept of each item that is scored."""
DECAYS = (1.0, 0.95, 0.9, 0.8)
MAX_SCORES = 10_000_000
"""Choices times items that the gate is fitted on."""
ROWS = 256
"""Choices scored at once."""
MIN_USERS = 50
"""With fewer whose choices are known, the network is left as it is."""


@dataclass(frozen=True)
class Linear:
    """n_ui = the sum over items j of a history of decay^age(j) B_ji, age 0 the newest; a repeated item counts once.

    Of the items of the history itself it says nothing, n is 0: counting draws them up, whether or not users come back.

    Attributes:
        weights: B, shape (I, I), the largest of each column.
        decay: above 0, at most 1.
    """

    weights: csr_matrix
    decay: float

    @classmethod
    def of(cls, corpus: Corpus) -> Self:
        """The closed form on the train split, without decay."""
        matrix = binary_matrix(corpus.histories(TRAIN), corpus.num_warm_items)
        used = linear_items(corpus)
        among_used = _largest(item_item_weights(matrix[:, used], REG)).tocoo()
        shape = (corpus.num_warm_items, corpus.num_warm_items)
        return cls(csr_matrix((among_used.data, (used[among_used.row], used[among_used.col])), shape=shape), 1.0)

    def score(self, histories: Sequence[History]) -> FloatMatrix:
        """The n of every user and item, shape (B, I)."""
        scores = [self._of(history) for history in histories]
        return np.stack(scores) if scores else np.empty((0, self.size), np.float32)

    @property
    def size(self) -> int:
        """I."""
        return int(self.weights.shape[0])

    def _of(self, history: History) -> FloatVector:
        items, ages = newest_places(history)
        items, ages = items[items < self.size], ages[items < self.size]
        scores = (self.weights[items].T @ self.decay**ages).astype(np.float32)
        scores[items] = 0
        return scores


@dataclass(frozen=True)
class Gate:
    """logit_ui = scale <h_u, e_i> / tau + weight n_ui, both learnt from the choices of the validation split.

    A network of few users' data does not learn what goes with the last items as well as counting does, and one of much
    data still misses part of it; how much either should be heard is a matter of the log.

    Attributes:
        scale: of the network's logits, above 0.
        weight: of the linear model's, at least 0.
        linear: that model.
        gain: mean log likelihood of a choice, over users, that the gate adds on the choices it was fitted on, in nats.
    """

    scale: float
    weight: float
    linear: Linear
    gain: float

    @classmethod
    def shut(cls, num_items: int) -> Self:
        """The network alone."""
        return cls(1.0, 0.0, Linear(csr_matrix((num_items, num_items), dtype=np.float32), 1.0), 0.0)

    def __call__(self, logits: FloatMatrix, histories: Sequence[History]) -> FloatMatrix:
        """Logits of the warm items first and any number of others after them, shape (B, at least I)."""
        mixed = np.float32(self.scale) * logits
        if self.weight:
            mixed[:, : self.linear.weights.shape[0]] += np.float32(self.weight) * self.linear.score(histories)
        return mixed

    def of(self, corpus: Corpus) -> Self:
        """As loud as before, with the linear model of another corpus's train split; shut if it was."""
        if not self.weight:
            return self
        return replace(self, linear=replace(Linear.of(corpus), decay=self.linear.decay))

    def favourites(self, history: History) -> IntVector:
        """Codes of the items that the linear model knows to go with a history; none where it is not heard."""
        if not self.weight:
            return np.empty(0, np.int32)
        return np.flatnonzero(self.linear.score([history])[0]).astype(np.int32)

    def write(self, writer: ArtifactWriter) -> None:
        """Write two files of an artifact."""
        weights = self.linear.weights
        parts = {"data": weights.data, "indices": weights.indices, "indptr": weights.indptr}
        writer.write_bytes(WEIGHTS, save(parts))
        numbers = {name: getattr(self, name) for name in ("scale", "weight", "gain")}
        writer.write_json(NUMBERS, {**numbers, "decay": self.linear.decay})

    @classmethod
    def read(cls, artifact: Artifact, num_items: int) -> Self:
        """Read what `write` wrote.

        Raises:
            ArtifactError: an older version wrote the artifact, or it is of another catalogue.
        """
        if WEIGHTS not in artifact.manifest["files"]:
            raise ArtifactError(f"{artifact.path} was made by an older version; run {artifact.job} again")
        parts, numbers = load(artifact.read_bytes(WEIGHTS)), artifact.read_json(NUMBERS)
        if len(parts["indptr"]) != num_items + 1:
            raise ArtifactError(
                f"{artifact.path} has a linear model of {len(parts['indptr']) - 1} items for {num_items} warm items; "
                f"run {artifact.job} again"
            )
        weights = csr_matrix((parts["data"], parts["indices"], parts["indptr"]), shape=(num_items, num_items))
        linear = Linear(weights, numbers.pop("decay"))
        return cls(linear=linear, **numbers)


@dataclass
class Gated:
    """A scorer behind the gate."""

    scorer: Scorer
    gate: Gate
    name: str = ModelScorer.name

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Logits of the warm items, shape (B, I)."""
        return self.gate(self.scorer.score(users, histories), histories)


def linear_items(corpus: Corpus) -> IntVector:
    """Codes of the items of the linear model, the most popular of the train split, in order."""
    return np.sort(np.argsort(-corpus.train_popularity(), kind="stable")[:MAX_ITEMS]).astype(np.int32)


def learn_gate(scorer: Scorer, corpus: Corpus) -> Gate:
    """The gate under which the choices of the validation split are most likely, every user having one vote.

    Choices of items not seen before count, as what they are among all such items of the linear model (of a small
    catalogue, among all); they are evenly spread where there are too many. The likelihood is concave in scale and
    weight, and of several decays the most likely is kept.

    Args:
        scorer: scores are logits of the network alone, trained on the train split.
        corpus: with that split.

    Raises:
        DataError: nobody is in the validation split.
    """
    used = linear_items(corpus)
    new = _new_choices(EvaluationSet.successive(corpus, VALID), used)
    if len(np.unique(new.users)) < MIN_USERS:
        return Gate.shut(corpus.num_warm_items)
    rows = new.at_most(MAX_SCORES // len(used))
    voters, votes = np.unique(rows.users, return_counts=True)
    logits = np.empty((len(rows), len(used)), np.float32)
    competing = np.ones(logits.shape, np.bool_)
    parts = [slice(start, start + ROWS) for start in range(0, len(rows), ROWS)]
    for part in parts:
        logits[part] = scorer.score(rows.users[part], rows.histories[part])[:, used]
        for row, history in zip(competing[part], rows.histories[part], strict=True):
            row[np.isin(used, history.item)] = False
    share = (1 / (votes * len(voters)))[np.searchsorted(voters, rows.users)].astype(np.float32)
    likelihood = Likelihood(logits, np.searchsorted(used, rows.targets), competing, share)
    weights, found = Linear.of(corpus).weights, []
    for decay in DECAYS:
        linear = Linear(weights, decay)
        counted = np.concatenate([linear.score(rows.histories[part])[:, used] for part in parts])
        scale, weight, gain = likelihood.fit(counted)
        found.append(Gate(scale, weight, linear, gain))
    best = max(found, key=lambda gate: gate.gain)
    return best if best.weight else Gate.shut(corpus.num_warm_items)


def _new_choices(known: EvaluationSet, used: IntVector) -> EvaluationSet:
    """The rows whose targets are among some items and not in their history."""
    pairs = zip(known.histories, known.targets, strict=True)
    new = np.array([target not in history.item for history, target in pairs], np.bool_)
    return known.rows(np.flatnonzero(new & np.isin(known.targets, used)))


@dataclass(frozen=True)
class Likelihood:
    """The mean log likelihood of choices under a conditional logit (McFadden 1974) of two terms.

    Attributes:
        logits: of the network, shape (N, I).
        targets: what was chosen, shape (N,).
        competing: what it was chosen from, shape (N, I).
        share: how much each choice counts, shape (N,), 1 together.
    """

    logits: FloatMatrix
    targets: LongVector
    competing: BoolVector
    share: FloatVector

    def fit(self, linear: FloatMatrix) -> tuple[float, float, float]:
        """Scale, weight and gain in likelihood over the network alone, given n, shape (N, I)."""
        unit = float(linear.std()) or 1.0  # so that both terms are of one size for the optimiser
        found = minimize(
            lambda at: self._loss(at, linear, unit),
            [1.0, 0.0],
            jac=True,
            method="L-BFGS-B",
            bounds=[(1e-3, None), (0, None)],
        )
        alone, _ = self._loss(np.array([1.0, 0.0]), linear, unit)
        return float(found.x[0]), float(found.x[1]) / unit, float(alone - found.fun)

    def _loss(self, at: np.ndarray, linear: FloatMatrix, unit: float) -> tuple[float, np.ndarray]:
        """Negative mean log likelihood and its gradient: what the terms are expected to be less what they were."""
        loss, gradient, rows = 0.0, np.zeros(2), 1 + 2_000_000 // self.logits.shape[1]
        for start in range(0, len(self.targets), rows):
            part = slice(start, start + rows)
            terms = [self.logits[part], linear[part] / np.float32(unit)]
            mixed = np.where(self.competing[part], at[0] * terms[0] + at[1] * terms[1], -np.inf)
            mixed -= mixed.max(axis=1, keepdims=True)
            weights = np.exp(mixed)
            totals = weights.sum(axis=1)
            chosen = (np.arange(len(mixed)), self.targets[part])
            share = self.share[part]
            loss += float((share * (np.log(totals) - mixed[chosen])).sum())
            expected = [(weights * term).sum(axis=1) / totals for term in terms]
            gradient += [(share * (mean - term[chosen])).sum() for mean, term in zip(expected, terms, strict=True)]
        return loss, gradient


def _largest(weights: FloatMatrix) -> csr_matrix:
    """The weights of largest size in each column, the others 0."""
    surplus = len(weights) - NUM_NEIGHBORS
    if surplus > 0:
        small = np.argpartition(np.abs(weights), surplus, axis=0)[:surplus]
        weights = weights.copy()
        np.put_along_axis(weights, small, 0.0, axis=0)
    return csr_matrix(weights)
