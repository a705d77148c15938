"""What the correction of popularity buys and costs: coverage, popularity shown, accuracy, before and after.

    python benchmarks/popularity.py    # writes benchmarks/results/popularity.json

ML-1M's sequences, leave-one-out, with the models of `fusion.py` with all modalities (trained if they are not kept), and
the temporal split of ml-latest-small, with the effect of popularity on being chosen in both. Prices are fitted on the
validation split with the limit of `index.debias_loss`; the figures are of the test split, at debias 1 against debias 0.
The balanced test set weighs users so that every item that is anybody's target counts alike.
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

from llm4rec.debias.estimate import estimate
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.metrics import average_popularity, coverage, ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import rank
from llm4rec.evaluate.result import train_popularity
from llm4rec.recommend.prices import learn_prices
from llm4rec.recommend.scorers import Debiased, OfStates
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
    rows, popularity = EvaluationSet.build(corpus, TEST), train_popularity(corpus)
    plain = OfStates.of(scorer.user_states(rows.users, rows.histories), scorer, rows)
    effect = effects.summary["popularity_effect"]
    measured: Measured = {
        "user": rows.users,
        "balance": 1 / np.bincount(rows.targets)[rows.targets],
        "effect": np.array([effect["effect"], *effect["ci95"]] if effect else [np.nan] * 3),
        "valid": np.array([prices.changes[name] for name in sorted(prices.changes)]),
    }
    for when, model in (("before", plain), ("after", Debiased(plain, prices.price, effects.user_weight, config))):
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
        figures[NAMES[name]] = compare(of_common_seeds({name: runs})[name])
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
    before, after = (np.mean([run[f"ndcg@10 {when}"] for run in runs], axis=0) for when in ("before", "after"))
    shown = [np.mean([run[f"arp@10 {when}"] for run in runs], axis=0) for when in ("before", "after")]
    reach = [float(np.mean([run[f"coverage@10 {when}"] for run in runs])) for when in ("before", "after")]
    even, balance = np.ones(len(before)), runs[0]["balance"]
    return {
        "coverage_gain": round(reach[1] / reach[0] - 1, 4),
        "arp_drop": round(float(1 - shown[1].mean() / shown[0].mean()), 4),
        "ndcg10_loss": round(float(1 - after.mean() / before.mean()), 4),
        "ndcg10_loss_ci95": relative_interval(before - after, before, even),
        "balanced_ndcg10_gain": round(float((after * balance).sum() / (before * balance).sum() - 1), 4),
        "balanced_ndcg10_gain_ci95": relative_interval(after - before, before, balance),
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
        "effect_on_choice": [rounded(value) for value in np.mean([run["effect"] for run in runs], axis=0)],
        "users": len(before),
        "seeds": len(runs),
    }


def rounded(value: Any) -> float:
    """To four digits."""
    return round(float(value), 4)


if __name__ == "__main__":
    main()
