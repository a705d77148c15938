"""What each modality adds: our model with ids alone, with one modality at a time, with all of them.

    python benchmarks/fusion.py                # writes benchmarks/results/fusion.json after every run
    python benchmarks/fusion.py --budget 30    # starts no run after half an hour; the next call goes on

ML-1M's sequences with titles, overviews, genres, numbers and posters, leave-one-out: the last item of each user among
all others. Last.fm with the sound and the tags of its artists, in its published split, every test pair a row of its
own. Settings are those of benchmarks/configs, the same for every set; none was searched for. Figures are means over
users of the means over seeds; p-values are of paired bootstraps over users.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from measure import store
from offline_runs import (
    Job,
    Measured,
    aligned,
    arguments,
    by_user,
    finished,
    of_common_seeds,
    prepared,
    read_run,
    trained,
)

from llm4rec.cluster.run_config import RunConfig
from llm4rec.evaluate.bootstrap import confidence_interval, holm, paired_p_value
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.fusion_weights import ALL_ITEMS, summarise
from llm4rec.evaluate.metrics import hit_rate, ndcg
from llm4rec.evaluate.protocol import HISTORY_SPLITS, EvaluationSet
from llm4rec.evaluate.ranking import rank
from llm4rec.model.scorer import ModelScorer
from llm4rec.schema import TEST, VALID, Corpus

MOVIES, MUSIC = "ml-1m-seq", "lastfm-2k-audio"
IDS, EVERYTHING = "id only", "all"
SETS: dict[str, dict[str, tuple[str, ...] | None]] = {
    MOVIES: {
        IDS: (),
        EVERYTHING: None,
        "+text": ("text",),
        "+categories": ("categories",),
        "+numbers": ("numbers",),
        "+image": ("image",),
    },
    MUSIC: {IDS: (), EVERYTHING: None, "+sound": ("sound",), "+tags": ("tags",)},
}
NAMES = [f"{data}:{name}" for data, sets in SETS.items() for name in sets]
SAMPLES = 10_000


def main() -> None:
    """Run what is chosen and not yet done, and store the figures of all that is."""
    options = arguments(__doc__, NAMES)
    targets = {data: prepared(data, options) for data in SETS if any(name.startswith(data) for name in options.models)}
    jobs = [
        Job(name, seed, targets[data][1], chosen(targets[data][0], name), options.tune)
        for seed in options.seeds
        for name in options.models
        for data in [name.partition(":")[0]]
    ]
    done: dict[str, dict[int, Measured]] = {}
    for job, measured in finished(jobs, ablate, options):
        done.setdefault(job.name, {})[job.seed] = measured
        report(done, options)


def chosen(config: RunConfig, name: str) -> RunConfig:
    """The settings with the set of modalities that a name stands for."""
    data, _, modalities = name.partition(":")
    model = config.train.model.model_copy(update={"modalities": SETS[data][modalities]})
    return config.model_copy(update={"train": config.train.model_copy(update={"model": model})})


def ablate(job: Job) -> Measured:
    """Train on one set of modalities and rank for every user."""
    corpus, features = read_run(job.run)
    if job.name.startswith(MUSIC):
        corpus = published_split(corpus, Path(job.config.source.path, "lfm2k.inter"))
    scorer = trained(job, corpus, features)
    rows = every_pair(corpus, VALID if job.tune else TEST)
    ranked = rank(scorer, rows, EvaluateConfig())
    measured = {"user": rows.users, "ndcg@10": ndcg(ranked.target_rank, 10), "hr@10": hit_rate(ranked.target_rank, 10)}
    return measured | {f"weight {name}": np.array(weight) for name, weight in weights(scorer, corpus).items()}


def published_split(corpus: Corpus, file: Path) -> Corpus:
    """The corpus with the split that the file's column `x_label` says."""
    labels = pd.read_csv(file, sep="\t", dtype=str).set_index(["userID", "itemID"])["x_label"].astype(int)
    pairs = [
        (corpus.user_ids[user], corpus.item_ids[item])
        for user, item in zip(corpus.interactions.user, corpus.interactions.item, strict=True)
    ]
    split = labels.loc[pairs].to_numpy().astype(np.int32)
    return replace(corpus, interactions=replace(corpus.interactions, split=split))


