"""The whole pipeline through `ray job submit`: artifacts, skipping, damage, kills, bad input."""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from llm4rec.artifacts import RunStore
from llm4rec.cluster.catalogue import LiveCatalogue
from llm4rec.cluster.checkpoint import STATE
from llm4rec.cluster.explainer import read_explainer
from llm4rec.cluster.grounding import Grounding
from llm4rec.cluster.local import LocalCluster
from llm4rec.cluster.reasons import LanguageModelWriter
from llm4rec.cluster.run_config import load_run
from llm4rec.cluster.serve import vocabulary_of
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.debias.estimate import estimate
from llm4rec.debias.result import read_effects
from llm4rec.evaluate.config import EvaluateConfig
from llm4rec.evaluate.metrics import ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import rank
from llm4rec.model.scorer import ModelScorer
from llm4rec.schema import SLATE_SCHEMA, TEST, TRAIN, VALID, Corpus, read_features
from llm4rec.train.state import read_model
from tests.ray.conftest import HOME, SMOKE, Jobs, wait_for_tasks

pytestmark = pytest.mark.ray

ARTIFACTS = ("corpus", "features", "effects", "model", "index", "report", "refit/weights", "refit/model", "refit/index")


@pytest.mark.smoke
def test_pipeline_writes_every_artifact(finished_run: Path) -> None:
    store = RunStore(str(finished_run))
    manifests = {name: store.open(name).manifest for name in ARTIFACTS}
    assert manifests["model"]["inputs"]["corpus"] == manifests["corpus"]["hash"]
    assert manifests["corpus"]["rows"]["quarantine"] == 0
    assert manifests["corpus"]["rows"]["users"] == 150
    metrics = store.open("report").read_json("metrics.json")
    assert set(metrics["models"]) == {"llm4rec", "popular", "item_knn", "item_knn_last_5", "ease", "ials", "sasrec"}
    for figures in metrics["models"].values():
        low, high = figures["ci95"]["ndcg@10"]
        assert 0 <= low <= figures["ndcg@10"] <= high <= 1
    assert b"<html" in store.open("report").read_bytes("index.html")
    assert not list((finished_run / ".train").iterdir()), "checkpoints are removed once the model is sealed"


def test_debias_weights_are_normalised_and_not_all_alike(finished_run: Path) -> None:
    store = RunStore(str(finished_run))
    weights = store.open("effects").read_table("weights")["weight"].to_numpy()
    train = weights[weights > 0]
    assert train.mean() == pytest.approx(1, abs=1e-3)
    assert train.std() > 0.1
    assert store.open("model").manifest["inputs"]["effects"] == store.open("effects").hash


def test_effects_do_not_depend_on_where_their_fits_ran(finished_run: Path) -> None:
    """The maths does not know Ray: in this process it finds what the stage's tasks found."""
    store, config = RunStore(str(finished_run)), load_run(SMOKE, home=HOME)
    corpus = Corpus.read(store.open("corpus"))
    here = estimate(corpus, read_features(store.open("features"), corpus.item_ids), config.debias, config.run.seed)
    there = read_effects(store.open("effects"))
    np.testing.assert_allclose(here.user_effect, there.user_effect, rtol=1e-4, atol=1e-6)
    # On a CPU with AVX2 alone they differed by 2e-4; what rounds otherwise there was not looked for.
    np.testing.assert_allclose(here.weight, there.weight, rtol=1e-3)
    assert here.summary["warnings"] == there.summary["warnings"]


def test_the_refit_learns_of_what_was_held_out(finished_run: Path) -> None:
    store = RunStore(str(finished_run))
    (point,) = store.open("refit/model").read_json("model.json")["curve"]
    assert "valid_ndcg@10" not in point and 0 < point["loss"] < 8
    weights = store.open("refit/weights").read_table("weights")["weight"].to_numpy()
    assert len(weights) == store.open("corpus").manifest["rows"]["interactions"] and (weights > 0).all()
    assert store.open("refit/model").manifest["inputs"]["refit/weights"] == store.open("refit/weights").hash
    found = store.open("refit/index").read_json("refit.json")
    assert found["ndcg@10"]["refit"] > 0 and found["choices"] > 50
    assert any((finished_run / "logs" / "refit").glob("events.out.tfevents.*"))


