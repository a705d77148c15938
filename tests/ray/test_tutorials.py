"""The tutorials: every block of commands is run here, or says what it needs that a test has not."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ray.conftest import HOME

TUTORIALS = ("laptop.md", "kubernetes.md", "aws.md")
NEEDS = re.compile(r"# needs [a-z ,]+")
TAKEN = ("platform", "jobs", "serve_apps", "configs", "deploy", "runtime_env.yaml", "cluster.yaml", "pyproject.toml")


def blocks(name: str) -> list[str]:
    return re.findall(r"^```bash\n(.*?)^```", (HOME / "docs" / name).read_text(encoding="utf-8"), re.M | re.S)


def runnable(name: str) -> list[str]:
    return [block for block in blocks(name) if not NEEDS.match(block)]


@pytest.mark.parametrize("name", TUTORIALS)
def test_every_block_is_one_of_commands(name: str) -> None:
    fences = re.findall(r"^```(.*)$", (HOME / "docs" / name).read_text(encoding="utf-8"), re.M)
    assert fences == ["bash", ""] * len(blocks(name))


def test_all_of_the_laptop_and_something_of_the_others_is_run() -> None:
    assert runnable("laptop.md") == blocks("laptop.md")
    for name in TUTORIALS:
        assert runnable(name), f"nothing of {name} is run"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a user has after `make setup`."""
    for name in TAKEN:
        source = HOME / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    return tmp_path


def run(name: str, checkout: Path, timeout: float) -> str:
    """Run the blocks one after the other in one shell; what it printed."""
    script = "\n".join(["set -euo pipefail", *runnable(name)])
    environment = {**os.environ, "HOME": str(checkout), "PYTHONPATH": str(checkout / "platform")}
    output = checkout / "output"
    with output.open("w") as file:
        shell = subprocess.Popen(
            ["bash", "-c", script], cwd=checkout, env=environment, stdout=file, stderr=file, start_new_session=True
        )
        try:
            status = shell.wait(timeout=timeout)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)  # what was left serving
    told = output.read_text(encoding="utf-8")
    assert status == 0, told[-4000:]
    return told


@pytest.mark.parametrize("name", TUTORIALS[1:])
def test_what_needs_no_cluster_of_the_others_runs(name: str, checkout: Path) -> None:
    run(name, checkout, timeout=120)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_laptop_tutorial_ends_with_slates(checkout: Path) -> None:
    told = run("laptop.md", checkout, timeout=900)
    assert (checkout / "runs" / "shop" / "slates.parquet").exists()
    assert told.count('"slate_id"') == 2 and " bought " in told  # of what was bought before, in words that vary
    last = told[told.rindex('"slate_id"') :]
    assert last.count("Garden thing") == 3 and '"price_max":30.0' in last
