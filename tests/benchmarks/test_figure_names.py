"""The names under which benchmarks of quality keep figures: of what is trained, and of nothing else."""

import argparse
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from measure import HOME
from offline_runs import Job, Measured, finished

from llm4rec.artifacts import RunStore
from llm4rec.cluster.run_config import load_run


def name(run: Path, changed: str = "") -> str:
    """Of a training of SASRec on a corpus of which one file is another."""
    with RunStore(str(run)).write("corpus", {"run": changed}) as writer:
        for table in ("interactions", "items", "users", "quarantine"):
            writer.write_table(table, pa.table({"row": [len(table) + (table == changed)]}))
        for file in ("corpus.json", "statistics.json"):
            writer.write_json(file, {"changed": file == changed})
        writer.write_bytes("index.html", b"1" if changed == "index.html" else b"0")
    config = load_run(HOME / "benchmarks" / "configs" / "ml-100k.yaml", ["baselines.sasrec={}"], HOME)
    return Job("ml-100k:sasrec", 0, str(run), config, tune=False, baseline="sasrec").training


@pytest.mark.parametrize("changed", ["index.html", "statistics.json", "quarantine"])
def test_a_page_about_the_corpus_does_not_count(tmp_path, changed):
    assert name(tmp_path / "one") == name(tmp_path / "other", changed)


@pytest.mark.parametrize("changed", ["interactions", "items", "users", "corpus.json"])
def test_what_is_trained_from_does(tmp_path, changed):
    assert name(tmp_path / "one") != name(tmp_path / "other", changed)


def test_another_seed_setting_split_or_question_has_another_name(tmp_path):
    name(tmp_path)

    def job(*settings: str, seed: int = 0, question: str = "") -> Job:
        overrides = ["baselines.sasrec={}", *settings]
        config = load_run(HOME / "benchmarks" / "configs" / "ml-100k.yaml", overrides, HOME)
        return Job("ml-100k:sasrec", seed, str(tmp_path), config, tune=False, baseline="sasrec", question=question)

    others = [job("run.split=temporal"), job("baselines.sasrec={epochs: 3}"), job(seed=1), job(question="gate")]
    assert len({one.file for one in [job(), *others]}) == 5
    assert job("train.epochs=3").file == job("evaluate.top_n=5").file == job().file


def test_what_weights_are_estimated_by_counts_where_they_are_used(tmp_path):
    name(tmp_path)

    def training(*settings: str) -> str:
        config = load_run(HOME / "benchmarks" / "configs" / "ml-100k.yaml", list(settings), HOME)
        return Job("ml-100k:llm4rec", 0, str(tmp_path), config, tune=False).training

    weighted, other = "train.causal_weight=0.1", "debias.clip_quantile=0.2"
    assert training("train.causal_weight=0") == training("train.causal_weight=0", other)
    assert training(weighted) != training(weighted, other)
    assert training(weighted) == training(weighted, "debias.effect_model=forest")


def ranks(job: Job) -> Measured:
    """What a run may come to: that of seed 1 fails."""
    if job.seed == 1:
        raise ValueError("no such luck")
    return {"rank": np.array([job.seed])}


def test_a_run_that_fails_costs_no_other_its_figures(tmp_path, capfd):
    name(tmp_path)
    config = load_run(HOME / "benchmarks" / "configs" / "ml-100k.yaml", ["baselines.sasrec={}"], HOME)
    jobs = [Job("ml-100k:sasrec", seed, str(tmp_path), config, tune=False, baseline="sasrec") for seed in (1, 2)]
    options = argparse.Namespace(work=tmp_path / "work", budget=1e9, parallel=1)
    with pytest.raises(SystemExit, match="ml-100k:sasrec, seed 1; what the others measured is kept"):
        list(finished(jobs, ranks, options))
    assert "ml-100k:sasrec, seed 1: failed, ValueError: no such luck" in capfd.readouterr().err
    options.budget = 0
    assert [(job.seed, measured["rank"].tolist()) for job, measured in finished(jobs, ranks, options)] == [(2, [2])]
