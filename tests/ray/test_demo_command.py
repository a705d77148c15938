"""`make demo` as a user ends it: Ctrl-C, after which nothing of it runs."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from llm4rec.cluster.local import MARK
from tests.ray.conftest import HOME, SMOKE, free_port

pytestmark = [pytest.mark.ray, pytest.mark.slow]


def marked_processes() -> dict[int, str]:
    found = {}
    for process in psutil.process_iter():
        try:
            if MARK in process.environ():
                found[process.pid] = process.name()
        except (psutil.Error, OSError):
            continue
    return found


def test_ctrl_c_ends_every_process(finished_run: Path, tmp_path: Path) -> None:
    before = set(marked_processes())
    run = shutil.copytree(finished_run, tmp_path / "run")
    command = [sys.executable, "jobs/demo.py", "--config", SMOKE, "--set", f"run.path={run}"]
    command += ["--set", f"serve.port={free_port()}"]
    process = subprocess.Popen(
        command,
        cwd=HOME,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    output = []
    for line in process.stdout:
        output.append(line)
        if "Serving until Ctrl-C" in line:
            break
    assert "Serving until Ctrl-C" in output[-1], "".join(output[-20:])
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0
    assert set(marked_processes()) - before == set()
