"""What the refit is worth: NDCG@10 on the test part with and without one more pass over the validation part, too.

    python benchmarks/refit.py    # writes benchmarks/results/refit.json

The models of quality.py's tables (trained if they are not kept). What is served learns of the test part as well, which
nothing can then be measured on; so here the refit is one step behind: its interactions are those of the train and
validation parts, and the test part is what it has not seen. Every choice of it is ranked from all that the user did
before, so histories are the same in all rows: `measured` is the model with its gate as quality.py has it, `counted`
that with the linear model of the gate counted anew, `refit` what the refit stage makes. Accuracy is the mean over users
of each one's mean; intervals draw users, with all their choices, and leave seeds as they are. The settings of the
refit were chosen within the train part of ML-100K by time (docs/log.md).
"""

import argparse
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from measure import store
from offline_runs import (
    Job,
    Measured,
    aligned,
    arguments,
    by_user,
    finished,
    kept_seconds,
    measured_at,
    read_run,
    relative_interval,
    trained,
)
from quality_runs import found_best, new_job
from trials import OURS

from llm4rec.debias.estimate import estimate_weights
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.metrics import hit_rate, ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import rank
from llm4rec.model.recommender import Recommender
from llm4rec.model.scorer import ModelScorer
from llm4rec.recommend.gate import Gated, learn_gate
from llm4rec.schema import TEST, TRAIN, VALID, Corpus, Features
from llm4rec.train.loop import TorchEngine, fit
from llm4rec.train.refit import refit_config, refit_shape
from llm4rec.train.windows import build_windows

PUBLISHED = ["ml-1m-seq", "ml-100k temporal", "ml-latest-small temporal"]
WAYS = ("measured", "counted", "refit")


def main() -> None:
    """Train, refit, rank and store the figures."""
    options = arguments(__doc__, [OURS], PUBLISHED)
    jobs = [new_refit(table, seed, options) for table in options.tables for seed in options.seeds]
    done: dict[str, dict[int, Measured]] = {}
    for job, measured in finished(jobs, ranked_each_way, options):
        done.setdefault(job.name.partition(":")[0], {})[job.seed] = measured
    if done:
        report(done, options)


def new_refit(table: str, seed: int, options: argparse.Namespace) -> Job:
    """The run of our model on a table with the settings that were found best, asked for its refit."""
    return replace(new_job(table, OURS, found_best(table, OURS), seed, options), question="refit")


def ranked_each_way(job: Job) -> Measured:
    """Rank the test part by the model before and after its refit."""
    corpus, features = read_run(job.run, job.config.run.split)
    before = trained(job, corpus, features)
    gate = learn_gate(before, corpus)
    known = replace(corpus, interactions=corpus.part(TRAIN, VALID)).as_train()
    counted = gate.of(known)
    after = refitted(job, before, known, features)
    ways = dict(zip(WAYS, (Gated(before, gate), Gated(before, counted), Gated(after, counted)), strict=True))
    rows = EvaluationSet.successive(corpus, TEST)
    found: Measured = {"user": rows.users, "kept seconds": np.array(kept_seconds(job))}
    for way, scorer in ways.items():
        ranks = rank(scorer, rows, EvaluateConfig()).target_rank
        found |= {f"ndcg@10 {way}": ndcg(ranks, 10), f"hr@10 {way}": hit_rate(ranks, 10)}
    return found


def refitted(job: Job, before: ModelScorer, known: Corpus, features: Features) -> ModelScorer:
    """What the refit stage makes of a model, in this process."""
    config, network = refit_config(job.config.train), job.config.train.model
    shape = refit_shape(before.model.shape, network, known, features)
    weight = np.ones(len(known.interactions), np.float32)
    if config.causal_weight:
        weight = estimate_weights(known, features, job.config.debias, job.seed)
    torch.manual_seed(job.seed)
    model = Recommender(network, shape, features, with_weights=False)
    model.load_state_dict(before.model.state_dict())
    windows = build_windows(known, shape.history, before.attributes, weight)
    engine = TorchEngine(model, config, config.epochs * windows.num_steps(config.batch_size))
    fit(engine, windows, config, seed=job.seed, validate=lambda: None, on_best=lambda: None)
    return ModelScorer(model.eval(), before.attributes)


def report(done: dict[str, dict[int, Measured]], options: argparse.Namespace) -> None:
    """Store what each way comes to on each table, and the gain over the first."""
    figures: dict[str, Any] = {}
    for table, runs in done.items():
        own = [runs[seed] for seed in sorted(runs)]
        figures[table] = {metric.replace("@", ""): compared(own, metric) for metric in ("ndcg@10", "hr@10")} | {
            "users": len(set(own[0]["user"].tolist())),
            "seeds": sorted(runs),
            "measured_at": measured_at(own),
        }
    if options.trial:
        print(figures)
        return
    seconds = sum(float(run["seconds"]) for runs in done.values() for run in runs.values())
    store("refit", figures, seconds, sorted({seed for runs in done.values() for seed in runs}))


def compared(runs: list[Measured], metric: str) -> dict[str, Any]:
    """Means over users and seeds, with relative changes and their intervals over users."""
    of_way = aligned({way: by_user(runs, f"{metric} {way}") for way in WAYS})
    first = of_way[WAYS[0]]
    found: dict[str, Any] = {way: round(float(values.mean()), 4) for way, values in of_way.items()}
    for way in WAYS[1:]:
        found[f"{way}_gain"] = round(float(of_way[way].mean() / first.mean() - 1), 4)
        found[f"{way}_gain_ci95"] = relative_interval(of_way[way] - first, first)
    return found


if __name__ == "__main__":
    main()
