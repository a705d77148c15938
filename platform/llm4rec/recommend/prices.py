"""What an item's place on a slate costs: popular items pay, items that nobody is shown are paid.

Shapes: B users, I items, n slate length.
"""

from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from llm4rec.artifacts import Artifact, ArtifactWriter
from llm4rec.errors import ArtifactError
from llm4rec.evaluate.metrics import average_popularity, coverage, ndcg
from llm4rec.evaluate.protocol import EvaluationSet, evenly
from llm4rec.evaluate.ranking import Scorer, remove_seen
from llm4rec.evaluate.result import train_popularity
from llm4rec.recommend.rerank import chances
from llm4rec.schema import VALID, Corpus, FloatMatrix, FloatVector, IntVector

POPULARITY_PRICES = (0.0, 0.03, 0.05, 0.06, 0.07)
SHORTAGE_PRICES = (0.0, 0.05, 0.1, 0.15)
ROUNDS = 4
HALF = 0.25
"""At this share of the mean exposure of items an item's bonus has halved."""
TOP_N = 10
TABLE = "prices"
MEASURED = ("ndcg@10", "coverage@10", "arp@10")
MAX_CHANCES = 20_000_000
"""Users times items looked at."""
MIN_USERS = 100
"""With fewer, no prices: a loss of accuracy of a hundredth could not be seen."""


@dataclass(frozen=True)
class Prices:
    """Prices in units of the chance that a user chooses an item next, and what they did on the validation split.

    Attributes:
        price: of each item, shape (I,); zeros where no price met the limit or the users were too few to tell.
        changes: relative change of `ndcg@10`, `coverage@10` and `arp@10`.
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
            raise ArtifactError(f"{artifact.path} was made by an older version; run jobs/index.py again")
        price = np.asarray(artifact.read_table(TABLE)["price"].to_numpy(zero_copy_only=False), np.float32)
        if len(price) != num_items:
            raise ArtifactError(
                f"{artifact.path} has {len(price)} prices for {num_items} items; run jobs/index.py again"
            )
        return cls(price, artifact.read_json(f"{TABLE}.json"))


def learn_prices(scorer: Scorer, corpus: Corpus, weight: FloatVector, max_loss: float) -> Prices:
    """Prices by the users of the validation split, evenly spread if they are many; cold items have the lowest.

    Args:
        scorer: scores are logits: softmax gives the chance of a choice.
        corpus: its train split says what is popular.
        weight: w_u of every user, shape (U,).
        max_loss: see `fit_prices`.

    Raises:
        DataError: nobody is in the validation split.
    """
    known = EvaluationSet.build(corpus, VALID)
    rows = evenly(len(known), MAX_CHANCES // known.num_items)
    users, targets, histories = known.users[rows], known.targets[rows], [known.histories[row] for row in rows]
    scores = scorer.score(users, histories)
    remove_seen(scores, histories, targets)
    found = fit_prices(chances(scores), targets, weight[users], train_popularity(corpus), max_loss)
    cold = np.full(corpus.num_items - corpus.num_warm_items, found.price.min(initial=0), np.float32)
    return replace(found, price=np.concatenate([found.price, cold]))


def fit_prices(
    chance: FloatMatrix, targets: IntVector, weight: FloatVector, popularity: IntVector, max_loss: float
) -> Prices:
    """The prices that change exposure most at no more than a given loss of accuracy on these users.

    A slate that shows the items of highest chance_ui - w_u price_i maximises, for

        price_i = a (popularity_i - mean) / deviation - b / (1 + 4 E_i / mean E),    E_i = sum of w_u over its slates,

    the expected choices minus a times the popularity shown, plus b times a concave reward of every item's exposure,
    each place counted w_u times. Its second term falls with E, so prices and slates are computed in turn, E averaged
    over rounds. Of a grid of a and b, in units of the mean chance of the last item of a slate, those are taken that
    lose at most `max_loss` of NDCG@10, and of these the pair that does most for both: whose smaller one of the relative
    gain of coverage (while anything is left to be shown) and the relative fall of the mean popularity shown is largest.

    Args:
        chance: of the items of each validation user, shape (B, I); 0 for items seen.
        targets: what each chose next, shape (B,).
        weight: w_u, shape (B,).
        popularity: train interactions of each item, shape (I,).
        max_loss: largest relative loss of NDCG@10.
    """
    deviation = float(popularity.std())
    standard = ((popularity - popularity.mean()) / (deviation if deviation > 0 else 1.0)).astype(np.float32)
    best, best_gain = Prices.nothing(chance.shape[1]), 0.0
    if len(chance) < MIN_USERS or chance.shape[1] <= TOP_N or not weight.any():
        return best
    before = _measure(chance, chance, targets, popularity)
    if not before["ndcg@10"]:
        return best
    unit = float(np.partition(chance, -TOP_N, axis=1)[:, -TOP_N].mean())
    half = HALF * TOP_N * float(weight.sum()) / chance.shape[1]
    for popular in POPULARITY_PRICES:
        for shortage in SHORTAGE_PRICES:
            paid, reward = unit * popular * standard, unit * shortage
            price = _settle(chance, weight, paid, reward, half)
            after = _measure(chance, chance - weight[:, None] * price, targets, popularity)
            changes = {name: after[name] / before[name] - 1 for name in before}
            gain = -changes["arp@10"]
            if before["coverage@10"] < 1:
                gain = min(gain, changes["coverage@10"])
            if changes["ndcg@10"] >= -max_loss and gain > best_gain:
                best, best_gain = Prices(price, changes), gain
    return best


def _settle(chance: FloatMatrix, weight: FloatVector, paid: FloatVector, reward: float, half: float) -> FloatVector:
    """Prices that agree with the slates that they lead to."""
    price, shown = paid, np.zeros(len(paid), np.float32)
    for round_ in range(1, ROUNDS + 1 if reward else 1):
        slates = _best(chance - weight[:, None] * price)
        exposure = np.bincount(slates.ravel(), np.repeat(weight, TOP_N), len(paid))
        shown += (exposure - shown) / round_
        price = (paid - reward / (1 + shown / half)).astype(np.float32)
    return price


def _best(values: FloatMatrix) -> IntVector:
    return np.argpartition(-values, TOP_N, axis=1)[:, :TOP_N].astype(np.int32)


def _measure(chance: FloatMatrix, values: FloatMatrix, targets: IntVector, popularity: IntVector) -> dict[str, float]:
    """Of slates that hold the items of highest value, in the order of their chances."""
    slates = _best(np.where(chance > 0, values, -np.inf))
    order = np.argsort(-np.take_along_axis(chance, slates, axis=1), axis=1, kind="stable")
    slates = np.take_along_axis(slates, order, axis=1)
    place = np.where(slates == targets[:, None], np.arange(TOP_N), TOP_N).min(axis=1)
    return {
        "ndcg@10": float(ndcg(place, TOP_N).mean()),
        "coverage@10": coverage(slates, chance.shape[1]),
        "arp@10": float(average_popularity(slates, popularity).mean()),
    }
