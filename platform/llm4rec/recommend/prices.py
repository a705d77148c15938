"""What an item's place on a slate costs: popular items pay, items that nobody is shown are paid.

Shapes: B rows, I items, n slate length.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from llm4rec.artifacts import Artifact, ArtifactWriter
from llm4rec.errors import ArtifactError
from llm4rec.evaluate.metrics import average_popularity, coverage, mean_by_user, ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import Scorer, remove_seen
from llm4rec.recommend.rerank import chances
from llm4rec.schema import TRAIN, VALID, Corpus, FloatMatrix, FloatVector, History, IntVector, evenly

POPULARITY_PRICES = (0.0, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08)
SHORTAGE_PRICES = (0.0, 0.05, 0.1, 0.15, 0.2)
ROUNDS = 4
COVERAGE_FOR_POPULARITY = 20 / 15
"""The relative gain of coverage that counts as much as a relative fall of the popularity shown by one: the aim is at
least 20 % of the one and 15 % of the other."""
HALF = 0.25
"""At this share of the mean exposure of items an item's bonus has halved."""
TOP_N = 10
TABLE = "prices"
MEASURED = ("ndcg@10", "coverage@10", "arp@10")
MAX_CHANCES = 20_000_000
"""Rows times items looked at, of the slates shown now and of the known choices each."""
MIN_USERS = 50
"""With fewer whose choices are known, no prices: what they cost could only be guessed. Even with thousands the loss is
an estimate: of 6,040 users with a choice each it is known to about .9 percentage points."""


@dataclass(frozen=True)
class Prices:
    """Prices in units of the chance that a user chooses an item next, and what they are estimated to do.

    Attributes:
        price: of each item, shape (I,); zeros where no price met the limit or the users were too few to tell.
        changes: relative change of `ndcg@10` of its choices, and of `coverage@10` and `arp@10` of the slates shown now.
    """

    price: FloatVector
    changes: dict[str, float]

    @classmethod
    def nothing(cls, num_items: int) -> "Prices":
        """Every place is free."""
        return cls(np.zeros(num_items, np.float32), dict.fromkeys(MEASURED, 0.0))

    def write(self, writer: ArtifactWriter) -> None:
        """Write two files of an artifact."""
        writer.write_table(TABLE, pa.table({"price": self.price}))
        writer.write_json(f"{TABLE}.json", self.changes)

    @classmethod
    def read(cls, artifact: Artifact, num_items: int) -> "Prices":
        """Read what `write` wrote.

        Raises:
            ArtifactError: an older version wrote the artifact, or it is of another catalogue.
        """
        if f"{TABLE}.parquet" not in artifact.manifest["files"]:
            raise ArtifactError(f"{artifact.path} was made by an older version; run {artifact.job} again")
        price = np.asarray(artifact.read_table(TABLE)["price"].to_numpy(zero_copy_only=False), np.float32)
        if len(price) != num_items:
            raise ArtifactError(
                f"{artifact.path} has {len(price)} prices for {num_items} items; run {artifact.job} again"
            )
        return cls(price, artifact.read_json(f"{TABLE}.json"))


@dataclass(frozen=True)
class Shown:
    """Whom slates are shown to.

    Attributes:
        chance: that each item is chosen next, shape (B, I); 0 for items seen, at least a slate of others a row.
        weight: w_u, how much of the prices the row's user pays, shape (B,).
    """

    chance: FloatMatrix
    weight: FloatVector

    def worth_most(self, price: FloatVector) -> IntVector:
        """The items of a slate, shape (B, n), in no order."""
        worth = np.where(self.chance > 0, self.chance - self.weight[:, None] * price, -np.inf)
        return np.argpartition(worth, -TOP_N, axis=1)[:, -TOP_N:].astype(np.int32)

    def slates(self, price: FloatVector) -> IntVector:
        """The same, best chance first."""
        found = self.worth_most(price)
        order = np.argsort(-np.take_along_axis(self.chance, found, axis=1), axis=1, kind="stable")
        return np.take_along_axis(found, order, axis=1)


@dataclass(frozen=True)
class Chosen:
    """What was chosen from whom it was shown to.

    Attributes:
        shown: before each choice.
        targets: what was chosen, shape (B,).
        users: by whom, shape (B,).
    """

    shown: Shown
    targets: IntVector
    users: IntVector

    def accuracy(self, price: FloatVector) -> float:
        """NDCG@10, the mean over users of each one's mean."""
        slates = self.shown.slates(price)
        place = np.where(slates == self.targets[:, None], np.arange(TOP_N), TOP_N).min(axis=1)
        return float(mean_by_user(self.users, ndcg(place, TOP_N)).mean())


