"""Who recommends best: our model and its baselines, full ranking, on three collections and two splits.

    python benchmarks/quality.py                                        # all tables, hours; goes on where it was cut
    python benchmarks/quality.py --tables ml-100k --models ease sasrec  # runs these; the file tells of all that was run
    python benchmarks/quality.py --budget 60                            # starts no run after an hour

Writes benchmarks/results/quality_<collection>.json, and into results/users what was measured of every user, of which
the tables are made; so they can grow call by call, on more than one machine. Each model has the settings that were
best on the validation part (search.py); one that was not searched for has no row. Leave-one-out: each user's last
item among all. Temporal: every choice after the cut, from all that the user did before it, a user's figure being the
mean over his choices. Figures are means over users of means over seeds; models that draw nothing have one. Intervals
and p-values are of (paired) bootstraps over users; p-values are corrected (Holm) for all comparisons of ours with
others in a table, seen removed and kept each by themselves, and those of `p_alike` by themselves.
`seconds` says by hardware how long a run took to train and rank, on the mean of those there: the processor's time of
one core, or, where a GPU is named and in rows measured before e711213, the clock's, whatever ran beside it. `peak_gb`
is the memory of its process, the scores of all test rows included.
`llm4rec_debias_1` is llm4rec as a request with `debias: 1` is answered, `llm4rec_debias_0.75_diversity_0.5` as one that
asks for both, at `temperature: 0` and with warm items alone; `llm4rec_network` is the network without the gate. They
are not compared with the others again, and their `seconds` leave out the training, which is that of llm4rec, where its
weights were kept.
`sasrec_gated` and `hstu_gated` are these two behind the gate that ours stands behind, learnt for them on the validation
part, with the settings that were best without a gate (ours are those that were best behind it); `p_alike` compares
models that both have it, and those that both have not. `trials` stands where not all have been run, `left_out` names
what was measured with other settings or data than the rows. Runs were on a GPU or on cores, as they came, also within a
row and a search; `precision: auto` is bfloat16 on the one and on some of the others.
"""

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from kept_state import KeptState
from measure import store
from offline_runs import Job, Measured, arguments, finished, kept_seconds, kept_state, read_run, trained
from quality_runs import (
    ALONE,
    DEBIAS,
    DEBIASED,
    DIVERSITY,
    DRAWS_NOTHING,
    MODELS,
    POPULAR,
    QUESTIONS,
    TABLES,
    VARIED,
    WITH_GATE,
    best_settings,
    half_searched,
    new_job,
    settings_of,
    table_jobs,
)
from trials import OURS
from user_figures import OfSeed, place, publish, published, seeds_of

from llm4rec.baselines.config import PopularConfig
from llm4rec.baselines.popular import Popular
from llm4rec.baselines.sequence import SequenceModel
from llm4rec.cluster.baselines import Baseline, new_baseline
from llm4rec.debias.estimate import estimate
from llm4rec.evaluate.bootstrap import confidence_interval, holm, paired_p_value
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.groups import user_groups
from llm4rec.evaluate.metrics import hit_rate, mean_by_user, ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import RankedLists, Scorer, rank
from llm4rec.evaluate.result import measure
from llm4rec.recommend.gate import Gated, learn_gate
from llm4rec.recommend.prices import learn_prices
from llm4rec.recommend.scorers import Debiased, Varied
from llm4rec.schema import TEST, TEXT, VALID, Corpus, Features, FloatMatrix, FloatVector, History, IntVector, SplitName

MAIN_SPLIT: dict[str, SplitName] = {"ml-1m-seq": "leave_one_out", "ml-100k": "temporal", "ml-latest-small": "temporal"}
GROUPS = {"gender", "age"}
SAMPLES = 10_000
SEEN_REMOVED, SEEN_KEPT = EvaluateConfig(), EvaluateConfig(remove_seen=False)


