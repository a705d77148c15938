"""Items that nobody has interacted with: a tenth of ML-1M's items are taken out of training, and then recommended.

    python benchmarks/cold_items.py                # writes benchmarks/results/cold_items.json after every run
    python benchmarks/cold_items.py --budget 30    # starts no run after half an hour; the next call goes on

Each seed draws its own cold items. Of every user the last interaction with a cold item is the target. What came before,
without cold items, is the history; what came after is dropped, so that nobody's future is learned from. A model has the
content of the cold items (title, overview, genres, poster, year, running time, budget: what is known at release, no
votes, no revenue) and nothing else. The target is ranked among the cold items alone, and among all items, those of the
history left out. `llm4rec_debias` is the same model at debias 1: places on slates have prices, of which new items have
the lowest, fitted on warm items within the limit of `index.debias_loss`. What new items cost the others is shown by
the warm choices of the validation split, ranked among all items too, on which training stopped and prices were fitted.

The others: `random`; `genre_popularity`, over an item's genres the mean of how often the user's history has the genre
times how often its warm items are interacted with, ties in random order;
`text_neighbours`, the mean cosine of MiniLM's vector of the item's text and those of the last items of the history, how
many being chosen on validation. Validation never sees the cold items of the test: among the warm ones another tenth is
drawn and held out in the same way (`--tune` measures on that).
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from measure import store
from offline_runs import (
    Job,
    Measured,
    aligned,
    arguments,
    by_user,
    finished,
    measured_at,
    of_common_seeds,
    prepared,
    read_run,
    trained,
)

from llm4rec.debias.estimate import estimate
from llm4rec.evaluate.bootstrap import confidence_interval, holm, paired_p_value
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.metrics import hit_rate, ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import Scorer, rank
from llm4rec.model.scorer import ModelScorer
from llm4rec.recommend.prices import learn_prices
from llm4rec.recommend.scorers import Debiased
from llm4rec.schema import (
    CATEGORIES,
    TEXT,
    TRAIN,
    VALID,
    Corpus,
    Features,
    FloatMatrix,
    FloatVector,
    History,
    Interactions,
    IntVector,
    Modality,
)

DATA = "ml-1m-seq"
OURS, RANDOM, GENRES, NEIGHBOURS = "llm4rec", "random", "genre_popularity", "text_neighbours"
DEBIASED = "llm4rec_debias"
OWN = (OURS, DEBIASED)
MODELS = (*OWN, RANDOM, GENRES, NEIGHBOURS)
COLD_SHARE = 0.1
NUM_READ = (1, 2, 3, 5, 10, 20, 50, 1000)
"""How many of the last items the text neighbours may look at."""
SAMPLES = 10_000


@dataclass(frozen=True)
class ColdSplit:
    """A corpus whose last items are cold, and who interacted with them.

    Attributes:
        corpus: warm items first, then the cold ones, no others; each user's last interaction is VALID, the rest TRAIN.
        features: content of these items.
        users: shape (E,), users with a history and a target.
        targets: shape (E,), codes of cold items.
    """

    corpus: Corpus
    features: Features
    users: IntVector
    targets: IntVector

    @property
    def num_cold(self) -> int:
        """How many cold items there are."""
        return self.corpus.num_items - self.corpus.num_warm_items

    def rows(self) -> EvaluationSet:
        """What is ranked: all items, for every user."""
        histories = self.corpus.histories(TRAIN, VALID)
        chosen = [histories[user] for user in self.users]
        return EvaluationSet(self.users, chosen, self.targets, self.corpus.num_items, "")


def main() -> None:
    """Run what is chosen and not yet done, and store the figures of all that is."""
    options = arguments(__doc__, MODELS)
    config, run = prepared(DATA, options)
    jobs = [Job(name, seed, run, config, options.tune) for seed in options.seeds for name in options.models]
    done: dict[str, dict[int, Measured]] = {}
    for job, measured in finished(jobs, recommend_cold, options):
        done.setdefault(job.name, {})[job.seed] = measured
        if runs := of_common_seeds(done):
            report(runs, options)


def recommend_cold(job: Job) -> Measured:
    """Take a tenth of the items out, train on the rest, and rank them."""
    split = hold_out(*read_run(job.run), seed=job.seed)
    validation = hold_out(split.corpus, split.features, seed=1000 + job.seed)
    if job.tune:
        split = validation
    scorer = SCORERS[job.name](split, validation, job)
    return measure(scorer, split) | (warm_choices(scorer, split) if job.name in OWN else {})


def hold_out(corpus: Corpus, features: Features, *, seed: int) -> ColdSplit:
    """Make a tenth of the warm items cold; those that were cold already are left out."""
    drawn = np.random.default_rng(seed).permutation(corpus.num_warm_items)
    num_cold = round(COLD_SHARE * corpus.num_warm_items)
    order = np.concatenate([np.sort(drawn[num_cold:]), np.sort(drawn[:num_cold])])
    new_code = np.empty(len(order), np.int32)
    new_code[order] = np.arange(len(order), dtype=np.int32)
    log = replace(corpus.interactions, item=new_code[corpus.interactions.item])
    kept, users, targets = _before_the_last_cold(log, corpus.num_users, len(order) - num_cold)
    shown = {
        name: Modality(m.vectors[order], m.present[order], m.shape) for name, m in features.items() if m.present.any()
    }
    return ColdSplit(
        corpus=replace(
            corpus,
            interactions=_last_is_valid(log.where(kept)),
            items=corpus.items.take(pa.array(order)),
            num_warm_items=len(order) - num_cold,
        ),
        features=shown,
        users=users,
        targets=targets,
    )


def _before_the_last_cold(log: Interactions, num_users: int, num_warm: int) -> tuple[np.ndarray, IntVector, IntVector]:
    """Which interactions are kept, the users with a target and anything before it, and their targets."""
    is_cold, place = log.item >= num_warm, np.arange(len(log))
    last = np.full(num_users, -1)
    np.maximum.at(last, log.user[is_cold], place[is_cold])
    kept = ~is_cold & ((last[log.user] < 0) | (place < last[log.user]))
    has_history = np.bincount(log.user[kept], minlength=num_users) > 0
    users = np.flatnonzero((last >= 0) & has_history).astype(np.int32)
    return kept, users, log.item[last[users]]


def _last_is_valid(log: Interactions) -> Interactions:
    ends = np.append(log.user[1:] != log.user[:-1], True)
    longer = np.bincount(log.user)[log.user] > 1
    return replace(log, split=np.where(ends & longer, VALID, TRAIN).astype(np.int32))


def measure(scorer: Scorer, split: ColdSplit) -> Measured:
    """HR@10 and NDCG@10 of the targets among the cold items, and among all."""
    rows, num_warm = split.rows(), split.corpus.num_warm_items
    among_all = rank(scorer, rows, EvaluateConfig())
    cold_rows = replace(rows, targets=rows.targets - num_warm, num_items=split.num_cold)
    among_cold = rank(ColdColumns(scorer, num_warm), cold_rows, EvaluateConfig(remove_seen=False))
    figures: Measured = {"user": rows.users}
    for name, ranked in (("cold", among_cold), ("all", among_all)):
        figures[f"{name} hr@10"] = hit_rate(ranked.target_rank, 10)
        figures[f"{name} ndcg@10"] = ndcg(ranked.target_rank, 10)
    figures["cold share of slates@10"] = (among_all.items >= num_warm).mean(axis=1)
    return figures


def warm_choices(scorer: Scorer, split: ColdSplit) -> Measured:
    """NDCG@10 of the validation choices, which are warm, among all items."""
    rows = replace(EvaluationSet.build(split.corpus, VALID), num_items=split.corpus.num_items)
    return {"warm user": rows.users, "warm ndcg@10": ndcg(rank(scorer, rows, EvaluateConfig()).target_rank, 10)}


@dataclass
class ColdColumns:
    """The scores of cold items alone."""

    scorer: Scorer
    num_warm: int
    name: str = "cold items"

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Shape (users, cold items)."""
        return self.scorer.score(users, histories)[:, self.num_warm :]