@pytest.mark.slow
def test_outcomes_and_protected_attributes_train_under_deepspeed(run_copy: Path, jobs: Jobs) -> None:
    settings = ["debias.outcome_model=true", "train.model.outcome=true", "train.model.protected=[gender]"]
    settings += ["train.adversary_weight=1", "train.parity_weight=1", "train.epochs=1"]
    settings += ["index.repaired=[gender]", "index.repair=0.5"]
    for stage in ("debias", "train", "index", "evaluate", "refit"):
        done = jobs.run(stage, run_copy, *settings)
        assert done.returncode == 0, done.stderr
    store = RunStore(str(run_copy))
    (point,) = store.open("model").read_json("model.json")["curve"]
    assert 0 < point["loss"] < 12
    ablations = store.open("report").read_json("metrics.json")["ablations"]
    whole, nothing = ablations["repair 1"], ablations["repair 0"]
    assert whole["attacker_auc/gender"] != nothing["attacker_auc/gender"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(("train.num_workers=0",), id="plain torch in this process"),
        pytest.param(
            ("train.num_workers=1", "train.zero_stage=0", "train.precision=fp32"),
            id="one worker, no ZeRO, float32",
        ),
    ],
)
def test_other_ways_to_train(run_copy: Path, jobs: Jobs, settings: tuple[str, ...]) -> None:
    (run_copy / "model" / "manifest.json").unlink()  # how it is trained is no reason to train a model anew
    done = jobs.run("train", run_copy, "train.epochs=1", *settings)
    assert done.returncode == 0, done.stderr
    (point,) = RunStore(str(run_copy)).open("model").read_json("model.json")["curve"]
    assert 0 < point["loss"] < 8


def test_rerun_skips_every_stage(finished_run: Path, jobs: Jobs) -> None:
    before = {name: (finished_run / name / "manifest.json").read_bytes() for name in ARTIFACTS}
    done = jobs.run("pipeline", finished_run)
    assert done.returncode == 0, done.stderr
    for name in ARTIFACTS:
        assert f"{name}: complete, skipped" in done.stdout
        assert (finished_run / name / "manifest.json").read_bytes() == before[name]


def test_how_a_model_was_trained_and_is_measured_is_no_reason_to_train_it_anew(run_copy: Path, jobs: Jobs) -> None:
    before = (run_copy / "model" / "manifest.json").read_bytes()
    settings = ("train.num_workers=1", "train.zero_stage=1", "evaluate.bootstrap_samples=7", "evaluate.chunk_size=99")
    done = jobs.run("train", run_copy, *settings)
    assert "model: complete, skipped" in done.stdout + done.stderr
    assert (run_copy / "model" / "manifest.json").read_bytes() == before