def learn_prices(scorer: Scorer, corpus: Corpus, weight: FloatVector, max_loss: float) -> Prices:
    """Prices for the slates that users would see now, at a loss that the validation split tells; cold items are lowest.

    Users, and interactions of the validation split, are evenly spread where there are too many.

    Args:
        scorer: scores are logits: softmax gives the chance of a choice.
        corpus: its train split says what is popular.
        weight: w_u of every user, shape (U,).
        max_loss: see `fit_prices`.

    Raises:
        DataError: nobody is in the validation split.
    """
    most = MAX_CHANCES // corpus.num_warm_items
    histories = corpus.histories(TRAIN, VALID)
    num_seen = np.array([len(np.unique(history.item)) for history in histories])
    users = np.flatnonzero((num_seen > 0) & (num_seen <= corpus.num_warm_items - TOP_N)).astype(np.int32)
    users = users[evenly(len(users), most)]
    known = EvaluationSet.successive(corpus, VALID)
    rows = evenly(len(known), most)
    past, targets = [known.histories[row] for row in rows], known.targets[rows]
    choices = Chosen(_shown(scorer, known.users[rows], past, weight, targets), targets, known.users[rows])
    now = _shown(scorer, users, [histories[user] for user in users], weight)
    found = fit_prices(now, choices, corpus.train_popularity(), max_loss)
    cold = np.full(corpus.num_items - corpus.num_warm_items, found.price.min(initial=0), np.float32)
    return replace(found, price=np.concatenate([found.price, cold]))


def _shown(
    scorer: Scorer,
    users: IntVector,
    histories: Sequence[History],
    weight: FloatVector,
    targets: IntVector | None = None,
) -> Shown:
    scores = scorer.score(users, histories)
    remove_seen(scores, histories, targets)
    return Shown(chances(scores), weight[users])


def fit_prices(now: Shown, choices: Chosen, popularity: IntVector, max_loss: float) -> Prices:
    """The prices that change what is shown most at no more than a given loss of accuracy.

    A slate that shows the items of highest chance_ui - w_u price_i maximises, for

        price_i = a (popularity_i - mean) / deviation - b / (1 + 4 E_i / mean E),    E_i = sum of w_u over its slates,

    the expected choices minus a times the popularity shown, plus b times a concave reward of every item's exposure,
    each place counted w_u times. Its second term falls with E, so prices and slates are computed in turn, E averaged
    over rounds. Of a grid of a and b, in units of the mean chance of the last item of a slate, those are taken that
    lose at most `max_loss` of NDCG@10, and of these the pair that does most for both: whose smaller one of the relative
    fall of the mean popularity shown and 3/4 of the relative gain of coverage (while anything is left to be shown) is
    largest.

    Args:
        now: whose slates the exposure, coverage and popularity are of.
        choices: what the accuracy is of.
        popularity: train interactions of each item, shape (I,).
        max_loss: largest relative loss of NDCG@10.
    """
    deviation = float(popularity.std())
    standard = ((popularity - popularity.mean()) / (deviation if deviation > 0 else 1.0)).astype(np.float32)
    num_items = len(popularity)
    best, best_gain = Prices.nothing(num_items), 0.0
    if len(np.unique(choices.users)) < MIN_USERS or num_items <= TOP_N or not now.weight.any():
        return best
    before = _measure(now, choices, best.price, popularity)
    if not before["ndcg@10"]:
        return best
    unit = float(np.partition(now.chance, -TOP_N, axis=1)[:, -TOP_N].mean())
    for popular in POPULARITY_PRICES:
        for shortage in SHORTAGE_PRICES:
            price = _settle(now, unit * popular * standard, unit * shortage)
            after = _measure(now, choices, price, popularity)
            changes = {name: after[name] / before[name] - 1 for name in before}
            gain = -changes["arp@10"]
            if before["coverage@10"] < 1:
                gain = min(gain, changes["coverage@10"] / COVERAGE_FOR_POPULARITY)
            if changes["ndcg@10"] >= -max_loss and gain > best_gain:
                best, best_gain = Prices(price, changes), gain
    return best


def _settle(now: Shown, paid: FloatVector, reward: float) -> FloatVector:
    """Prices that agree with the slates that they lead to."""
    price, shown = paid, np.zeros(len(paid), np.float32)
    half = HALF * TOP_N * float(now.weight.sum()) / len(paid)
    for round_ in range(1, ROUNDS + 1 if reward else 1):
        exposure = np.bincount(now.worth_most(price).ravel(), np.repeat(now.weight, TOP_N), len(paid))
        shown += (exposure - shown) / round_
        price = (paid - reward / (1 + shown / half)).astype(np.float32)
    return price


def _measure(now: Shown, choices: Chosen, price: FloatVector, popularity: IntVector) -> dict[str, float]:
    slates = now.slates(price)
    return {
        "ndcg@10": choices.accuracy(price),
        "coverage@10": coverage(slates, len(popularity)),
        "arp@10": float(average_popularity(slates, popularity).mean()),
    }