@dataclass
class Ours:
    """The trained model; cold items stand where their content puts them."""

    model: ModelScorer
    name: str = OURS

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """h_u . e_i / tau."""
        tau = np.float32(self.model.model.config.temperature)
        return self.model.user_states(users, histories) @ self.model.item_vectors.cpu().numpy().T / tau


@dataclass
class GenrePopularity:
    """The mean, over an item's genres, of the genre's share in the user's history times its popularity."""

    genres: FloatMatrix
    """Shape (I, genres): an item's genres, each row sums to 1 or, without any, to 0."""
    popularity: FloatVector
    """By genre, the mean number of interactions of its warm items."""
    seed: int
    """Items of the same genres stand in random order: ties would count against the model."""
    name: str = GENRES

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Popularity in the genres that the user likes."""
        shares = np.stack([self.genres[history.item].mean(axis=0) for history in histories])
        scores = (shares * self.popularity) @ self.genres.T
        noise = np.random.default_rng((self.seed, *users[:1].tolist())).random(scores.shape, np.float32)
        return scores + np.float32(1e-4) * scores.max() * noise


@dataclass
class Random:
    """Other scores for every user."""

    num_items: int
    seed: int
    name: str = RANDOM

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Uniform numbers that seed and user decide."""
        draws = [np.random.default_rng((self.seed, user)).random(self.num_items, np.float32) for user in users.tolist()]
        return np.stack(draws)


@dataclass
class TextNeighbours:
    """Mean cosine of an item's text with those of the last items of the history."""

    vectors: FloatMatrix
    num_read: int
    name: str = NEIGHBOURS

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """Cosines; vectors have unit length."""
        profiles = np.stack([self.vectors[history.last(self.num_read).item].mean(axis=0) for history in histories])
        return profiles @ self.vectors.T


