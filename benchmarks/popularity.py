"""What the correction of popularity buys and costs: coverage, popularity shown, accuracy, before and after.

    python benchmarks/popularity.py    # writes benchmarks/results/popularity.json

ML-1M's sequences, leave-one-out, with the models of `fusion.py` with all modalities (trained if they are not kept), and
the temporal split of ml-latest-small, with the effect of popularity on being chosen in both. Prices are fitted on what
users would see when the test part begins and on the choices of the validation part, with the limit of
`index.debias_loss`; the figures are of the test part, at debias 1 against debias 0: a slate before each choice, from
all that the user did before it. Accuracy and popularity are means over users of each one's mean. The balanced test set
weighs choices so that every item that is chosen counts alike. Intervals draw users, with all their choices, and leave
seeds as they are; coverage, which is of all users together, has none.
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

from llm4rec.debias.estimate import estimate
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.metrics import average_popularity, coverage, mean_by_user, ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import rank
from llm4rec.recommend.prices import learn_prices
from llm4rec.recommend.scorers import Debiased
from llm4rec.schema import TEST

SMALL = "ml-latest-small"
NAMES = {f"{MOVIES}:{EVERYTHING}": MOVIES, SMALL: SMALL}


def main() -> None:
    """Rank with and without prices, and store the figures."""
    options = arguments(__doc__, list(NAMES))
    jobs = []
    for name in options.models:
        config, run = prepared(NAMES[name], options)
        of_set = chosen(config, name) if ":" in name else config
        jobs += [Job(name, seed, run, of_set, tune=False, question="popularity") for seed in options.seeds]
    done: dict[str, dict[int, Measured]] = {}
    for job, measured in finished(jobs, priced, options):
        done.setdefault(job.name, {})[job.seed] = measured
    if done:
        report(done, options)


def priced(job: Job) -> Measured:
    """Rank the test users of one model for nothing and at the prices that validation allows."""
    corpus, features = read_run(job.run, job.config.run.split)
    scorer, config = trained(job, corpus, features), EvaluateConfig()
    settings = job.config.debias.model_copy(update={"effect_on": "choice"})
    effects = estimate(corpus, features, settings, job.seed)
    prices = learn_prices(scorer, corpus, effects.user_weight, job.config.index.debias_loss)
    rows, popularity = EvaluationSet.successive(corpus, TEST), corpus.train_popularity()
    effect = effects.summary["popularity_effect"]
    measured: Measured = {
        "user": rows.users,
        "balance": 1 / np.bincount(rows.targets)[rows.targets],
        "effect": np.array([effect["effect"], *effect["ci95"]] if effect else [np.nan] * 3),
        "valid": np.array([prices.changes[name] for name in sorted(prices.changes)]),
    }
    for when, model in (("before", scorer), ("after", Debiased(scorer, prices.price, effects.user_weight, config))):
        ranked = rank(model, rows, config)
        measured |= {
            f"ndcg@10 {when}": ndcg(ranked.target_rank, 10),
            f"arp@10 {when}": average_popularity(ranked.items, popularity),
            f"coverage@10 {when}": np.array(coverage(ranked.items, corpus.num_warm_items)),
        }
    return measured


def report(done: dict[str, dict[int, Measured]], options: argparse.Namespace) -> None:
    """Store the figures of every dataset; those of ML-1M stand on top."""
    figures: dict[str, Any] = {}
    for name, runs in done.items():
        own = of_common_seeds({name: runs})[name]
        figures[NAMES[name]] = compare(own) | {"measured_at": measured_at(own)}
    if options.trial:
        print(figures)
        return
    summary = figures.get(MOVIES, {})
    shown = {
        k: summary[k] for k in ("coverage_gain", "arp_drop", "ndcg10_loss", "balanced_ndcg10_gain") if k in summary
    }
    seconds = sum(float(run["seconds"]) for runs in done.values() for run in runs.values())
    store("popularity", shown | figures, seconds, sorted({seed for runs in done.values() for seed in runs}))


def compare(runs: list[Measured]) -> dict[str, Any]:
    """Relative changes, means over seeds, with intervals over users."""
    users, balance = runs[0]["user"], runs[0]["balance"]
    _, member = np.unique(users, return_inverse=True)

    def mean_of(metric: str) -> np.ndarray:
        """Over seeds, of every choice."""
        return np.mean([run[metric] for run in runs], axis=0)

    def rare(metric: str) -> np.ndarray:
        """Each user's share of the balanced test set's total."""
        return np.bincount(member, balance * mean_of(metric))

    before, after = (mean_by_user(users, mean_of(f"ndcg@10 {when}")) for when in ("before", "after"))
    shown = [mean_by_user(users, mean_of(f"arp@10 {when}")) for when in ("before", "after")]
    rare_before, rare_after = rare("ndcg@10 before"), rare("ndcg@10 after")
    reach = [float(np.mean([run[f"coverage@10 {when}"] for run in runs])) for when in ("before", "after")]
    return {
        "coverage_gain": round(reach[1] / reach[0] - 1, 4),
        "arp_drop": round(float(1 - shown[1].mean() / shown[0].mean()), 4),
        "arp_drop_ci95": relative_interval(shown[0] - shown[1], shown[0]),
        "ndcg10_loss": round(float(1 - after.mean() / before.mean()), 4),
        "ndcg10_loss_ci95": relative_interval(before - after, before),
        "balanced_ndcg10_gain": round(float(rare_after.sum() / rare_before.sum() - 1), 4),
        "balanced_ndcg10_gain_ci95": relative_interval(rare_after - rare_before, rare_before),
        "before": {
            "ndcg10": rounded(before.mean()),
            "coverage10": rounded(reach[0]),
            "arp10": rounded(shown[0].mean()),
        },
        "after": {"ndcg10": rounded(after.mean()), "coverage10": rounded(reach[1]), "arp10": rounded(shown[1].mean())},
        "validation_changes": {
            name: rounded(np.mean([run["valid"][place] for run in runs]))
            for place, name in enumerate(("arp@10", "coverage@10", "ndcg@10"))
        },
        "by_seed": {
            "coverage_gain": [rounded(run["coverage@10 after"] / run["coverage@10 before"] - 1) for run in runs],
            "ndcg10_loss": [rounded(1 - of_seed(run, "after") / of_seed(run, "before")) for run in runs],
        },
        "effect_on_choice": [rounded(value) for value in np.mean([run["effect"] for run in runs], axis=0)],
        "users": len(before),
        "choices": len(users),
        "seeds": len(runs),
    }


def of_seed(run: Measured, when: str) -> float:
    """NDCG@10 of one seed, the mean over users of each one's mean."""
    return float(mean_by_user(run["user"], run[f"ndcg@10 {when}"]).mean())


def rounded(value: Any) -> float:
    """To four digits."""
    return round(float(value), 4)


if __name__ == "__main__":
    main()
