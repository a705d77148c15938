"""Configurations: what ships is valid, and what is wrong is named in one line before anything is written."""

import subprocess
import sys
from pathlib import Path

import pytest

from llm4rec.cluster.run_config import RunConfig, load_run
from llm4rec.config import load
from llm4rec.errors import ConfigError

ROOT = Path(__file__).parents[1]
SHIPPED = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text("source: {format: movielens, path: raw}\ntrain: {epochs: 2}\n")
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_every_shipped_config_is_valid(path: Path) -> None:
    config = load_run(path, home=ROOT)
    assert isinstance(config, RunConfig)
    assert config.run.path == str(ROOT / "runs" / path.stem)


def test_the_demo_and_the_smoke_config_ship() -> None:
    assert {"demo", "smoke"} <= {path.stem for path in SHIPPED}


def test_what_a_file_leaves_out_has_its_default_and_overrides_win_in_order(config_file: Path) -> None:
    config = load_run(config_file, ["train.epochs=3", "train.model.num_layers=4", "train.epochs=5"])
    assert (config.train.epochs, config.train.model.num_layers) == (5, 4)
    assert config.train.batch_size == RunConfig.model_validate({"source": config.source}).train.batch_size


def test_relative_locations_start_from_home(config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LLM4REC_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    assert load_run(config_file).source.path == str(tmp_path / "raw")
    assert load_run(config_file).run.path == str(tmp_path / "runs/mine")
    assert load_run(config_file, home="/data").source.path == "/data/raw"
    assert load_run(config_file, ["run.path=/abs"], home="/data").run.path == "/abs"
    assert load_run(config_file, ["run.path=s3://bucket/run"], home="/data").run.path == "s3://bucket/run"
    monkeypatch.setenv("LLM4REC_HOME", "/env")
    assert load_run(config_file).source.path == "/env/raw"
    assert load_run(config_file, home="/data").source.path == "/data/raw"


def test_slates_go_into_the_run_where_nothing_else_is_said(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")  # so nothing may be relative
    remote = ["source.path=s3://bucket/raw", "run.path=s3://bucket/run?region=us-east-1"]
    output = load_run(config_file, remote).recommend.output
    assert output == "s3://bucket/run/slates.parquet?region=us-east-1"
    assert load_run(config_file, [*remote, "recommend.output=/out/s.parquet"]).recommend.output == "/out/s.parquet"
    with pytest.raises(ConfigError, match=r"recommend\.output is 's\.parquet'"):
        load_run(config_file, [*remote, "recommend.output=s.parquet"])


@pytest.mark.parametrize("workers", ["3", "[1,2]", "[2,2]"])
def test_workers_are_a_number_or_the_fewest_and_the_most(config_file: Path, workers: str) -> None:
    assert load_run(config_file, [f"train.num_workers={workers}"], home="/data")


@pytest.mark.parametrize(
    ("workers", "said"), [("[2,1]", "fewest and the most"), ("[0,2]", "num_workers"), ("-1", "num_w")]
)
def test_workers_that_make_no_sense_are_refused(config_file: Path, workers: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_run(config_file, [f"train.num_workers={workers}"], home="/data")


def test_a_relative_location_inside_a_submitted_job_is_refused(
    config_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LLM4REC_HOME", raising=False)
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    with pytest.raises(ConfigError, match=r"source\.path is 'raw'.*--home \$PWD"):
        load_run(config_file)
    assert load_run(config_file, home="/data").run.path == "/data/runs/mine"


BAD_SETTINGS = [
    ("train.epoch=3", ["unknown key 'train.epoch'", "did you mean 'epochs'?", "allowed: ", "batch_size"]),
    ("trian.epochs=3", ["unknown key 'trian'", "did you mean 'train'?"]),
    ("train.model.layers=3", ["unknown key 'train.model.layers'", "num_layers"]),
    ("baselines.sasrec.epoch=2", ["unknown key 'baselines.sasrec.epoch'", "did you mean 'epochs'?", "allowed: "]),
    ("source.tabular.interaction.file=x", ["unknown key 'source.tabular.interaction'", "'interactions'"]),
    ("train.epochs=two", ["train.epochs", "valid integer", "'two'"]),
    ("train.epochs=2.5", ["train.epochs", "valid integer", "2.5"]),
    ("train.epochs=0", ["train.epochs", "greater than 0", "got 0"]),
    ("train.epochs=[1]", ["train.epochs", "valid integer", "[1]"]),
    ("train.epochs=yes", ["train.epochs", "yes-or-no", "True"]),
    ("preprocess.max_users=true", ["preprocess.max_users", "yes-or-no", "True"]),
    ("train.model.pretrained=2", ["train.model.pretrained", "valid boolean", "got 2"]),
    ("train.epochs=", ["train.epochs", "valid integer", "None"]),
    ("train.learning_rate=.nan", ["train.learning_rate", "finite number", "nan"]),
    ("train.learning_rate=nan", ["train.learning_rate", "finite number", "nan"]),
    ("train.learning_rate=.inf", ["train.learning_rate", "finite number", "inf"]),
    ("train.model.dropout=1", ["train.model.dropout", "less than 1", "got 1"]),
    ("train.zero_stage=4", ["train.zero_stage", "0, 1, 2 or 3", "got 4"]),
    ("train.precision=fp16", ["train.precision", "'auto', 'bf16' or 'fp32'", "'fp16'"]),
    ("run.split=random", ["run.split", "'leave_one_out' or 'temporal'", "'random'"]),
    ("train=5", ["train", "got 5"]),
    ("train.epochs.x=5", ["'train.epochs.x=5'", "'epochs' holds a value"]),
    ("train.epochs", ["'train.epochs'", "malformed", "a.b=value"]),
    ("=3", ["'=3'", "malformed"]),
    ("train..epochs=3", ["malformed"]),
    ('run.split="a\\nb"', ["run.split", "'a\\nb'"]),
]


@pytest.mark.parametrize(("setting", "expected"), BAD_SETTINGS)
def test_a_bad_setting_is_named_in_one_line(config_file: Path, setting: str, expected: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_run(config_file, [setting])
    message = str(caught.value)
    assert "\n" not in message
    for part in expected:
        assert part in message


def test_every_problem_of_a_config_is_told_at_once(config_file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_run(config_file, ["train.epochs=two", "evaluat.x=1"])
    assert "train.epochs" in str(caught.value) and "evaluat" in str(caught.value)


BAD_FILES = [
    (b"", "must hold a mapping of settings, got NoneType"),
    (b"- a\n- b\n", "must hold a mapping of settings, got list"),
    (b"train", "must hold a mapping of settings, got str"),
    (b"train: [1\nsource: {", "is not valid YAML"),
    (b"\xff\xfe\x00train", "is not valid YAML"),
    (b"source: {path: 2024-13-45}\n", "is not valid YAML: month must be in 1..12"),
    (b"source: " + b"[" * 2000, "is not valid YAML"),
    (b"train: {epochs: 1}\nrun: {}\ntrain: {batch_size: 4}\n", "'train' is there more than once"),
    (b"train: {epochs: 1, epochs: 2}\n", "'epochs' is there more than once"),
    (b"train: {epochs: 2}\n", "source: Field required"),
    (b"source: {format: movielens, path: raw}\nnonsense: 1\n", "unknown key 'nonsense'"),
    (b"source: {format: movielens, path: raw}\ntrain: {epochs: true}\n", "train.epochs"),
]


@pytest.mark.parametrize(("data", "expected"), BAD_FILES)
def test_a_bad_file_is_named_in_one_line(tmp_path: Path, data: bytes, expected: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        load_run(path)
    assert str(path) in str(caught.value) and expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["missing.yaml", "."])
def test_a_missing_file_is_named_with_the_shipped_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(ConfigError, match="config file not found: .*configs/demo.yaml"):
        load_run(tmp_path / name)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--config", "configs/demo.yaml", "--set", "preprocess.max_user=3"], "unknown key 'preprocess.max_user'"),
        (["--config", "no/such.yaml"], "config file not found: no/such.yaml"),
    ],
)
def test_a_job_with_a_bad_config_exits_2_with_one_line_and_writes_nothing(
    tmp_path: Path, arguments: list[str], expected: str
) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "jobs/preprocess.py", *arguments, "--set", f"run.path={run}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: ") and expected in line
    assert done.stdout == "" and not run.exists()


def test_ids_cannot_be_written_that_nobody_learnt() -> None:
    with pytest.raises(ConfigError, match=r"recommend\.candidates_from: semantic_ids needs index\.generative"):
        load_run(ROOT / "configs" / "smoke.yaml", ["recommend.candidates_from=semantic_ids"], ROOT)


def test_what_is_wrong_between_settings_shows_none_of_the_others(config_file: Path) -> None:
    settings = ["online.url=postgresql://shop:hunter2@db/llm4rec", "recommend.candidates_from=semantic_ids"]
    with pytest.raises(ConfigError) as raised:
        load(RunConfig, config_file, settings)
    assert "semantic_ids" in str(raised.value) and "hunter2" not in str(raised.value)