def main() -> None:
    """Run what is chosen and not yet done, and store the figures of all that is done of those collections."""
    options = arguments(__doc__, MODELS, list(TABLES))
    jobs = [job for table in options.tables for job in table_jobs(table, options.models, options)]
    todo = [job for job in jobs if options.trial or published(job) is None]
    try:
        for job, measured in finished(todo, compete, options):
            if options.trial:
                print(job.name, job.seed, on_validation(measured), flush=True)
            else:
                publish(job, of_seed(job, measured))
    finally:  # a run that fails costs no other's figures
        for data in dict.fromkeys(TABLES[table][0] for table in options.tables if not options.trial):
            report(data, options)


def on_validation(measured: Measured) -> dict[str, float]:
    """NDCG@10 and HR@10 of the validation part, by which alone settings are chosen."""
    users, ranks = measured["valid user"], measured["valid rank"]
    metrics = {"ndcg10": ndcg, "hr10": hit_rate}
    return {name: rounded(mean_by_user(users, metric(ranks, 10)).mean()) for name, metric in metrics.items()}


def compete(job: Job) -> Measured:
    """Train one model and rank with it: the test part for the tables, the validation part for the search."""
    corpus, features = read_run(job.run, job.config.run.split)
    model = job.name.split(":")[1]
    waited = 0.0 if job.baseline or job.trained_as else kept_seconds(job)
    state = kept_state(job)
    network = None if job.baseline else trained(job, corpus, features)
    scorer: Scorer = network or fitted(job, corpus, features, state)
    if (network and model != ALONE) or model in WITH_GATE:
        scorer = gated(scorer, corpus)
    valid, rows = (EvaluationSet.successive(corpus, split) for split in (VALID, TEST))
    twice = Remembering(scorer)
    found: dict[EvaluateConfig, Scorer] = {config: twice for config in (SEEN_REMOVED, SEEN_KEPT)}
    if model in (DEBIASED, VARIED):
        weight, price = prices(scorer, job, corpus, features)
        strength = DEBIAS if model == VARIED else 1
        found = {config: Debiased(twice, price, strength * weight, config) for config in found}
    if network and model == VARIED:
        vectors, candidates = network.item_vectors.float().cpu().numpy(), job.config.recommend.candidates
        found = {config: Varied(one, vectors, DIVERSITY, candidates, config) for config, one in found.items()}
    valid_rank = rank(found[SEEN_REMOVED], valid, SEEN_REMOVED).target_rank
    removed, kept = (rank(one, rows, config) for config, one in found.items())
    return {
        "user": rows.users,
        "rank": removed.target_rank,
        "slate": removed.items,
        "rank kept": kept.target_rank,
        "split_hash": np.array(rows.split_hash),
        "valid user": valid.users,
        "valid rank": valid_rank,
        "kept seconds": np.array(waited + state.seconds),
        "kept peak_gb": np.array(state.peak_gb),
        "kept revisions": np.array(state.revisions, np.str_),
    }


def gated(network: Scorer, corpus: Corpus) -> Scorer:
    """A network behind its gate, as our model is served; the gate has the train and validation parts, like it."""
    gate = learn_gate(network, corpus)
    print(f"gate: scale {gate.scale:.3f}, weight {gate.weight:.3f}, decay {gate.linear.decay:g}, gain {gate.gain:.4f}")
    return Gated(network, gate)


def prices(scorer: Scorer, job: Job, corpus: Corpus, features: Features) -> tuple[FloatVector, FloatVector]:
    """How much each user's slates pay, and what each item's place costs, fitted on the validation part."""
    settings = job.config.debias.model_copy(update={"effect_on": "choice"})  # chosen or not: sequences have no ratings
    weight = estimate(corpus, features, settings, job.seed).user_weight
    return weight, learn_prices(scorer, corpus, weight, job.config.index.debias_loss).price


class Remembering:
    """A scorer that scores the same rows once, however often it is asked."""

    def __init__(self, scorer: Scorer) -> None:
        self.name, self._scorer = scorer.name, scorer
        self._known: dict[tuple[int, ...], np.ndarray] = {}

    def score(self, users: IntVector, histories: Sequence[History]) -> FloatMatrix:
        """The scorer's scores; rows are known by user and history, which outlive this."""
        key = (*users.tolist(), *map(id, histories))
        if key not in self._known:
            self._known[key] = self._scorer.score(users, histories)
        return self._known[key].copy()


