"""Effects estimated in worlds whose truth is known: how often intervals hold it, and what naive estimates say.

    python benchmarks/causal_synthetic.py      # writes benchmarks/results/causal_synthetic.json

Fifty worlds of `source.format: synthetic` go through the preprocess stage and the feature encoders of categories and
numbers; then the estimators of the debias stage see the train split. Popularity: LinearDML beside the least-squares
slope. Prominence: LinearDRLearner beside the difference in means, and with the propensity model, the outcome model, or
both replaced by constants. The sweep grows the number of users. Effects are in ratings, of one unit of log popularity
and of being shown prominently.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from measure import store
from sklearn.dummy import DummyClassifier, DummyRegressor

from llm4rec.artifacts import RunStore
from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.covariates import build_covariates
from llm4rec.debias.effects import effect_sample, fit_popularity, naive_slope
from llm4rec.debias.exposure import Nuisances, exposure_effect
from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.stage import FeatureEncoder
from llm4rec.preprocess.config import PreprocessConfig, SourceConfig, SyntheticConfig
from llm4rec.preprocess.single_process import write_preprocessed
from llm4rec.preprocess.world import draw_world
from llm4rec.schema import Corpus, read_features

DEBIAS = DebiasConfig(exposure_event="prominent")
ENCODE = EncodeConfig(text_model=None, image_model=None, audio=None)
MAX_ROWS = 1_000_000
Found = dict[str, dict[str, Any]]


def measure(config: SyntheticConfig) -> Found:
    """Every estimate of one world, with the truth beside it."""
    with tempfile.TemporaryDirectory() as folder:
        corpus, features = corpus_of(config, Path(folder))
    covariates = build_covariates(corpus, features, DEBIAS)
    sample = effect_sample(covariates, MAX_ROWS, np.random.default_rng(config.seed))
    world = draw_world(config)
    train = world.round < config.interactions - 2  # leave-one-out keeps two of each user for validation and test
    assert train.sum() == len(covariates.train)
    theta = float(world.total_popularity_effect(config)[train].mean())
    unit = covariates.scale.deviation
    linear = fit_popularity(sample, DEBIAS.folds, config.seed).average(sample.modifiers)
    found = {"popularity": scaled(linear, unit, theta), "popularity_naive": scaled(naive_slope(sample), unit, theta)}
    right = Nuisances.chosen(sample, DEBIAS.folds, config.seed)
    constant = Nuisances(DummyClassifier(), DummyRegressor())
    for name, nuisances in {
        "prominence": right,
        "propensity_wrong": Nuisances(constant.propensity, right.outcome),
        "outcome_wrong": Nuisances(right.propensity, constant.outcome),
        "both_wrong": constant,
    }.items():
        summary, warnings = exposure_effect(sample, DEBIAS.folds, config.seed, nuisances)
        assert summary is not None, warnings
        found[name] = scaled(summary, 1.0, config.prominence_effect)
        if name == "prominence":
            found["prominence_naive"] = scaled(summary["naive"], 1.0, config.prominence_effect)
    return found


def corpus_of(config: SyntheticConfig, folder: Path) -> tuple[Corpus, Any]:
    """A world through preprocess and encode."""
    run, source = (
        RunStore(str(folder / "run")),
        SourceConfig(format="synthetic", path=str(folder / "world"), synthetic=config),
    )
    with run.write("corpus", {}) as writer:
        write_preprocessed(writer, source, PreprocessConfig(min_item_interactions=1))
    with run.write("features", {}) as writer:
        places = {"run": run.location, "source": source.path, "work": writer.work}
        encoder = FeatureEncoder(run.open("corpus"), ENCODE, **places)
        encoder.encode(lambda step, factory, tasks: [factory()(task) for task in tasks]).write(writer)
    corpus = Corpus.read(run.open("corpus"))
    return corpus, read_features(run.open("features"), corpus.item_ids)


def scaled(estimate: dict[str, Any], unit: float, truth: float) -> dict[str, Any]:
    """Error of an estimate in ratings, and whether its interval holds the truth."""
    low, high = (bound / unit for bound in estimate["ci95"])
    return {"error": estimate["effect"] / unit - truth, "width": high - low, "covers": bool(low <= truth <= high)}


def summary(worlds: Sequence[Found]) -> dict[str, Any]:
    """Coverage, bias with its standard error, root mean square error and mean width by estimator."""
    found: dict[str, Any] = {}
    for name in worlds[0]:
        errors = np.array([world[name]["error"] for world in worlds])
        found[name] = {
            "coverage": round(float(np.mean([world[name]["covers"] for world in worlds])), 3),
            "bias": round(float(errors.mean()), 4),
            "bias_standard_error": round(float(errors.std(ddof=1) / len(errors) ** 0.5), 4),
            "rmse": round(float(np.sqrt(np.square(errors).mean())), 4),
            "mean_width": round(float(np.mean([world[name]["width"] for world in worlds])), 4),
        }
    return found


def main(argv: Sequence[str] | None = None) -> None:
    """All worlds in as many processes as there are cores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--sweep-seeds", type=int, default=10)
    parser.add_argument("--users", nargs="+", type=int, default=[125, 250, 500, 1000, 2000], help="of the sweep")
    parser.add_argument("--parallel", type=int, default=os.cpu_count())
    parser.add_argument("--dry", action="store_true", help="show, do not store")
    options = parser.parse_args(argv)
    started = time.monotonic()
    os.environ["OMP_NUM_THREADS"] = "1"  # before the processes start
    configs = [SyntheticConfig(seed=seed) for seed in range(options.seeds)]
    sweep = {
        users: [SyntheticConfig(users=users, seed=1000 + seed) for seed in range(options.sweep_seeds)]
        for users in options.users
    }
    with ProcessPoolExecutor(options.parallel, mp_context=get_context("spawn")) as pool:
        worlds = list(pool.map(measure, configs))
        print(summary(worlds), flush=True)
        by_size = {str(users): summary(list(pool.map(measure, made))) for users, made in sweep.items()}
    main_table = summary(worlds)
    figures = {
        "coverage": min(main_table[name]["coverage"] for name in ("popularity", "prominence")),
        "naive_bias": {name: main_table[f"{name}_naive"]["bias"] for name in ("popularity", "prominence")},
        "naive_coverage": {name: main_table[f"{name}_naive"]["coverage"] for name in ("popularity", "prominence")},
        "dr_bias": {
            "both_right": main_table["prominence"]["bias"],
            **{name: main_table[name]["bias"] for name in ("propensity_wrong", "outcome_wrong", "both_wrong")},
        },
        "truth": {
            "popularity": "0.2 for men, 0.4 for women, and about 0.02 through prominence",
            "prominence": SyntheticConfig().prominence_effect,
        },
        "estimators": main_table,
        "rmse_by_users": {
            users: {name: found[name]["rmse"] for name in ("popularity", "prominence")}
            for users, found in by_size.items()
        },
    }
    if options.dry:
        print(figures)
    else:
        store("causal_synthetic", figures, time.monotonic() - started, list(range(options.seeds)))


if __name__ == "__main__":
    main()
