"""The runs that the tables of quality are made of, with the settings that search.py found best for them."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import RESULTS
from offline_runs import Job, prepared
from trials import OURS, Settings, trials

from llm4rec.cluster.baselines import MAKERS
from llm4rec.schema import SplitName

POPULAR = "popular"
ALONE = f"{OURS}_network"
"""Our network without the gate."""
DEBIASED = f"{OURS}_debias_1"
"""Our model with the popularity of slates corrected as far as `index.debias_loss` allows."""
DEBIAS, DIVERSITY = 0.75, 0.5
"""What tradeoff.py's rule chose on ML-1M's validation part, of a training on a GPU; of one on a core it chooses .75 and
.4 (tradeoff.json). Kept, since it was settled before its figures of the test part were seen."""
VARIED = f"{OURS}_debias_{DEBIAS}_diversity_{DIVERSITY}"
GATED = "gate 2"
"""Another name, should the gate change: figures of ours are kept by it."""
QUESTIONS = {
    OURS: GATED,
    ALONE: "network",
    DEBIASED: f"{GATED} debias",
    VARIED: f"{GATED} debias {DEBIAS} diversity {DIVERSITY}",
}
"""What is asked of one trained model of ours, by row; figures are kept under these words. Only the first row is
compared with those of others."""
WITH_GATE = {"sasrec_gated": "sasrec", "hstu_gated": "hstu"}
"""Baselines whose scores are logits, behind a gate as ours has."""
MODELS = [*QUESTIONS, *WITH_GATE, POPULAR, *MAKERS]
DRAWS_NOTHING = {POPULAR, "item_knn", "item_knn_last", "ease", "ease_decayed"}
SPLITS: dict[str, SplitName] = {"": "leave_one_out", " temporal": "temporal"}
TABLES = {
    data + ending: (data, SPLITS[ending])
    for data, endings in {"ml-1m-seq": [""], "ml-100k": SPLITS, "ml-latest-small": SPLITS}.items()
    for ending in endings
}
SEARCH = RESULTS / "search.json"


def table_jobs(table: str, models: Sequence[str], options: argparse.Namespace) -> list[Job]:
    """The runs of one table, of models whose settings have been searched for."""
    jobs = []
    for model in models:
        settings = best_settings(table, model)
        if settings is None:
            print(f"{table}: {model} is not run: {not_searched(table, model)}", flush=True)
            continue
        if model != POPULAR:
            require_searched_here(table, model, settings, options)
        seeds = options.seeds[: 1 if model in DRAWS_NOTHING else None]
        jobs += [new_job(table, model, settings, seed, options) for seed in seeds]
    return jobs


def require_searched_here(table: str, model: str, settings: Settings, options: argparse.Namespace) -> None:
    """End the process where settings were found on other data than this: they may know what this part is to hide."""
    trained = trained_as(model)
    here = Path(new_job(table, trained, settings, 0, options).file).stem
    if not options.trial and here not in {trial["training"] for trial in tried(table, model)}:
        sys.exit(
            f"error: the trials of {trained} on {table} in search.json were made on other data; run python "
            f'benchmarks/search.py --tables "{table}" --models {trained}'
        )


def settings_of(job: Job) -> Settings:
    """What search.py chose for a job's model."""
    table, model = job.name.split(":")
    return best_settings(table, model) or {}


def best_settings(table: str, model: str) -> Settings | None:
    """The settings that search.py found best of those it tries; None if it has not looked."""
    if model == POPULAR:
        return {}
    found = tried(table, model)
    return max(found, key=lambda trial: trial["ndcg10"])["settings"] if found else None


def tried(table: str, model: str) -> list[dict[str, Any]]:
    """The trials that count of what a row is trained as."""
    known = json.loads(SEARCH.read_text())["figures"] if SEARCH.exists() else {}
    trained = trained_as(model)
    return [trial for trial in known.get(table, {}).get(trained, []) if trial["settings"] in trials(table, trained)]


def trained_as(model: str) -> str:
    """The model that is trained for a row."""
    return OURS if model in QUESTIONS else WITH_GATE.get(model, model)


def found_best(table: str, model: str) -> Settings:
    """The same, for who cannot do without; ends the process where search.py has not looked."""
    settings = best_settings(table, model)
    if settings is None:
        sys.exit(f"error: {not_searched(table, model)}")
    return settings


def not_searched(table: str, model: str) -> str:
    """What is missing where a row has no settings, and the command that finds them."""
    wanted = trained_as(model)
    return (
        f"search.json has no trial of {wanted} on {table} that trials.py still has; run python "
        f'benchmarks/search.py --tables "{table}" --models {wanted}'
    )


def new_job(table: str, model: str, settings: Settings, seed: int, options: argparse.Namespace) -> Job:
    """The run of a model with these settings and the defaults beside them."""
    data, split = TABLES[table]
    baseline = WITH_GATE.get(model, model)
    section = "train" if model in QUESTIONS else f"baselines.{baseline}"
    overrides = [] if model == POPULAR else [f"{section}={json.dumps(settings)}"]
    config, run = prepared(data, options, [*overrides, f"run.split={split}"])
    if model in QUESTIONS:
        same = "" if model == OURS else f"{table}:{OURS}"
        name, asked = f"{table}:{model}", QUESTIONS[model]
        asked += f" of {config.recommend.candidates}" if model == VARIED else ""
        return Job(name, seed, run, config, tune=False, question=asked, trained_as=same)
    asked = GATED if model in WITH_GATE else ""
    return Job(f"{table}:{model}", seed, run, config, tune=False, question=asked, baseline=baseline)


def half_searched(table: str, model: str) -> str:
    """How many of a model's trials have been run, where that is not all."""
    if model == POPULAR:
        return ""
    done, wanted = len(tried(table, model)), len(trials(table, trained_as(model)))
    return f"{done} of {wanted}" if done < wanted else ""
