"""Debiasing where the answer is known: trained on coats that people chose, tested on coats drawn for them at random.

    python benchmarks/coat.py --data FOLDER           # writes benchmarks/results/coat.json
    python benchmarks/coat.py --data FOLDER --tune    # validation figures of the settings searched; writes nothing

FOLDER is the unpacked Coat data set (Schnabel et al. 2016). A tenth of the self-selected ratings is held out for
choosing settings and epochs, then each model is trained on all of them; the random ratings serve for the figures of the
table and for nothing else, and propensities are estimated from the log alone. Protocol of the published tables: ratings
of 3 and more are good; AUC over all test pairs; NDCG@5 over the test coats of each user, 1 for a user without a good
one. Matrix factorisation carries the estimators as they are published; `outcome_model` is the imputation model of our
debias stage, `llm4rec` our recommender with that stage's weights and imputed outcomes. Means over seeds, with standard
deviations.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from measure import HOME, store
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn import functional as F

from llm4rec.artifacts import MANIFEST, RunStore
from llm4rec.cluster.run_config import RunConfig, load_run
from llm4rec.cluster.worker import known_outcomes
from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.covariates import build_covariates
from llm4rec.debias.estimate import estimate
from llm4rec.debias.propensity import fit_propensities
from llm4rec.debias.weights import clip, clip_threshold, training_weights
from llm4rec.encode.stage import FeatureEncoder
from llm4rec.model.config import OutcomeLoss
from llm4rec.model.loss import outcome_loss
from llm4rec.model.recommender import Recommender, Shape
from llm4rec.preprocess.single_process import write_preprocessed
from llm4rec.schema import TRAIN, VALID, Corpus, Features, History, read_features
from llm4rec.train.loop import TorchEngine, train_epoch
from llm4rec.train.windows import Windows, build_windows

PUBLISHED = {  # AUC and NDCG@5 of Ha et al. 2024, table 2, ten runs of matrix factorisation
    "naive": (0.7429, 0.6173),
    "ips": (0.7539, 0.6496),
    "snips": (0.7423, 0.6110),
    "dr": (0.7538, 0.6425),
    "dr_jl": (0.7574, 0.6496),
    "dynamic_ips": (0.7777, 0.6584),
    "dynamic_dr": (0.7804, 0.6671),
}
PROPENSITY = {"components": 32, "min_group_users": 1, "clip_quantile": 0.05}
"""Settings of the debias stage for the weights of matrix factorisation."""
HELD_OUT = 0.1
TOP = 5
ORDERS = 8
"""In how many orders our recommender reads each history in an epoch: the log has no times."""

Matrix = np.ndarray
Scores = dict[str, float]


@dataclass(frozen=True)
class Coat:
    """The data, as a corpus of the self-selected log and a matrix of the random one.

    Attributes:
        corpus: split into TRAIN and VALID at random by seed.
        features: of the items.
        random: ratings of the random log by codes, 0 where there is none, shape (users, items).
        good_above: ratings above it are good.
    """

    corpus: Corpus
    features: Features
    random: Matrix
    good_above: float

    def whole(self) -> "Coat":
        """The same with all self-selected ratings in TRAIN."""
        log = self.corpus.interactions
        return replace(
            self, corpus=replace(self.corpus, interactions=replace(log, split=np.full_like(log.split, TRAIN)))
        )

    def held_out_auc(self, scores: Matrix) -> float:
        """AUC of scores of all pairs on held-out chosen coats."""
        valid = self.corpus.part(VALID)
        return float(roc_auc_score(valid.value > self.good_above, scores[valid.user, valid.item]))

    def evaluate(self, scores: Matrix) -> Scores:
        """Figures of scores of all pairs on the random coats."""
        user, item = np.nonzero(self.random)
        good = self.random[user, item] > self.good_above
        return {"auc": float(roc_auc_score(good, scores[user, item])), "ndcg5": ndcg(user, good, scores[user, item])}


def ndcg(user: Matrix, good: Matrix, score: Matrix) -> float:
    """Mean over users of NDCG@5 among each user's own test items; 1 for users without a good one."""
    discount = 1 / np.log2(np.arange(2, TOP + 2))
    found = []
    for member in np.unique(user):
        own, best = good[user == member], np.sort(good[user == member])[::-1][:TOP]
        order = np.argsort(-score[user == member], kind="stable")[:TOP]
        ideal = (best * discount).sum()
        found.append((own[order] * discount).sum() / ideal if ideal else 1.0)
    return float(np.mean(found))


