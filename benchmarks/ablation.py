"""What each part of the method adds: our model as it is, and with one part taken out or put in.

    python benchmarks/ablation.py                                        # hours on two cores; goes on where it was cut
    python benchmarks/ablation.py --tables "ml-100k temporal" --seeds 0  # a part of it; the file tells of all
    python benchmarks/ablation.py --budget 30                            # starts no run after half an hour

Writes benchmarks/results/ablation.json, by table, docs/images/ablation.png, and like quality.py what was measured of
every user. The tables, the settings (those that search.py found best for our model, which a variant has too but for
what it changes) and the metrics are quality.py's. Of the paper's five parts fusion, retrieval and debiasing are here,
and beside them the gate and what pre-training of the backbone brings; each is measured behind a gate of its own. The
other two parts are no part of this training: what the objective of explanations does is in explanations.json, what
online updates do in online.json. Gains are over the model as it is; figures are means over users of means over the
seeds that a variant and the model as it is have in common, intervals and p-values of paired bootstraps over users,
p-values corrected for all comparisons of a table (Holm).
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from measure import HOME, RESULTS, store
from offline_runs import Job, arguments, finished
from quality import MAIN_SPLIT, SAMPLES, compete, of_seed, on_validation, rounded
from quality_runs import ALONE, TABLES, found_best, new_job
from trials import OURS, Settings
from user_figures import OfSeed, publish, published, seeds_of

from llm4rec.evaluate.bootstrap import confidence_interval, holm, paired_p_value

VARIANTS: dict[str, Settings] = {
    OURS: {},
    ALONE: {},
    "ids_alone": {"model": {"modalities": []}},
    "text_alone": {"model": {"modalities": ["text"]}},
    "no_evidence": {"model": {"num_retrieved": 0}},
    "causal_loss": {"causal_weight": 0.1},
    "random_backbone": {"model": {"pretrained": False}},
}
"""What they change of the train section: of fusion, fusion, retrieval, debiasing, pre-training."""
LABELS = {
    ALONE: "without the gate",
    "ids_alone": "ids alone, no content",
    "text_alone": "text alone, no categories",
    "no_evidence": "no retrieved neighbours",
    "causal_loss": "with the propensity-weighted loss",
    "random_backbone": "backbone not pre-trained",
}
MIDDLE: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8}
MAIN = [table for table, (data, split) in TABLES.items() if split == MAIN_SPLIT[data]]
ABLATION = RESULTS / "ablation.json"
METRICS = ("ndcg@10", "hr@10", "ild@10", "arp@10")


def main() -> None:
    """Run what is chosen and not yet done, and store the figures of all that is done of those tables."""
    options = arguments(__doc__, list(VARIANTS), MAIN)
    jobs = [
        variant(table, name, seed, options)
        for seed in options.seeds
        for table in options.tables
        for name in options.models
    ]
    todo = [job for job in jobs if options.trial or published(job) is None]
    try:
        for job, measured in finished(todo, compete, options):
            one, changed = of_seed(job, measured), VARIANTS[job.name.split(":")[1]]
            if options.trial:
                print(job.name, job.seed, on_validation(measured), flush=True)
            elif changed:
                publish(job, replace(one, told={**one.told, "settings": changed}))
            else:
                publish(job, one)
    finally:  # a run that fails costs no other's figures
        if not options.trial:
            report(options)


def report(options: argparse.Namespace) -> None:
    """Store and draw all that has been measured."""
    found: dict[str, Any] = json.loads(ABLATION.read_text())["figures"] if ABLATION.exists() else {}
    runs: list[OfSeed] = []
    for table in options.tables:
        done = {name: done_before(table, name, options) for name in VARIANTS}
        runs += [one for of_seeds in done.values() for one in of_seeds.values()]
        if figures := compared(done):
            found[table] = figures
    if not runs or not found:
        print("nothing has been measured of these tables that a variant can be compared with")
        return
    seeds = sorted({one.told["seed"] for one in runs})
    store("ablation", found, sum(one.told["seconds"] for one in runs), seeds)
    plot(found, HOME / "docs" / "images" / "ablation.png")


def variant(table: str, name: str, seed: int, options: argparse.Namespace) -> Job:
    """The run of a variant."""
    settings, changed = found_best(table, OURS), VARIANTS[name]
    model = settings.get("model", {}) | changed.get("model", {})
    job = new_job(table, name if name == ALONE else OURS, settings | changed | {"model": model}, seed, options)
    return replace(job, name=f"{table}:{name}")


def done_before(table: str, name: str, options: argparse.Namespace) -> dict[int, OfSeed]:
    """What was measured of a variant, by seed."""
    jobs = [variant(table, name, seed, options) for seed in seeds_of(table)]
    return {job.seed: one for job in jobs if (one := published(job)) is not None}


def compared(done: Mapping[str, Mapping[int, OfSeed]]) -> dict[str, Any]:
    """Variants beside the model as it is."""
    figures: dict[str, Any] = {metric.replace("@", ""): {} for metric in METRICS}
    gains: dict[str, np.ndarray] = {}
    p_values: dict[str, float] = {}
    figures["seeds"] = {}
    for name, runs in done.items():
        common = sorted(set(runs) & set(done[OURS]))
        if not common:
            continue
        for metric in METRICS:
            own = np.mean([runs[seed].by_user[metric] for seed in common], axis=0)
            figures[metric.replace("@", "")][name] = rounded(np.nanmean(own))
            if metric == "ndcg@10" and name != OURS:
                full = np.mean([done[OURS][seed].by_user[metric] for seed in common], axis=0)
                gains[name], p_values[name] = own - full, paired_p_value(own, full, SAMPLES, 0)
        figures["seeds"][name] = len(common)
    if not gains:
        return {}
    figures["gain"] = {name: rounded(gain.mean()) for name, gain in gains.items()}
    figures["gain_ci95"] = {
        name: [rounded(bound) for bound in confidence_interval(gain, SAMPLES, 0)] for name, gain in gains.items()
    }
    figures["p_holm"] = holm(p_values)
    figures["measured_at"] = sorted({one.told["git"] for runs in done.values() for one in runs.values()})
    return figures


def plot(found: Mapping[str, Any], path: Path) -> None:
    """Gain and interval of every variant, the tables side by side."""
    size = (1.8 + 2.6 * len(found), 3.4)
    figure, axes = plt.subplots(
        1, len(found), figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for panel, (table, figures) in zip(axes[0], found.items(), strict=True):
        gains = [figures["gain"].get(name, np.nan) for name in LABELS]
        bounds = np.array([figures["gain_ci95"].get(name, [np.nan, np.nan]) for name in LABELS])
        rows = np.arange(len(LABELS))
        panel.axvline(0, color="0.7", linewidth=1)
        panel.hlines(rows, *bounds.T, color="tab:blue")
        panel.plot(gains, rows, "o", color="tab:blue")
        panel.set(title=table, xlabel="gain of NDCG@10 (95 %)", yticks=rows, yticklabels=LABELS.values())
        panel.margins(x=0.1, y=0.1)
        for row in rows[np.isnan(gains)]:
            panel.text(0.5, row, "not run", transform=panel.get_yaxis_transform(), color="0.5", **MIDDLE)
    axes[0, 0].invert_yaxis()
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
