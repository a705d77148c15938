"""Gender and age on ML-1M: what is left of them in user states and slates, by how much of it is taken out.

    python benchmarks/fairness.py    # writes benchmarks/results/fairness.json

Two models: that of `fusion.py` with all modalities, which reads gender and age, and the same with both hidden from it
(`train.model.protected`); each is trained here if it is not kept. Each is ranked with all strengths of the repair,
fitted on train histories. Before is the model that reads them, unrepaired. After is the one that does not, with the
largest strength that keeps to a limit of lost NDCG@10 on the validation split. What is lost counts from whichever of
the two ranks better unrepaired on the validation split. The figures are of the test split. Attackers are trained on
repaired states, tested on other users' and the best of them counts. A gap is a maximum and so never 0: beside it stands
what it would be by chance, with users' labels dealt out anew, and the share of such gaps that are at least as large.
Intervals draw users and leave seeds as they are.
"""

import argparse
from typing import Any

import numpy as np
from fusion import EVERYTHING, MOVIES, chosen
from measure import store
from offline_runs import (
    Job,
    Measured,
    arguments,
    finished,
    measured_at,
    of_common_seeds,
    prepared,
    read_run,
    relative_interval,
    trained,
)

from llm4rec.evaluate.attacker import attacker_auc
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.groups import user_groups
from llm4rec.evaluate.metrics import Labels, ndcg, parity_gap, popular_exposure, popular_items
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import rank
from llm4rec.recommend.repairs import learn_repair
from llm4rec.recommend.scorers import OfStates
from llm4rec.schema import TEST, VALID

PROTECTED = ("gender", "age")
STRENGTHS = (0.0, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.65, 0.7, 0.75, 1.0)
LIMITS = (0.01, 0.03)
SAMPLES = 2000
MIN_GROUP = EvaluateConfig().min_group_size
READS, HIDDEN = f"{MOVIES}:{EVERYTHING}", f"{MOVIES}:hidden"
Runs = dict[str, list[Measured]]


def main() -> None:
    """Rank and attack with every strength, and store the figures."""
    options = arguments(__doc__, [READS, HIDDEN])
    config, run = prepared(MOVIES, options)
    reads = chosen(config, READS)
    model = reads.train.model.model_copy(update={"protected": PROTECTED})
    configs = {
        READS: reads,
        HIDDEN: reads.model_copy(update={"train": reads.train.model_copy(update={"model": model})}),
    }
    jobs = [
        Job(name, seed, run, configs[name], tune=False, question="fairness")
        for seed in options.seeds
        for name in options.models
    ]
    done: dict[str, dict[int, Measured]] = {}
    for job, measured in finished(jobs, repaired, options):
        done.setdefault(job.name, {})[job.seed] = measured
    missing = [name for name in configs if name not in done]
    runs = {} if missing else of_common_seeds(done)
    if not runs:
        print(f"nothing is stored: both models are compared, seed by seed; missing: {missing or 'a common seed'}")
        return
    report(runs, sorted(set.intersection(*(set(of_seed) for of_seed in done.values()))), options)


def repaired(job: Job) -> Measured:
    """Accuracy, exposure and attackers of one model by strength."""
    corpus, features = read_run(job.run)
    scorer = trained(job, corpus, features)
    shape, config = scorer.model.shape, EvaluateConfig()
    scorer.repaired = shape.attributes.places(PROTECTED, "PROTECTED")
    repair = learn_repair(scorer, corpus, 1.0)
    popular = popular_items(corpus.train_popularity(), config.popular_share)
    measured: Measured = {}
    for part, split in (("valid", VALID), ("test", TEST)):
        rows = EvaluationSet.build(corpus, split)
        raw = scorer.user_states(rows.users, rows.histories)
        codes = scorer.attributes[rows.users][:, scorer.repaired]
        labels = {name: user_groups(corpus, name, rows.users) for name in PROTECTED}
        measured[f"{part} user"] = rows.users
        for strength in STRENGTHS:
            states = repair(raw, codes, strength)
            ranked = rank(OfStates.of(states, scorer, rows), rows, config)
            measured[f"{part} ndcg@10 {strength}"] = ndcg(ranked.target_rank, 10)
            if part == "test":
                measured[f"exposure {strength}"] = popular_exposure(ranked.items, popular)
                measured[f"auc {strength}"] = np.array(
                    [max(attacker_auc(states, labels[name], config.min_group_size, 0).values()) for name in PROTECTED]
                )
    return measured | {f"label {name}": labels[name] for name in PROTECTED}