def write_tables(source: Path, target: Path) -> None:
    """The published files as tables with names."""
    target.mkdir(parents=True, exist_ok=True)
    folder = source / "user_item_features"
    users = named(folder / "user_features.ascii", folder / "user_features_map.txt")
    users["fashion"] = users.pop("fashioninterest")
    items = named(folder / "item_features.ascii", folder / "item_features_map.txt")
    ratings = np.loadtxt(source / "train.ascii", dtype=int)
    user, item = np.nonzero(ratings)
    log = {"user_id": user, "item_id": item, "value": ratings[user, item]}
    pd.DataFrame(log).to_csv(target / "log.csv", index=False)
    pd.DataFrame({"user_id": np.arange(len(ratings)), **users}).to_csv(target / "users.csv", index=False)
    titles = [f"{color} {kind}, {gender}" for color, kind, gender in zip(*(items[n] for n in KIND), strict=True)]
    categories = ["|".join(f"{name} {items[name][row]}" for name in items) for row in range(len(titles))]
    table = {"item_id": np.arange(len(titles)), "title": titles, "categories": categories}
    pd.DataFrame(table).to_csv(target / "items.csv", index=False)


KIND = ("color", "jackettype", "gender")


def named(values: Path, names: Path) -> dict[str, list[str]]:
    """Columns of 0 and 1 as attributes with levels, by the names `attribute:level`."""
    matrix = np.loadtxt(values, dtype=int)
    found: dict[str, list[str]] = {}
    levels = [line.split(":") for line in names.read_text(encoding="utf-8").split("\n") if line.strip()]
    for attribute in dict.fromkeys(name for name, _ in levels):
        columns = [place for place, (name, _) in enumerate(levels) if name == attribute]
        found[attribute] = [levels[columns[place]][1].strip() for place in matrix[:, columns].argmax(axis=1)]
    return found


def read(options: argparse.Namespace, config: RunConfig, seed: int) -> Coat:
    """The data with a split and an order of each history that the seed draws."""
    run = RunStore(str(options.work / "run"))
    if not Path(run.location, "features", MANIFEST).exists():
        write_tables(options.data, options.work)
        with run.write("corpus", {}) as writer:
            write_preprocessed(writer, config.source, config.preprocess)
        with run.write("features", {}) as writer:
            places = {"run": run.location, "source": config.source.path, "work": writer.work}
            FeatureEncoder(run.open("corpus"), config.encode, **places).encode(_each).write(writer)
    corpus = Corpus.read(run.open("corpus"))
    rng = np.random.default_rng(seed)
    log = corpus.interactions
    order = np.lexsort((rng.random(len(log)), log.user))
    split = np.where(rng.random(len(log)) < HELD_OUT, VALID, TRAIN).astype(np.int32)
    shuffled = replace(log, item=log.item[order], value=log.value[order], split=split)
    ratings = np.loadtxt(options.data / "test.ascii", dtype=int)
    users, items = np.array(corpus.user_ids, int), np.array(corpus.item_ids, int)
    features = read_features(run.open("features"), corpus.item_ids)
    assert config.debias.good_above is not None
    return Coat(replace(corpus, interactions=shuffled), features, ratings[users][:, items], config.debias.good_above)


def _each(step: str, factory: Callable[[], Callable[[Any], Any]], tasks: Sequence[Any]) -> list[Any]:
    encode = factory()
    return [encode(task) for task in tasks]


@dataclass(frozen=True)
class Method:
    """A way to train matrix factorisation.

    Attributes:
        loss: the estimator of the loss over all pairs.
        weights: of the debias stage.
        joint: whether the imputation model learns along (DR-JL, Wang et al. 2019); else it is a naive factorisation.
    """

    loss: OutcomeLoss
    weights: str = "snips"
    joint: bool = False


METHODS = {
    "naive": Method("naive"),
    "ips": Method("weighted", "ips"),
    "snips": Method("weighted", "snips"),
    "dr": Method("doubly_robust", "ips"),
    "dr_jl": Method("doubly_robust", "ips", joint=True),
    "dynamic_ips": Method("weighted", "dynamic"),
    "dynamic_dr": Method("doubly_robust", "dynamic"),
}
WEIGHT_DECAYS = (1e-4, 3e-4, 1e-3)
NAIVE_EPOCHS = 10
"""Of the naive factorisation whose predictions are the imputed outcomes of `dr` and `dynamic_dr`."""


