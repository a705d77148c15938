"""What each part of the method adds: our model as it is, and with one part taken out or put in.

    python benchmarks/ablation.py                # writes benchmarks/results/ablation.json after every run
    python benchmarks/ablation.py --budget 30    # starts no run after half an hour; the next call goes on

ml-latest-small, leave-one-out, full ranking, seen items removed, settings of benchmarks/configs, the same for all; none
was searched for. Of the paper's five parts fusion, retrieval and debiasing are here, and beside them what pre-training
of the backbone brings. The objective of explanations and online updates are no part of training yet, so there is no
figure of them. Gains are over the model as it is; figures are means over users of means over seeds, intervals and
p-values of paired bootstraps over users, p-values corrected for all comparisons (Holm).
"""

import argparse
from typing import Any

import numpy as np
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

from llm4rec.evaluate.bootstrap import confidence_interval, holm, paired_p_value
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.metrics import diversity, hit_rate, ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import rank
from llm4rec.schema import TEST, TEXT, VALID

DATA, FULL = "ml-latest-small", "as it is"
VARIANTS: dict[str, list[str]] = {
    FULL: [],
    "fusion: ids alone": ["train.model.modalities=[]"],
    "fusion: text alone": ["train.model.modalities=[text]"],
    "retrieval: no evidence": ["train.model.num_retrieved=0"],
    "debiasing: causal loss": ["train.causal_weight=0.1"],
    "pre-training: random backbone": ["train.model.pretrained=false"],
}
SAMPLES = 10_000


def main() -> None:
    """Run what is chosen and not yet done, and store the figures of all that is."""
    options = arguments(__doc__, list(VARIANTS))
    jobs = []
    for seed in options.seeds:
        for name in options.models:
            config, run = prepared(DATA, options, ["run.split=leave_one_out", *VARIANTS[name]])
            jobs.append(Job(name, seed, run, config, options.tune))
    done: dict[str, dict[int, Measured]] = {}
    for job, measured in finished(jobs, ablate, options):
        done.setdefault(job.name, {})[job.seed] = measured
        if len(done) > 1 and FULL in done:
            report(done, options)


def ablate(job: Job) -> Measured:
    """Train and rank for every user."""
    corpus, features = read_run(job.run)
    scorer = trained(job, corpus, features)
    rows = EvaluationSet.build(corpus, VALID if job.tune else TEST)
    ranked = rank(scorer, rows, EvaluateConfig())
    return {
        "user": rows.users,
        "ndcg@10": ndcg(ranked.target_rank, 10),
        "hr@10": hit_rate(ranked.target_rank, 10),
        "ild@10": diversity(ranked.items, features[TEXT].vectors[: corpus.num_warm_items]),
    }


def report(done: dict[str, dict[int, Measured]], options: argparse.Namespace) -> None:
    """Store the figures so far; a trial is only shown."""
    runs = of_common_seeds(done)
    if not runs:
        return
    figures: dict[str, Any] = {}
    for metric in ("ndcg@10", "hr@10", "ild@10"):
        values = aligned({name: by_user(of_seeds, metric) for name, of_seeds in runs.items()})
        figures[metric.replace("@", "")] = {name: round(float(array.mean()), 4) for name, array in values.items()}
        if metric == "ndcg@10":
            gains = {name: values[name] - values[FULL] for name in values if name != FULL}
            figures["gain"] = {name: round(float(gain.mean()), 4) for name, gain in gains.items()}
            figures["gain_ci95"] = {
                name: [round(bound, 4) for bound in confidence_interval(gain, SAMPLES, 0)]
                for name, gain in gains.items()
            }
            figures["p_holm"] = holm({name: paired_p_value(values[name], values[FULL], SAMPLES, 0) for name in gains})
    if options.trial:
        print(figures, flush=True)
        return
    of_all = [run for of_seeds in runs.values() for run in of_seeds]
    figures["seconds_a_run"] = {
        name: round(float(np.mean([run["seconds"] for run in of_seeds]))) for name, of_seeds in runs.items()
    }
    seeds = [seed for seed in options.seeds if all(seed in of_seeds for of_seeds in done.values())]
    seconds = sum(float(run["seconds"]) for run in of_all)
    store("ablation", figures | {"measured_at": measured_at(of_all)}, seconds, seeds)


if __name__ == "__main__":
    main()