def test_probe_job_uses_the_shipped_runtime_env(cluster: LocalCluster) -> None:
    done = subprocess.run(
        cluster.submission(["python", "tests/ray/probe.py"]),
        env={**cluster.environment, "PYTHONPATH": ""},
        cwd=HOME,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for place in ("driver", "worker"):
        (path,) = re.findall(rf"{place} (\S+)", done.stdout)
        assert "runtime_resources" in path, f"{place} imported {path}, not the job's own copy"


def test_relative_paths_are_refused_inside_a_job(cluster: LocalCluster) -> None:
    done = subprocess.run(
        cluster.submission(["env", "-u", "LLM4REC_HOME", "python", "jobs/encode.py", "--config", SMOKE]),
        env=cluster.environment,
        cwd=HOME,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode != 0
    assert "add --home $PWD" in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        ("flip", "corpus: interactions/part-00000.parquet has sha256"),
        pytest.param("truncate", "corpus: interactions/part-00000.parquet has", marks=pytest.mark.slow),
        pytest.param("remove", "corpus: interactions/part-00000.parquet is missing", marks=pytest.mark.slow),
    ],
)
def test_damaged_corpus_is_named_and_refused(run_copy: Path, jobs: Jobs, damage: str, told: str) -> None:
    table = run_copy / "corpus" / "interactions" / "part-00000.parquet"
    data = bytearray(table.read_bytes())
    if damage == "truncate":
        table.write_bytes(data[: len(data) // 2])
    elif damage == "flip":
        data[len(data) // 2] ^= 1
        table.write_bytes(data)
    else:
        table.unlink()
    done = jobs.run("pipeline", run_copy)
    assert done.returncode == 2
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_input_found_by_a_task_is_told_in_one_line(tmp_path: Path, jobs: Jobs) -> None:
    """Of an error that Ray Data wraps, the cause does not arrive."""
    (tmp_path / "log.jsonl").write_text('{"user_id": 1.5, "item_id": "a"}\n')
    config = tmp_path / "mine.yaml"
    config.write_text(
        f"source: {{format: tabular, path: {tmp_path}, tabular: {{interactions: {{file: log.jsonl}}}}}}\n"
    )
    done = jobs.run("preprocess", tmp_path / "run", config=str(config))
    assert done.returncode == 2, done.stderr
    assert done.stderr.rstrip().endswith("column mapped to user_id has type double; it must hold text or whole numbers")
    assert "Traceback" not in done.stderr


def test_preprocess_killed_at_work_redoes_only_what_is_missing(tmp_path: Path, jobs: Jobs) -> None:
    rows = [f"u{n % 97},i{n % 41},{n}" if n % 100 else "cut in ha" for n in range(60_000)]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,t", *rows]))
    config = tmp_path / "mine.yaml"
    config.write_text(
        f"source: {{format: tabular, path: {tmp_path}, tabular: {{interactions: {{file: log.csv, timestamp: t}}}}}}\n"
        "preprocess: {chunk_bytes: 10000, bucket_bytes: 100000}\n"
    )
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert jobs.run("preprocess", whole, config=str(config)).returncode == 0
    driver = jobs.start("preprocess", killed, config=str(config))
    wait_for_tasks(driver, killed, "corpus", "log", 6)
    driver.kill()
    driver.wait()
    done = jobs.run("preprocess", killed, config=str(config))
    assert done.returncode == 0, done.stderr
    (count, total) = map(int, re.findall(r"preprocess: log goes on, (\d+)/(\d+) are done", done.stdout)[0])
    assert 5 < count < total
    expected, found = (RunStore(str(run)).open("corpus") for run in (whole, killed))
    assert found.hash == expected.hash
    assert found.manifest["rows"]["interactions"] == 60_000 - 600
    assert found.manifest["rows"]["quarantine"] == 600
    assert set(found.read_table("quarantine")["reason"].to_pylist()) == {"expected 3 columns, found 1: 'cut in ha'"}
    assert not list((killed / ".work").iterdir())


def test_damaged_weights_are_refused_by_recommend(run_copy: Path, jobs: Jobs, tmp_path: Path) -> None:
    weights = run_copy / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    output = tmp_path / "slates.parquet"
    done = jobs.run("recommend", run_copy, f"recommend.output={output}")
    assert done.returncode == 2
    assert "damaged artifact model: model.safetensors" in done.stderr
    assert not output.exists()


@pytest.mark.smoke
def test_batch_slates_for_all_users(finished_run: Path, jobs: Jobs, tmp_path: Path) -> None:
    output = tmp_path / "slates.parquet"
    done = jobs.run("recommend", finished_run, f"recommend.output={output}")
    assert done.returncode == 0, done.stderr
    table = pq.read_table(output)
    assert table.schema.equals(SLATE_SCHEMA)
    assert len(set(table["user_id"].to_pylist())) == 150
    assert set(table["rank"].to_pylist()) == set(range(1, 11))
    propensity = table["propensity"].to_numpy()
    assert ((propensity > 0) & (propensity <= 1)).all()


@pytest.mark.slow
def test_slates_are_the_same_where_a_worker_is_killed(
    finished_run: Path, jobs: Jobs, tmp_path: Path, cluster: LocalCluster
) -> None:
    whole, cut = tmp_path / "whole.parquet", tmp_path / "cut.parquet"
    done = jobs.run("recommend", finished_run, "recommend.batch_size=1", f"recommend.output={whole}")
    assert done.returncode == 0, done.stderr
    process = jobs.start("recommend", finished_run, "recommend.batch_size=1", f"recommend.output={cut}")
    _wait_for(process, "recommend: batch 3/")
    _worker(cluster, "SlateWorker").send_signal(signal.SIGKILL)
    _wait_for(process, "recommend: a worker was lost")
    assert process.wait(timeout=120) == 0
    assert pq.read_table(cut).equals(pq.read_table(whole))


@pytest.mark.slow
def test_slates_of_items_whose_ids_the_generative_head_writes(run_copy: Path, jobs: Jobs, tmp_path: Path) -> None:
    output, head = tmp_path / "slates.parquet", "index.generative={steps: 50, codebook_size: 8}"
    for stage in ("index", "refit"):
        done = jobs.run(stage, run_copy, head)
        assert done.returncode == 0, done.stderr
        assert "semantic ids: step 50/50" in done.stdout
    ways = (head, "recommend.candidates_from=semantic_ids", "recommend.beams=1", f"recommend.output={output}")
    done = jobs.run("recommend", run_copy, *ways)
    assert done.returncode == 0, done.stderr
    slates = pq.read_table(output).to_pandas().groupby("user_id")["item_id"].agg(set)
    snapshot = Snapshot.open(RunStore(str(run_copy)), load_run(HOME / SMOKE, [f"run.path={run_copy}", head], HOME))
    corpus = snapshot.corpus
    assert snapshot.id_generator is not None and len(slates) == corpus.num_users
    for user, past in enumerate(corpus.histories(TRAIN, VALID, TEST)):
        eligible = np.ones(corpus.num_items, np.bool_)
        eligible[past.item] = False
        state = snapshot.scorer.user_states(np.array([user], np.int32), [past])[0]
        written = snapshot.id_generator.write_ids(state, eligible, beams=10).items
        shared = slates[corpus.user_ids[user]] & {corpus.item_ids[item] for item in written}
        assert len(shared) >= 9  # workers' sums may round otherwise


def test_unknown_users_get_a_line_each_and_stop_nobody(finished_run: Path, jobs: Jobs, tmp_path: Path) -> None:
    known = RunStore(str(finished_run)).open("corpus").read_table("users")["user_id"].to_pylist()[:5]
    wanted = [f"nobody-{n}" for n in range(20)]
    (tmp_path / "users.txt").write_text("\n".join([*wanted[:10], *known, *wanted[10:]]), encoding="utf-8")
    output = tmp_path / "slates.parquet"
    settings = (f"recommend.output={output}", f"recommend.users={tmp_path / 'users.txt'}")
    done = jobs.run("recommend", finished_run, *settings)
    assert done.returncode == 0, done.stderr
    for user in wanted:
        assert done.stdout.count(f"unknown user {user!r}") == 1
    assert set(pq.read_table(output)["user_id"].to_pylist()) == set(known)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        pytest.param(lambda folder: None, "source.path", id="no folder"),
        pytest.param(lambda folder: folder.mkdir(), "ratings.csv", id="empty folder", marks=pytest.mark.slow),
        pytest.param(
            lambda folder: (folder.mkdir(), (folder / "ratings.csv").write_text("")),
            "ratings.csv",
            id="empty file",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_unusable_source_is_one_clear_line(jobs: Jobs, tmp_path: Path, make, told: str) -> None:
    source = tmp_path / "source"
    make(source)
    done = jobs.run("preprocess", tmp_path / "run", f"source.path={source}")
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert str(source) in line or told in line
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "corpus" / "manifest.json").exists()


def test_unparsable_rows_go_to_quarantine(jobs: Jobs, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    lines = ["userId,movieId,rating,timestamp"]
    lines += [f"{user},{item},4.0,{1_000_000 + 10 * user + item}" for user in range(8) for item in range(8)]
    lines.insert(3, "1,2,four stars,1000000")
    (source / "ratings.csv").write_text("\n".join(lines), encoding="utf-8")
    (source / "movies.csv").write_text(
        "movieId,title,genres\n" + "".join(f"{n},Film {n} (1990),Drama\n" for n in range(8)), encoding="utf-8"
    )
    done = jobs.run("preprocess", tmp_path / "run", f"source.path={source}", "preprocess.max_users=null")
    assert done.returncode == 0, done.stderr
    (row,) = RunStore(str(tmp_path / "run")).open("corpus").read_table("quarantine").to_pylist()
    assert row["row"] == 4
    assert "four stars" in row["reason"]


@pytest.mark.parametrize(
    "stage",
    [
        "preprocess",
        *(pytest.param(stage, marks=pytest.mark.slow) for stage in ("encode", "debias", "index", "evaluate", "refit")),
    ],
)
def test_driver_killed_then_run_again(
    finished_run: Path, run_copy: Path, jobs: Jobs, stage: str, request: pytest.FixtureRequest
) -> None:
    artifact = {
        "preprocess": "corpus",
        "encode": "features",
        "debias": "effects",
        "index": "index",
        "evaluate": "report",
        "refit": "refit/index",
    }[stage]
    expected = json.loads((finished_run / artifact / "manifest.json").read_text())["hash"]
    (run_copy / artifact / "manifest.json").unlink()
    process = jobs.start(stage, run_copy)
    _wait_for(process, f"{artifact}: started")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (run_copy / artifact / "manifest.json").exists()
    done = jobs.run(stage, run_copy)
    assert done.returncode == 0, done.stderr
    written = json.loads((run_copy / artifact / "manifest.json").read_text())["hash"]
    if stage != "evaluate":  # the report holds seconds
        assert written == expected


def test_encoder_killed_at_work_is_replaced(
    finished_run: Path, run_copy: Path, jobs: Jobs, cluster: LocalCluster
) -> None:
    expected = json.loads((finished_run / "features" / "manifest.json").read_text())["hash"]
    (run_copy / "features" / "manifest.json").unlink()
    process = jobs.start("encode", run_copy)
    _worker_at_work(cluster, "MapWorker").send_signal(signal.SIGKILL)
    assert process.wait(timeout=120) == 0
    assert json.loads((run_copy / "features" / "manifest.json").read_text())["hash"] == expected


def test_training_survives_a_killed_worker_and_a_killed_driver(
    run_copy: Path, jobs: Jobs, cluster: LocalCluster
) -> None:
    (run_copy / "model" / "manifest.json").unlink()
    settings = ("train.epochs=2", "train.patience=2", "train.num_workers=1")
    process = jobs.start("train", run_copy, *settings)
    _wait_for(process, "train: epoch 1/2, loss")
    _wait_for_checkpoint(run_copy)
    _worker(cluster, "RayTrainWorker").send_signal(signal.SIGKILL)
    _wait_for(process, "train: resumed after epoch")
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = jobs.run("train", run_copy, *settings)
    assert done.returncode == 0, done.stderr
    assert "train: resumed after epoch" in done.stdout + done.stderr
    curve = RunStore(str(run_copy)).open("model").read_json("model.json")["curve"]
    assert [point["epoch"] for point in curve] == [0, 1]


@pytest.mark.slow
def test_a_checkpoint_that_a_power_cut_has_spoilt_costs_its_steps_and_not_the_run(run_copy: Path, jobs: Jobs) -> None:
    """Ray's note names it, and with that Ray would not start again."""
    (run_copy / "model" / "manifest.json").unlink()
    settings = ("train.epochs=2", "train.patience=2")
    process = jobs.start("train", run_copy, *settings)
    _wait_for(process, "train: epoch 1/2, loss")
    _wait_for_checkpoint(run_copy)
    process.send_signal(signal.SIGKILL)
    process.wait()
    for state in (run_copy / ".train").rglob(STATE):
        state.write_bytes(b"")
    done = jobs.run("train", run_copy, *settings)
    assert done.returncode == 0, done.stderr
    assert "train: resumed" not in done.stdout + done.stderr
    curve = RunStore(str(run_copy)).open("model").read_json("model.json")["curve"]
    assert [point["epoch"] for point in curve] == [0, 1]


@pytest.mark.slow
def test_two_workers_killed_in_mid_epoch_cost_steps_not_quality(
    run_copy: Path, jobs: Jobs, cluster: LocalCluster, tmp_path: Path
) -> None:
    settings = ("train.epochs=3", "train.patience=3", "train.checkpoint_steps=10")
    unbroken = Path(shutil.copytree(run_copy, tmp_path / "unbroken"))
    done = jobs.run("train", unbroken, *settings)
    assert done.returncode == 0, done.stderr
    process = jobs.start("train", run_copy, *settings)
    lines: list[str] = []
    places: list[tuple[int, ...]] = []
    for kill in range(2):
        while len(pids := re.findall(r"train: worker 1 of 2 is process (\d+)", "".join(lines))) <= kill:
            lines += _wait_for(process, "train: worker 1 of 2")
        _wait_for_checkpoint(run_copy, after=places[-1] if places else (0, 0))
        psutil.Process(int(pids[-1])).send_signal(signal.SIGKILL)
        lines += _wait_for(process, "train: resumed after epoch")
        places.append(tuple(map(int, re.findall(r"after epoch (\d+), step (\d+)", lines[-1])[0])))
    lines += _wait_for(process, "train: epoch 3/3, loss")
    assert process.wait(timeout=120) == 0
    assert places[0] < places[1] and all(step > 0 for _, step in places)
    curves = [RunStore(str(run)).open("model").read_json("model.json")["curve"] for run in (unbroken, run_copy)]
    assert [point["epoch"] for point in curves[1]] == [0, 1, 2]
    assert curves[1][-1]["loss"] == pytest.approx(curves[0][-1]["loss"], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_training_goes_on_with_another_number_of_workers(run_copy: Path, jobs: Jobs, first: int, then: int) -> None:
    settings = ("train.epochs=2", "train.patience=2")
    process = jobs.start("train", run_copy, *settings, f"train.num_workers={first}")
    _wait_for(process, "train: epoch 1/2, loss")
    _wait_for_checkpoint(run_copy)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = jobs.run("train", run_copy, *settings, f"train.num_workers={then}", "train.zero_stage=1")
    assert done.returncode == 0, done.stderr
    assert "train: resumed after epoch" in done.stdout + done.stderr
    curve = RunStore(str(run_copy)).open("model").read_json("model.json")["curve"]
    assert [point["epoch"] for point in curve] == [0, 1]


@pytest.mark.slow
def test_weights_dealt_out_train_as_well(run_copy: Path, jobs: Jobs) -> None:
    (run_copy / "model" / "manifest.json").unlink()
    settings = ("train.zero_stage=3", "train.accumulation=2", "train.gradient_checkpointing=true")
    done = jobs.run("train", run_copy, "train.epochs=1", *settings)
    assert done.returncode == 0, done.stderr
    (point,) = RunStore(str(run_copy)).open("model").read_json("model.json")["curve"]
    assert 0 < point["loss"] < 8
    assert any((run_copy / "logs" / "train").glob("events.out.tfevents.*"))
    store = RunStore(str(run_copy))
    corpus = Corpus.read(store.open("corpus"))
    model = read_model(store.open("model"), read_features(store.open("features"), corpus.item_ids))
    scorer = ModelScorer(model, model.shape.attributes.encode_table(corpus.users))
    ranked = rank(scorer, EvaluationSet.build(corpus, VALID), EvaluateConfig())
    assert ndcg(ranked.target_rank, 10).mean() == pytest.approx(point["valid_ndcg@10"], abs=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("zero_stage", [2, 3])
def test_a_refit_that_was_killed_goes_on_from_its_last_checkpoint(run_copy: Path, jobs: Jobs, zero_stage: int) -> None:
    for name in ("model", "index"):
        (run_copy / "refit" / name / "manifest.json").unlink()
    settings = ("train.checkpoint_steps=5", f"train.zero_stage={zero_stage}")
    process = jobs.start("refit", run_copy, *settings)
    _wait_for_checkpoint(run_copy, after=(0, 4))
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = jobs.run("refit", run_copy, *settings)
    assert done.returncode == 0, done.stderr
    (step,) = re.findall(r"refit: resumed after epoch 0, step (\d+)", done.stdout + done.stderr)
    assert int(step) >= 5
    (point,) = RunStore(str(run_copy)).open("refit/model").read_json("model.json")["curve"]
    assert point["epoch"] == 0 and 0 < point["loss"] < 8


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_checkpoint_good(run_copy: Path, jobs: Jobs, tmp_path: Path) -> None:
    """A real file system with room for one checkpoint and a half, enlarged after the error has said so."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g", "tmpfs", disk], check=False)
    if mounted.returncode:
        pytest.skip("may not mount a small file system here")
    try:
        run = Path(shutil.copytree(run_copy, disk / "run"))
        settings = ("train.epochs=3", "train.patience=3", "train.max_failures=0")
        process = jobs.start("train", run, *settings)
        _wait_for(process, "train: epoch 1/3, loss")
        _wait_for_checkpoint(run)
        size = sum(file.stat().st_size for file in (run / ".train").rglob("*") if file.is_file())
        used = sum(file.stat().st_size for file in run.rglob("*") if file.is_file())
        subprocess.run(["mount", "-o", f"remount,size={used + size // 2}", disk], check=True)
        told = "".join(_wait_for(process, "error: "))
        assert process.wait(timeout=120) == 2
        assert "cannot write the checkpoint" in told and "No space left" in told
        assert not (run / "model" / "manifest.json").exists()
        subprocess.run(["mount", "-o", "remount,size=4g", disk], check=True)
        done = jobs.run("train", run, *settings)
        assert done.returncode == 0, done.stderr
        assert "train: resumed after epoch" in done.stdout + done.stderr
    finally:
        subprocess.run(["umount", "-l", disk], check=False)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_job_with_the_ids_of_the_batch(run_copy: Path, jobs: Jobs) -> None:
    done = jobs.run("train", run_copy, "train.learning_rate=1e30", "train.epochs=2", "train.precision=fp32")
    assert done.returncode == 2, done.stdout + done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert "in a batch of the users" in line and "train.learning_rate" in line
    assert "train: a worker was lost" not in done.stdout + done.stderr


def _wait_for_checkpoint(run: Path, after: tuple[int, ...] | None = None) -> None:
    """Until a complete checkpoint is there; with `after`, one within an epoch, of a later (epoch, step)."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        named = "".join(file.read_text() for file in (run / ".train").rglob("checkpoint_manager_snapshot.json"))
        for file in (run / ".train").rglob("progress.json"):
            if file.parent.name not in named:
                continue
            progress = json.loads(file.read_text())["progress"]
            if after is None or (progress["step"] > 0 and (progress["epoch"], progress["step"]) > after):
                return
        time.sleep(0.1)
    pytest.fail("no such checkpoint within two minutes")


def _worker(cluster: LocalCluster, kind: str) -> psutil.Process:
    workers = [p for p in cluster.processes() if kind in " ".join(p.cmdline())]
    assert workers, f"no {kind} is running"
    return workers[-1]


def _worker_at_work(cluster: LocalCluster, kind: str) -> psutil.Process:
    """A worker that is answering a call now; progress lines come too late to find one, since tasks may be few."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for process in cluster.processes():
            with contextlib.suppress(psutil.Error):
                title = " ".join(process.cmdline())  # `ray::Class.method` in a call, else `ray::Class`
                if kind in title and ").submit" in title:
                    return process
        time.sleep(0.05)
    pytest.fail(f"no {kind} was at work within two minutes")


def _wait_for(process: subprocess.Popen[str], text: str) -> list[str]:
    """The lines up to the first that holds the text."""
    assert process.stdout is not None
    seen: list[str] = []
    for line in process.stdout:
        seen.append(line)
        if text in line:
            return seen
    pytest.fail(f"the job ended without {text!r}:\n{''.join(seen[-30:])}")


@pytest.mark.slow
def test_the_language_model_is_fine_tuned_and_writes_reasons_that_pass(run_copy: Path, jobs: Jobs) -> None:
    settings = ("explain.tune.examples=96",)
    done = jobs.run("index", run_copy, *settings, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "explainer: step 12/12" in done.stdout + done.stderr
    overrides = [f"run.path={run_copy}", *settings]
    config = load_run(HOME / SMOKE, overrides, HOME)
    snapshot = Snapshot.open(RunStore(str(run_copy)), config, measured=True)
    items = LiveCatalogue.of(snapshot).described
    grounding = Grounding(snapshot.evidence, items, config.explain)
    histories = snapshot.corpus.histories(TRAIN, VALID)[:10]
    states = snapshot.scorer.user_states(np.arange(10, dtype=np.int32), histories)
    grounds = [grounding.of(items, 7 * n, history, states[n]) for n, history in enumerate(histories)]
    vocabulary = vocabulary_of(snapshot.corpus)
    writer = LanguageModelWriter(config.explain, vocabulary, read_explainer(config), threads=2)
    reasons = writer.write(grounds, 120)
    assert sum(reason.source == "llm" for reason in reasons) >= 5
    skipped = jobs.run("index", run_copy, *settings)
    assert "index: complete, skipped" in skipped.stdout + skipped.stderr