class Factors:
    """Matrix factorisation with biases, and its optimiser."""

    def __init__(self, coat: Coat, weight_decay: float, width: int = 8) -> None:
        sizes = ((coat.corpus.num_users, width), (coat.corpus.num_items, width))
        tables = [0.1 * torch.randn(size) for size in sizes]
        self.weights = [*tables, *(torch.zeros(size) for size, _ in sizes), torch.zeros(1)]
        for weight in self.weights:
            weight.requires_grad_()
        self.optimizer = torch.optim.Adam(self.weights, lr=0.02, weight_decay=weight_decay)

    def __call__(self, user: Tensor) -> Tensor:
        """Log odds of all items, shape (users asked for, items)."""
        users, items, user_bias, item_bias, bias = self.weights
        return users[user] @ items.T + user_bias[user][:, None] + item_bias + bias

    def learn(self, loss: Tensor) -> None:
        """One step."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def factorise(coat: Coat, method: Method, weight_decay: float, seed: int, epochs: int = 40) -> Iterator[Matrix]:
    """Scores of all pairs after each epoch."""
    torch.manual_seed(seed)
    log = coat.corpus.part(TRAIN)
    user, item = torch.from_numpy(log.user).long(), torch.from_numpy(log.item).long()
    good = torch.from_numpy((log.value > coat.good_above).astype(np.float32))
    weight = torch.from_numpy(log_weights(coat, method.weights, seed))
    everybody = torch.arange(coat.corpus.num_users)
    model, imputer = Factors(coat, weight_decay), Factors(coat, weight_decay)
    fixed = None
    if method.loss == "doubly_robust" and not method.joint:
        *_, naive = factorise(coat, METHODS["naive"], weight_decay, seed, NAIVE_EPOCHS)
        fixed = torch.from_numpy(naive).sigmoid()
    for _ in range(epochs):
        for rows in torch.randperm(len(log)).split(256):
            logits, imputed = model(user[rows]), None
            if method.joint:
                imputed = imputer(user[rows]).detach().sigmoid()
            elif fixed is not None:
                imputed = fixed[user[rows]]
            model.learn(outcome_loss(logits, item[rows], good[rows], weight[rows], imputed, method.loss))
            if method.joint:
                imputer.learn(error_deviation(logits, imputer(user[rows]), item[rows], good[rows], weight[rows]))
        with torch.no_grad():
            yield model(everybody).numpy()


def error_deviation(logits: Tensor, imputing: Tensor, item: Tensor, good: Tensor, weight: Tensor) -> Tensor:
    """The loss of a jointly learnt imputation model: mean of w (e - e_imputed)^2 (Wang et al. 2019, equation 8)."""
    rows = torch.arange(len(item))
    predicted, imputed = logits.detach()[rows, item], imputing[rows, item].sigmoid()
    error = F.binary_cross_entropy_with_logits(predicted, good, reduction="none")
    return (weight * (error - F.binary_cross_entropy_with_logits(predicted, imputed, reduction="none")) ** 2).mean()


def log_weights(coat: Coat, weights: str, seed: int) -> np.ndarray:
    """Training weights of the debias stage from the log alone, shape (train rows,)."""
    config = DebiasConfig.model_validate({**PROPENSITY, "weights": weights})
    found = fit_propensities(build_covariates(coat.corpus, coat.features, config), config, seed)
    clipped = clip(found.train, clip_threshold(found.train, config.clip_quantile or 0.0, 0.0))
    return training_weights(clipped, float(found.diagnostics["density"]), config)


def recommend(coat: Coat, config: RunConfig, seed: int) -> Iterator[Matrix]:
    """Scores of all pairs by our recommender after debiasing, after each epoch."""
    effects = estimate(coat.corpus, coat.features, config.debias, seed)
    known = known_outcomes(coat.corpus, effects)
    torch.manual_seed(seed)
    shape = Shape.of(coat.corpus, coat.features, config.train.model)
    network = Recommender(config.train.model, shape, coat.features)
    attributes = shape.attributes.encode_table(coat.corpus.users)
    rng = np.random.default_rng(seed)
    steps = build_windows(coat.corpus, shape.history, attributes, effects.weight, known).num_steps(
        config.train.batch_size
    )
    engine = TorchEngine(network, config.train, config.train.epochs * ORDERS * steps)
    for epoch in range(config.train.epochs):
        for part in range(ORDERS):
            windows = reordered(coat.corpus, shape, attributes, effects.weight, known, rng)
            batches = windows.batches(config.train.batch_size, seed=seed, epoch=epoch * ORDERS + part)
            train_epoch(engine, batches, config.train)
        yield outcomes_of_all(network, coat.corpus.histories(TRAIN), attributes)


def reordered(
    corpus: Corpus, shape: Shape, attributes: Matrix, weight: Matrix, known: Any, rng: np.random.Generator
) -> Windows:
    """Windows of histories in another order."""
    log = corpus.interactions
    order = np.lexsort((rng.random(len(log)), log.user))
    outcomes = replace(known, good=known.good[order])
    return build_windows(
        replace(corpus, interactions=log_in(log, order)), shape.history, attributes, weight[order], outcomes
    )


def log_in(log: Any, order: Matrix) -> Any:
    """Interactions in another order."""
    return replace(log, item=log.item[order], value=log.value[order], event=log.event[order], split=log.split[order])


def outcomes_of_all(network: Recommender, histories: Sequence[History], attributes: Matrix) -> Matrix:
    """Log odds of a good outcome of every item after each user's history, shape (users, items)."""
    network.eval()
    batch = network.shape.history.encode(histories)
    with torch.no_grad():
        outcomes = network(batch, attributes).outcomes
    assert outcomes is not None
    last = torch.from_numpy((batch.item >= 0).sum(axis=1))
    return outcomes[torch.arange(len(last)), last].float().numpy()


