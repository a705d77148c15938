import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from llm4rec.cluster.communication import load_operator, operator_folder
from llm4rec.errors import Llm4RecError

CODE = "from llm4rec.cluster.communication import load_operator; load_operator(); print('loaded')"


def loading(folder: Path | None) -> subprocess.Popen[str]:
    environment = {**os.environ, "DS_ACCELERATOR": "cpu"}
    if folder is not None:
        environment["TORCH_EXTENSIONS_DIR"] = str(folder)
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", CODE], env=environment, stdout=pipe, stderr=pipe, text=True)


def ended(process: subprocess.Popen[str]) -> None:
    output, errors = process.communicate(timeout=280)
    assert process.returncode == 0 and output.strip().endswith("loaded"), errors


def test_what_a_killed_process_left_stops_nobody_and_several_may_come_at_once(tmp_path: Path) -> None:
    ended(loading(None))  # so that there is one to copy
    compiled = operator_folder()
    ignored = shutil.ignore_patterns("lock")  # which another process may take away meanwhile
    copy = Path(shutil.copytree(compiled, tmp_path / compiled.name, ignore=ignored))
    (copy / "lock").touch()
    for process in [loading(tmp_path) for _ in range(2)]:
        ended(process)
    assert not (copy / "lock").exists()


def test_it_is_compiled_in_the_environment_or_where_one_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TORCH_EXTENSIONS_DIR", raising=False)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert tmp_path in operator_folder().parents
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "not there"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert tmp_path / "cache" in operator_folder().parents
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path / "said"))
    assert operator_folder().parent == tmp_path / "said"


def test_a_place_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", "/proc/nowhere")
    with pytest.raises(Llm4RecError, match="cannot be compiled in /proc/nowhere/.*; set TORCH_EXTENSIONS_DIR to a"):
        load_operator()
    assert os.environ["TORCH_EXTENSIONS_DIR"] == "/proc/nowhere"