def report(runs: Runs, seeds: list[int], options: argparse.Namespace) -> None:
    """Store the figures of all seeds."""
    valid = {name: {s: ndcg10(own, "valid", s) for s in STRENGTHS} for name, own in runs.items()}
    best = max(runs, key=lambda name: valid[name][0.0])
    curves = {name: {str(s): point(own, s, runs[best]) for s in STRENGTHS} for name, own in runs.items()}
    limits = {f"{limit:.0%}": (1 - limit) * valid[best][0.0] for limit in LIMITS}
    allowed = {limit: [s for s in STRENGTHS if valid[HIDDEN][s] >= bar] for limit, bar in limits.items()}
    if not all(allowed.values()):
        raise SystemExit(f"error: of {HIDDEN} no strength keeps to a limit of {limits} on validation: {valid[HIDDEN]}")
    strengths = {limit: max(found) for limit, found in allowed.items()}
    one, three = (strengths[f"{limit:.0%}"] for limit in LIMITS)
    before, after, far = curves[READS]["0.0"], curves[HIDDEN][str(one)], curves[HIDDEN][str(three)]
    figures: dict[str, Any] = {
        "dp_gap_before": before["dp_gap"],
        "dp_gap_after": after["dp_gap"],
        "ndcg10_loss": after["ndcg10_loss"],
        "ndcg10_loss_at_3_percent": far["ndcg10_loss"],
        "attacker_auc_before": before["attacker_auc"],
        "attacker_auc_after": after["attacker_auc"],
        "attacker_auc_at_3_percent": far["attacker_auc"],
        "ndcg10": {name: curve["0.0"]["ndcg10"] for name, curve in curves.items()},
        "loss_counts_from": best,
        "strength": strengths,
        "dp_gap_by_chance": {"before": by_chance(runs[READS], 0.0), "after": by_chance(runs[HIDDEN], one)},
        "ndcg10_loss_ci95": loss_interval((runs[best], 0.0), (runs[HIDDEN], one)),
        "ndcg10_loss_at_3_percent_ci95": loss_interval((runs[best], 0.0), (runs[HIDDEN], three)),
        "ndcg10_loss_to_reading_ci95": loss_interval((runs[READS], 0.0), (runs[HIDDEN], one)),
        "by_seed": {
            "attacker_auc_before": by_seed(runs[READS], 0.0),
            "attacker_auc_after": by_seed(runs[HIDDEN], one),
            "attacker_auc_at_3_percent": by_seed(runs[HIDDEN], three),
            "ndcg10": {name: [round(ndcg10([run], "test", 0.0), 4) for run in own] for name, own in runs.items()},
        },
        "measured_at": measured_at(run for own in runs.values() for run in own),
        "curve": curves,
        "valid_ndcg10": {name: {str(s): round(v, 4) for s, v in values.items()} for name, values in valid.items()},
    }
    if options.trial:
        print(figures)
    else:
        store("fairness", figures, sum(float(run["seconds"]) for own in runs.values() for run in own), seeds)


def ndcg10(runs: list[Measured], part: str, strength: float) -> float:
    """Mean over users and seeds."""
    return float(np.mean([run[f"{part} ndcg@10 {strength}"].mean() for run in runs]))


def point(runs: list[Measured], strength: float, best: list[Measured]) -> dict[str, Any]:
    """Figures of one strength, means over seeds."""
    before, after = ndcg10(best, "test", 0.0), ndcg10(runs, "test", strength)
    gaps = {name: np.mean([gap(run, strength, run[f"label {name}"]) for run in runs]) for name in PROTECTED}
    attackers = np.mean([run[f"auc {strength}"] for run in runs], axis=0)
    return {
        "ndcg10": round(after, 4),
        "ndcg10_loss": round(1 - after / before, 4),
        "dp_gap": round(float(max(gaps.values())), 4),
        "attacker_auc": round(float(attackers.max()), 4),
        "dp_gap_by_attribute": {name: round(float(value), 4) for name, value in gaps.items()},
        "attacker_auc_by_attribute": {n: round(float(auc), 4) for n, auc in zip(PROTECTED, attackers, strict=True)},
    }


def gap(run: Measured, strength: float, labels: Labels) -> float:
    """Demographic parity gap of one run."""
    return parity_gap(run[f"exposure {strength}"], labels, MIN_GROUP)


def by_seed(runs: list[Measured], strength: float) -> list[float]:
    """AUC of the attribute that is told best, of every seed."""
    return [round(float(run[f"auc {strength}"].max()), 4) for run in runs]


def by_chance(runs: list[Measured], strength: float) -> dict[str, float]:
    """The mean gap with labels dealt out anew among users, and how often it is at least the true one."""
    rng, size = np.random.default_rng(0), len(runs[0]["test user"])

    def largest(order: np.ndarray) -> float:
        dealt = {name: [run[f"label {name}"][order] for run in runs] for name in PROTECTED}
        return max(
            float(np.mean([gap(run, strength, label) for run, label in zip(runs, dealt[name], strict=True)]))
            for name in PROTECTED
        )

    true = largest(np.arange(size))
    gaps = np.array([largest(rng.permutation(size)) for _ in range(SAMPLES)])
    return {
        "mean_gap": round(float(gaps.mean()), 4),
        "p_value": round(float((1 + (gaps >= true).sum()) / (1 + SAMPLES)), 4),
    }


At = tuple[list[Measured], float]
"""Runs and a strength."""


def loss_interval(before: At, after: At) -> list[float]:
    """The 95 % interval, paired over users, of the relative loss of NDCG@10."""
    old, new = (np.mean([run[f"test ndcg@10 {s}"] for run in runs], axis=0) for runs, s in (before, after))
    return relative_interval(old - new, old)


if __name__ == "__main__":
    main()
