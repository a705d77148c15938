"""Gender and age on ML-1M: what is left of them in user states and slates, by how much of it is taken out.

    python benchmarks/fairness.py    # writes benchmarks/results/fairness.json

The models are those of `fusion.py` with all modalities, which read gender and age (trained here if they are not kept).
Each is ranked with all strengths of the repair, fitted on train histories. The strength at a limit of lost NDCG@10 is
the largest that keeps to it on the validation split; the figures are of the test split. Attackers are trained on
repaired states, tested on other users' and the best of them counts.
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
from llm4rec.evaluate.result import train_popularity
from llm4rec.recommend.repairs import learn_repair
from llm4rec.recommend.scorers import OfStates
from llm4rec.schema import TEST, VALID

PROTECTED = ("gender", "age")
STRENGTHS = (0.0, 0.25, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 1.0)
LIMITS = (0.01, 0.03)
SAMPLES = 2000
MIN_GROUP = EvaluateConfig().min_group_size
NAME = f"{MOVIES}:{EVERYTHING}"


def main() -> None:
    """Rank and attack with every strength, and store the figures."""
    options = arguments(__doc__, [NAME])
    config, run = prepared(MOVIES, options)
    jobs = [Job(NAME, seed, run, chosen(config, NAME), tune=False, question="fairness") for seed in options.seeds]
    done: dict[str, dict[int, Measured]] = {}
    for job, measured in finished(jobs, repaired, options):
        done.setdefault(job.name, {})[job.seed] = measured
    if done:
        report(of_common_seeds(done)[NAME], sorted(done[NAME]), options)


def repaired(job: Job) -> Measured:
    """Accuracy, exposure and attackers of one model by strength."""
    corpus, features = read_run(job.run)
    scorer = trained(job, corpus, features)
    shape, config = scorer.model.shape, EvaluateConfig()
    scorer.repaired = shape.attributes.places(PROTECTED, "PROTECTED")
    repair = learn_repair(scorer, corpus, 1.0)
    popular = popular_items(train_popularity(corpus), config.popular_share)
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


def report(runs: list[Measured], seeds: list[int], options: argparse.Namespace) -> None:
    """Store the figures of all seeds."""
    curve = {str(strength): point(runs, strength) for strength in STRENGTHS}
    valid = {s: float(np.mean([run[f"valid ndcg@10 {s}"].mean() for run in runs])) for s in STRENGTHS}
    strengths = {f"{limit:.0%}": max(s for s in STRENGTHS if valid[s] >= (1 - limit) * valid[0.0]) for limit in LIMITS}
    one, three = (strengths[f"{limit:.0%}"] for limit in LIMITS)
    figures: dict[str, Any] = {
        "dp_gap_before": curve["0.0"]["dp_gap"],
        "dp_gap_after": curve[str(one)]["dp_gap"],
        "ndcg10_loss": curve[str(one)]["ndcg10_loss"],
        "ndcg10_loss_at_3_percent": curve[str(three)]["ndcg10_loss"],
        "attacker_auc_before": curve["0.0"]["attacker_auc"],
        "attacker_auc_after": curve[str(one)]["attacker_auc"],
        "attacker_auc_at_3_percent": curve[str(three)]["attacker_auc"],
        "strength": strengths,
        "dp_gap_fall_ci95": gap_fall(runs, one),
        "ndcg10_loss_ci95": loss_interval(runs, one),
        "curve": curve,
        "valid_ndcg10": {str(s): round(value, 4) for s, value in valid.items()},
    }
    if options.trial:
        print(figures)
    else:
        store("fairness", figures, sum(float(run["seconds"]) for run in runs), seeds)


def point(runs: list[Measured], strength: float) -> dict[str, Any]:
    """Figures of one strength, means over seeds."""
    before, after = (np.mean([run[f"test ndcg@10 {s}"].mean() for run in runs]) for s in (0.0, strength))
    gaps = {name: np.mean([gap(run, strength, run[f"label {name}"]) for run in runs]) for name in PROTECTED}
    attackers = np.mean([run[f"auc {strength}"] for run in runs], axis=0)
    return {
        "ndcg10": round(float(after), 4),
        "ndcg10_loss": round(float(1 - after / before), 4),
        "dp_gap": round(float(max(gaps.values())), 4),
        "attacker_auc": round(float(attackers.max()), 4),
        "dp_gap_by_attribute": {name: round(float(value), 4) for name, value in gaps.items()},
        "attacker_auc_by_attribute": {n: round(float(auc), 4) for n, auc in zip(PROTECTED, attackers, strict=True)},
    }


def gap(run: Measured, strength: float, labels: Labels, rows: np.ndarray | slice = slice(None)) -> float:
    """Demographic parity gap of one run, over all users or some."""
    return parity_gap(run[f"exposure {strength}"][rows], labels[rows], MIN_GROUP)


def gap_fall(runs: list[Measured], strength: float) -> list[float]:
    """The 95 % interval, over users, of how much of the largest gap is gone."""
    rng, size = np.random.default_rng(0), len(runs[0]["test user"])
    falls = []
    for _ in range(SAMPLES):
        rows = rng.integers(size, size=size)
        largest = []
        for s in (0.0, strength):
            by_name = {name: np.mean([gap(run, s, run[f"label {name}"], rows) for run in runs]) for name in PROTECTED}
            largest.append(max(by_name.values()))
        falls.append(1 - largest[1] / largest[0])
    return [round(float(bound), 4) for bound in np.quantile(falls, [0.025, 0.975])]


def loss_interval(runs: list[Measured], strength: float) -> list[float]:
    """The 95 % interval, paired over users, of the relative loss of NDCG@10."""
    before, after = (np.mean([run[f"test ndcg@10 {s}"] for run in runs], axis=0) for s in (0.0, strength))
    return relative_interval(before - after, before)


if __name__ == "__main__":
    main()