def fitted(job: Job, corpus: Corpus, features: Features, state: KeptState) -> Baseline:
    """The baseline of a job, trained; a network goes on from the state that a process before this one left."""
    if job.baseline == POPULAR:
        return Popular(PopularConfig()).fit(corpus)
    baseline = new_baseline(job.baseline, job.config.baselines, job.seed, features)
    if isinstance(baseline, SequenceModel):
        return baseline.fit(corpus, progress=partial(say, job), checkpoint=state)
    return baseline.fit(corpus)


def say(job: Job, line: str) -> None:
    """Print how a training is getting on."""
    print(f"{job.name}, seed {job.seed}: {line}", flush=True)


def report(data: str, options: argparse.Namespace) -> None:
    """Store the tables of a collection; what is of its main split stands on top."""
    figures: dict[str, Any] = {}
    runs: list[OfSeed] = []
    for table in (table for table in TABLES if TABLES[table][0] == data):
        seeds = seeds_of(table)
        models: dict[str, list[OfSeed]] = {}
        left_out: list[str] = []
        for model, settings in ((model, best_settings(table, model)) for model in MODELS):
            jobs = [new_job(table, model, settings, seed, options) for seed in seeds if settings is not None]
            if found := [one for job in jobs if (one := published(job)) is not None]:
                models[model] = found[: 1 if model in DRAWS_NOTHING else None]
            known = {one.told["seed"] for one in found}
            left_out += [
                f"{model} {seed}" for seed in seeds if seed not in known and place(table, model, seed).exists()
            ]
        if left_out:
            print(f"{table}: not in the table, since measured with other settings, data or questions: {left_out}")
        if models:
            figures[TABLES[table][1]] = compare(models) | ({"left_out": left_out} if left_out else {})
            for model, row in figures[TABLES[table][1]]["models"].items():
                if searched := half_searched(table, model):
                    row["trials"] = searched
            runs += [one for of_seeds in models.values() for one in of_seeds]
    if not figures:
        print(f"nothing has been measured on {data} with the settings that search.py found best")
        return
    first = figures.get(MAIN_SPLIT[data], {})
    summary = {key: first[key] for key in ("ndcg10", "hr10", "p_value") if key in first}
    revisions = {"measured_at": sorted({revision for one in runs for revision in one.told["git"].split(" and ")})}
    seconds = sum(one.told["seconds"] for one in runs)
    store(f"quality_{data}", summary | figures | revisions, seconds, sorted({one.told["seed"] for one in runs}))


def compare(models: Mapping[str, Sequence[OfSeed]]) -> dict[str, Any]:
    """One table: every model's figures, and ours against each other one."""
    rows = {name: figures_of(runs) for name, runs in models.items()}
    gains = {name: by_user["ndcg@10"] for name, (by_user, _) in rows.items()}
    told = [one.told for runs in models.values() for one in runs]
    (split_hash,) = {words["split_hash"] for words in told}
    found: dict[str, Any] = {
        "split_hash": split_hash,
        "users": len(next(iter(gains.values()))),
        "choices": told[0]["choices"],
        "items": told[0]["items"],
    }
    for metric in ("ndcg@10", "hr@10"):
        found[metric.replace("@", "")] = {name: rounded(by_user[metric].mean()) for name, (by_user, _) in rows.items()}
    others = [name for name in gains if name not in QUESTIONS and name not in WITH_GATE]
    if OURS in gains and others:
        for metric in ("ndcg@10", "ndcg@10 seen kept"):
            raw = {name: paired_p_value(rows[OURS][0][metric], rows[name][0][metric], SAMPLES, 0) for name in others}
            found["p_holm" + metric.removeprefix("ndcg@10")] = holm(raw)
        found["best_other"] = max(others, key=lambda name: gains[name].mean())
        found["p_value"] = found["p_holm"][found["best_other"]]
        gain = gains[OURS] - gains[found["best_other"]]
        found["gain_ci95"] = [rounded(bound) for bound in confidence_interval(gain, SAMPLES, 0)]
        pairs = [(OURS, name) for name in WITH_GATE] + [(ALONE, found["best_other"])]
        pairs = [(one, other) for one, other in pairs if one in gains and other in gains]
        alike = {f"{one} over {other}": paired_p_value(gains[one], gains[other], SAMPLES, 0) for one, other in pairs}
        found["p_alike"] = holm(alike)
        for one, other in pairs:
            bounds = confidence_interval(gains[one] - gains[other], SAMPLES, 0)
            found.setdefault("gain_alike", {})[f"{one} over {other}"] = [rounded(bound) for bound in bounds]
    found["models"] = {name: row for name, (_, row) in rows.items()}
    return found