def main(argv: Sequence[str] | None = None) -> None:
    """Every method and seed; the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=HOME / "data" / "coat")
    parser.add_argument("--work", type=Path, default=HOME / "runs" / "coat")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--set", action="append", default=[], metavar="a.b=value", help="other settings of our row")
    parser.add_argument("--parallel", type=int, default=os.cpu_count(), help="runs at once, one thread each")
    parser.add_argument("--tune", action="store_true", help="show validation figures only")
    parser.add_argument("--only", nargs="+", help="some rows of the table; writes nothing")
    options = parser.parse_args(argv)
    os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}  # before the processes start
    started = time.monotonic()
    overrides = [f"source.path={options.work}", *options.set]
    config = load_run(HOME / "benchmarks" / "configs" / "coat.yaml", overrides, HOME)
    read(options, config, 0)  # prepares the run that all processes read
    table: dict[str, list[Scores]] = {}
    for name in [*METHODS, "outcome_model", "llm4rec"]:
        if options.only and name not in options.only:
            continue
        with ProcessPoolExecutor(options.parallel, mp_context=get_context("spawn")) as pool:
            runs = [pool.submit(scored, name, options, config, seed) for seed in range(options.seeds)]
            table[name] = [run.result() for run in runs]
        means = {key: round(float(np.mean([row[key] for row in table[name]])), 4) for key in table[name][0]}
        print(name, means, flush=True)
    if not options.tune and not options.only:
        store("coat", figures(table), time.monotonic() - started, list(range(options.seeds)))


def scored(name: str, options: argparse.Namespace, config: RunConfig, seed: int) -> Scores:
    """Figures of one run: settings and epochs by the held-out part, then trained on all and asked once."""
    torch.set_num_threads(1)
    coat = read(options, config, seed)
    tried = []
    for decay in WEIGHT_DECAYS if name in METHODS else (None,):
        for epoch, scores in enumerate(epochs_of(name, coat, config, decay, seed)):
            tried.append((coat.held_out_auc(scores), decay, epoch))
    valid_auc, decay, epoch = max(tried, key=lambda found: found[0])
    if options.tune:
        return {"valid_auc": valid_auc, "epoch": epoch}
    final = next(islice(epochs_of(name, coat.whole(), config, decay, seed), epoch, None))
    return {"valid_auc": valid_auc, "epoch": epoch, **coat.evaluate(final)}


def epochs_of(name: str, coat: Coat, config: RunConfig, decay: float | None, seed: int) -> Iterator[Matrix]:
    """Scores after each epoch of a row of the table."""
    if decay is not None:
        yield from factorise(coat, METHODS[name], decay, seed)
    elif name == "outcome_model":
        model = estimate(coat.corpus, coat.features, config.debias, seed).outcome
        assert model is not None
        yield model.users @ model.items.T
    else:
        yield from recommend(coat, config, seed)


def figures(table: dict[str, list[Scores]]) -> dict[str, Any]:
    """Means and standard deviations by method."""
    found: dict[str, Any] = {}
    for key in ("auc", "ndcg5", "valid_auc"):
        found[key] = {name: round(float(np.mean([row[key] for row in rows])), 4) for name, rows in table.items()}
        found[f"{key}_deviation"] = {
            name: round(float(np.std([row[key] for row in rows], ddof=1)), 4) for name, rows in table.items()
        }
    found["published_auc"] = {name: auc for name, (auc, _) in PUBLISHED.items()}
    found["published_ndcg5"] = {name: value for name, (_, value) in PUBLISHED.items()}
    found["auc_minus_published"] = {name: round(found["auc"][name] - auc, 4) for name, (auc, _) in PUBLISHED.items()}
    return found


if __name__ == "__main__":
    main()