def ours(split: ColdSplit, _: ColdSplit, job: Job) -> Ours:
    """Train; the weights are kept for both rows of ours."""
    kept = replace(job, name="cold-items-valid" if job.tune else "cold-items")
    return Ours(trained(kept, split.corpus, split.features))


def debiased(split: ColdSplit, validation: ColdSplit, job: Job) -> Scorer:
    """Ours at the prices that warm items allow."""
    scorer = ours(split, validation, job)
    settings = job.config.debias.model_copy(update={"effect_on": "choice"})
    weight = estimate(split.corpus, split.features, settings, job.seed).user_weight
    prices = learn_prices(scorer.model, split.corpus, weight, job.config.index.debias_loss)
    return Debiased(scorer, prices.price, weight, EvaluateConfig(), DEBIASED)


def genre_popularity(split: ColdSplit, _: ColdSplit, job: Job) -> Scorer:
    """What is popular in the genres that a user likes."""
    own = [set(names or ()) for names in split.corpus.items[CATEGORIES].to_pylist()]
    names = sorted(set().union(*own))
    has = np.array([[name in genres for name in names] for genres in own], np.float32)
    counts = np.bincount(split.corpus.interactions.item, minlength=split.corpus.num_items)
    warm = slice(None, split.corpus.num_warm_items)
    popularity = counts[warm] @ has[warm] / np.maximum(has[warm].sum(axis=0), 1)
    shares = has / np.maximum(has.sum(axis=1, keepdims=True), 1)
    return GenrePopularity(shares, popularity.astype(np.float32), job.seed)


def text_neighbours(split: ColdSplit, validation: ColdSplit, job: Job) -> Scorer:
    """With the length of history that is best among the cold items of the validation."""
    found = {n: measure(TextNeighbours(validation.features[TEXT].vectors, n), validation) for n in NUM_READ}
    best = max(NUM_READ, key=lambda n: float(found[n]["cold ndcg@10"].mean()))
    return TextNeighbours(split.features[TEXT].vectors, best)


SCORERS: dict[str, Callable[[ColdSplit, ColdSplit, Job], Scorer]] = {
    OURS: ours,
    DEBIASED: debiased,
    RANDOM: lambda split, _, job: Random(split.corpus.num_items, job.seed),
    GENRES: genre_popularity,
    NEIGHBOURS: text_neighbours,
}


def report(done: dict[str, list[Measured]], options: argparse.Namespace) -> None:
    """Store the figures so far; a trial is only shown."""
    figures = {place: compare(done, place) for place in ("cold", "all")}
    hr10 = figures["cold"]["hr10"]
    others = [value for name, value in hr10.items() if name not in OWN]
    summary = {"llm4rec_hr10": hr10.get(OURS), "best_other_hr10": max(others, default=None)}
    slates = {name: by_user(runs, "cold share of slates@10") for name, runs in done.items()}
    warm = {name: np.mean([run["warm ndcg@10"].mean() for run in done[name]]) for name in OWN if name in done}
    details = {
        "seeds": {name: len(runs) for name, runs in done.items()},
        "measured_at": measured_at(run for runs in done.values() for run in runs),
        "among_cold": figures["cold"],
        "among_all": figures["all"],
        "warm_ndcg10_on_validation": {name: round(float(mean), 4) for name, mean in warm.items()},
        "cold_share_of_slates": {name: round(float(np.mean(list(v.values()))), 4) for name, v in slates.items()},
    }
    if options.trial:
        print({place: found["hr10"] | {"ndcg10": found["ndcg10"]} for place, found in figures.items()}, flush=True)
    else:
        seconds = sum(float(run["seconds"]) for runs in done.values() for run in runs)
        done_seeds = options.seeds[: len(done[OURS])] if OURS in done else []
        store("cold_items", summary | details, seconds, done_seeds)


def compare(done: dict[str, list[Measured]], place: str) -> dict[str, Any]:
    """Every model's figures with intervals, and ours against each other one.

    Among cold items, which all have one price, debias changes nothing.
    """
    found: dict[str, Any] = {}
    done = {name: runs for name, runs in done.items() if place == "all" or name != DEBIASED}
    for metric in ("hr@10", "ndcg@10"):
        values = aligned({name: by_user(runs, f"{place} {metric}") for name, runs in done.items()})
        short = metric.replace("@", "")
        bounds = partial(confidence_interval, samples=SAMPLES, seed=0)
        found[short] = {name: round(float(array.mean()), 4) for name, array in values.items()}
        found[f"{short}_ci95"] = {name: [round(b, 4) for b in bounds(array)] for name, array in values.items()}
        found[f"{short}_p_value_holm"] = holm(
            {
                f"{own} / {other}": paired_p_value(values[own], values[other], SAMPLES, 0)
                for own in OWN
                for other in values
                if own in values and other not in {own, OURS}
            }
        )
        found["users"] = len(next(iter(values.values())))
    return found


if __name__ == "__main__":
    main()