def every_pair(corpus: Corpus, split: int) -> EvaluationSet:
    """A row for each interaction of the split, not only for the first of each user."""
    first = EvaluationSet.build(corpus, split)
    part, histories = corpus.part(split), corpus.histories(*HISTORY_SPLITS[split])
    kept = np.array([len(histories[user]) > 0 for user in part.user]) & (part.item < corpus.num_warm_items)
    users = part.user[kept]
    return replace(first, users=users, histories=[histories[user] for user in users], targets=part.item[kept])


def weights(scorer: ModelScorer, corpus: Corpus) -> dict[str, float]:
    """The mean weight of each modality over the items that have it."""
    alpha, present = (tensor.detach().cpu().numpy() for tensor in scorer.model.modality_weights())
    found = summarise(alpha, present, sorted(scorer.model.shape.widths), corpus.train_popularity())
    return found[ALL_ITEMS][ALL_ITEMS]["weights"] if found else {}


def report(done: dict[str, dict[int, Measured]], options: argparse.Namespace) -> None:
    """Store the figures so far; a trial is only shown."""
    figures: dict[str, Any] = {}
    for data in SETS:
        own = {name.partition(":")[2]: runs for name, runs in done.items() if name.startswith(f"{data}:")}
        if own and (runs := of_common_seeds(own)):
            figures |= {data: compare(runs)}
    movies = figures.get(MOVIES, {})
    summary = {"ndcg10": movies.get("ndcg10", {}), "p_value": movies.get("p_value", {}).get(EVERYTHING)}
    seconds = sum(float(run["seconds"]) for runs in done.values() for run in runs.values())
    if options.trial:
        print({data: found["ndcg10"] for data, found in figures.items()}, flush=True)
    else:
        complete = [seed for seed in options.seeds if all(seed in runs for runs in done.values())]
        store("fusion", summary | figures, seconds, complete)


def compare(runs: dict[str, list[Measured]]) -> dict[str, Any]:
    """Figures of every set of modalities, and each against ids alone."""
    found: dict[str, Any] = {"seeds": {name: len(of_seeds) for name, of_seeds in runs.items()}}
    for metric in ("ndcg@10", "hr@10"):
        values = aligned({name: by_user(of_seeds, metric) for name, of_seeds in runs.items()})
        short = metric.replace("@", "")
        found[short] = {name: round(float(array.mean()), 4) for name, array in values.items()}
        found[f"{short}_ci95"] = {name: interval(array) for name, array in values.items()}
        if metric == "ndcg@10" and IDS in values:
            others = [name for name in values if name != IDS]
            gains = {name: values[name] - values[IDS] for name in others}
            found["gain"] = {name: round(float(gain.mean()), 4) for name, gain in gains.items()}
            found["gain_ci95"] = {name: interval(gain) for name, gain in gains.items()}
            found["p_value"] = {name: paired_p_value(values[name], values[IDS], SAMPLES, 0) for name in others}
            found["p_value_holm"] = holm(found["p_value"])
    found["by_seed"] = {name: [round(float(run["ndcg@10"].mean()), 4) for run in rs] for name, rs in runs.items()}
    found["weights"] = {name: mean_weights(of_seeds) for name, of_seeds in runs.items() if name == EVERYTHING}
    found["seconds_a_run"] = round(float(np.mean([run["seconds"] for of_seeds in runs.values() for run in of_seeds])))
    return found


def interval(values: np.ndarray) -> list[float]:
    """The 95 % interval of a mean over users."""
    return [round(bound, 4) for bound in confidence_interval(values, SAMPLES, 0)]


def mean_weights(runs: Sequence[Measured]) -> dict[str, float]:
    """The fusion's weights, averaged over seeds."""
    names = [name for name in runs[0] if name.startswith("weight ")]
    return {name.removeprefix("weight "): round(float(np.mean([run[name] for run in runs])), 3) for name in names}


if __name__ == "__main__":
    main()
