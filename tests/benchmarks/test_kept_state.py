"""A training's state on disk: what it took is added up, and a file or disk in bad order costs no training."""

import hashlib
import io
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from kept_state import KeptState

STATE = {"epoch": 5, "network": {"weight": torch.arange(4096.0)}}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "models" / "ml-100k-tiger-0-ab12.state"


def test_what_was_saved_last_is_loaded_with_what_all_processes_spent(path: Path) -> None:
    first = KeptState(path)
    first.save({"epoch": 1})
    first.save(STATE)
    second = KeptState(path)
    found = second.load()
    assert found is not None and found["epoch"] == 5
    assert torch.equal(found["network"]["weight"], STATE["network"]["weight"])
    assert second.seconds == found["seconds"] > 0
    assert second.peak_gb > 0
    assert len(second.revisions) == 1
    second.save(STATE)
    third = KeptState(path)
    third.load()
    assert third.seconds > second.seconds
    assert third.revisions == second.revisions
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_nothing_was_saved(path: Path) -> None:
    assert KeptState(path).load() is None
    KeptState(path).discard()


@pytest.mark.parametrize("size", [0, 100, 5000])
def test_a_file_that_was_cut_short_is_named_removed_and_not_used(path: Path, size: int, capsys) -> None:
    KeptState(path).save(STATE)
    with open(path, "r+b") as stream:
        stream.truncate(size)
    state = KeptState(path)
    assert state.load() is None
    assert f"{path} is damaged" in capsys.readouterr().out
    assert not path.exists() and state.seconds == 0


@pytest.mark.parametrize("at", [10, 60, 3000, -1])
def test_a_single_wrong_byte_is_seen(path: Path, at: int, capsys) -> None:
    """Torch itself takes what stands in a tensor as it is."""
    KeptState(path).save(STATE)
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)
    assert KeptState(path).load() is None
    assert "is damaged: removed, its training begins anew" in capsys.readouterr().out


def test_a_file_of_an_older_kind_is_not_used(path: Path, capsys) -> None:
    path.parent.mkdir()
    written = io.BytesIO()
    torch.save({"epoch": 3}, written)
    path.write_bytes(hashlib.sha256(written.getvalue()).digest() + written.getvalue())
    assert KeptState(path).load() is None
    assert "is of another version" in capsys.readouterr().out


def test_a_fault_of_the_machine_costs_no_state(path: Path) -> None:
    KeptState(path).save(STATE)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)
    state = KeptState(path)
    free = os.open(os.devnull, os.O_RDONLY)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, most[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            state.load()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, most)
    assert KeptState(path).load() is not None


def test_a_full_disk_is_said_and_leaves_the_state_before(path: Path, capsys) -> None:
    KeptState(path).save(STATE | {"epoch": 4})
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, most[1]))
    try:
        KeptState(path).save(STATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    assert "not saved, training goes on without" in capsys.readouterr().err
    found = KeptState(path).load()
    assert found is not None and found["epoch"] == 4
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_what_a_killed_process_left_is_removed_and_what_a_running_one_writes_is_not(path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    path.parent.mkdir()
    left, written = (path.with_suffix(f".{pid}.part") for pid in (dead.pid, os.getppid()))
    left.touch()
    written.touch()
    KeptState(path).load()
    assert not left.exists()
    assert written.exists()
