"""One real Ray for the session, the smoke pipeline run on it once, and the app deployed from it once."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from llm4rec.cluster.demo import Client, deploy
from llm4rec.cluster.local import LocalCluster
from llm4rec.cluster.run_config import load_run
from llm4rec.cluster.session import LOOPBACK
from tests.ports import free_port

HOME = Path(__file__).parents[2]
SMOKE = "configs/smoke.yaml"


def wait_for_tasks(driver: "subprocess.Popen[str]", run: Path, artifact: str, step: str, count: int) -> None:
    """Wait until so many tasks of a step are finished and remembered; the driver must be at work until then."""
    deadline = time.monotonic() + 600
    while len(finished_tasks(run, artifact, step)) < count:
        assert driver.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() < deadline, f"{step}: too slow"
        time.sleep(0.02)


def finished_tasks(run: Path, artifact: str, step: str) -> list[Path]:
    found = run.glob(f".work/{artifact}/*/{step}/finished/*.parquet")
    return [path for path in found if not path.name.endswith(".pending.parquet")]


@dataclass
class Jobs:
    """Runs jobs as a user would, joined to the session's Ray."""

    cluster: LocalCluster

    @property
    def environment(self) -> dict[str, str]:
        return {**self.cluster.environment, "RAY_ADDRESS": f"{LOOPBACK}:{self.cluster.gcs_port}"}

    def command(self, stage: str, run: Path, *settings: str, config: str = SMOKE) -> list[str]:
        command = [sys.executable, f"jobs/{stage}.py", "--config", config, "--set", f"run.path={run}"]
        return command + [part for setting in settings for part in ("--set", setting)]

    def run(
        self, stage: str, run: Path, *settings: str, config: str = SMOKE, timeout: float = 300
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(stage, run, *settings, config=config),
            env=self.environment,
            cwd=HOME,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def start(self, stage: str, run: Path, *settings: str, config: str = SMOKE) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(stage, run, *settings, config=config),
            env={**self.environment, "PYTHONUNBUFFERED": "1"},
            cwd=HOME,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    folder = tmp_path_factory.mktemp("cluster")
    os.environ.pop("OMP_NUM_THREADS", None)  # set for the tests alone: Ray says how many threads its processes have
    with LocalCluster(HOME, folder, gcs_port=free_port(), dashboard_port=free_port()) as running:
        yield running


@pytest.fixture(scope="session")
def jobs(cluster: LocalCluster) -> Jobs:
    return Jobs(cluster)


@pytest.fixture(scope="session")
def finished_run(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run made by the whole pipeline through `ray job submit`. Read it, copy it, do not change it."""
    run = tmp_path_factory.mktemp("runs") / "smoke"
    pipeline = ["python", "jobs/pipeline.py", "--config", SMOKE, "--home", str(HOME), "--set", f"run.path={run}"]
    cluster.submit(pipeline)
    return run


@pytest.fixture
def run_copy(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, free to be damaged."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


@pytest.fixture(scope="session")
def app_settings(finished_run: Path) -> list[str]:
    """What the app is deployed with."""
    return [f"run.path={finished_run}", f"serve.port={free_port()}", "serve.deadline_s=20"]


@pytest.fixture(scope="session")
def app(cluster: LocalCluster, app_settings: list[str]) -> Client:
    """The deployed app."""
    return deploy(cluster, load_run(HOME / SMOKE, app_settings, HOME), SMOKE, app_settings)


os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