def figures_of(runs: Sequence[OfSeed]) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A model's metrics by user, averaged over seeds, and the row of the table that they make."""
    by_user = {metric: np.mean([run.by_user[metric] for run in runs], axis=0) for metric in runs[0].by_user}
    row: dict[str, Any] = {metric: rounded(np.nanmean(values)) for metric, values in by_user.items()}
    row |= {metric: rounded(np.mean([run.overall[metric] for run in runs])) for metric in runs[0].overall}
    intervals = {m: confidence_interval(by_user[m], SAMPLES, 0) for m in ("ndcg@10", "hr@10", "ild@10", "arp@10")}
    row["ci95"] = {metric: [rounded(bound) for bound in interval] for metric, interval in intervals.items()}
    row["settings"] = runs[0].told["settings"]
    row["seeds"] = len(runs)
    row["ndcg@10 by seed"] = [rounded(run.by_user["ndcg@10"].mean()) for run in runs]
    machines: dict[str, list[float]] = {}
    for run in runs:
        machines.setdefault(run.told["hardware"], []).append(run.told["seconds"])
    row["seconds"] = {hardware: round(float(np.mean(of_runs))) for hardware, of_runs in machines.items()}
    row["peak_gb"] = round(max(run.told["peak_gb"] for run in runs), 2)
    return by_user, row


BY_USER = ("ndcg@10", "hr@10", "ndcg@10 seen kept", "hr@10 seen kept", "ild@10", "arp@10")
"""Metrics that are kept of every user; of others the mean is."""


def of_seed(job: Job, run: Measured) -> OfSeed:
    """Metrics by user, and those that are of all users together."""
    model, users = job.name.split(":")[1], run["user"]
    corpus, features = read_run(job.run, job.config.run.split)
    one_row_a_user = len(np.unique(users)) == len(users)
    names = GROUPS & set(corpus.users.column_names) if one_row_a_user else set()
    groups = {attribute: user_groups(corpus, attribute, users) for attribute in sorted(names)}
    text = features[TEXT].vectors[: corpus.num_warm_items]
    scores = np.zeros(run["slate"].shape, np.float32)
    removed = RankedLists(run["rank"], run["slate"], scores)
    result = measure(model, removed, corpus, SEEN_REMOVED, seconds=0.0, text_vectors=text, groups=groups)
    kept = RankedLists(run["rank kept"], run["slate"], scores)
    with_seen = measure(model, kept, corpus, SEEN_KEPT, seconds=0.0).per_user
    of_rows = dict(result.per_user) | {f"{metric} seen kept": with_seen[metric] for metric in ("ndcg@10", "hr@10")}
    values = {metric: mean_by_user(users, found) for metric, found in of_rows.items()}
    told = {name: float(run[name]) for name in ("seconds", "peak_gb")} | {
        "split_hash": str(run["split_hash"]),
        "choices": len(users),
        "items": corpus.num_warm_items,
        "seed": job.seed,
        "settings": settings_of(job),
        "training": Path(job.file).stem,
        "git": str(run["git"]),
        "hardware": str(run["hardware"]),
    }
    means = {metric: float(np.nanmean(found)) for metric, found in values.items() if metric not in BY_USER}
    by_user = {metric: values[metric].astype(np.float32) for metric in BY_USER}
    return OfSeed(by_user, means | {metric: float(value) for metric, value in result.overall.items()}, told)


def rounded(value: Any) -> float:
    """To four digits."""
    return round(float(value), 4)


if __name__ == "__main__":
    main()
