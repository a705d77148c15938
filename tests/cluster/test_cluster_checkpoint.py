"""Finding the newest checkpoint where the note of them was torn by a kill."""

import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from llm4rec.artifacts import told_if_full
from llm4rec.cluster.checkpoint import NOTE, PROGRESS, STATE, leave_newest, newest, write
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.train import on_gpus
from llm4rec.errors import ArtifactError
from llm4rec.train.loop import Progress
from llm4rec.train.state import WEIGHTS


@pytest.fixture
def training(tmp_path: Path) -> Path:
    """A training with three whole checkpoints, after 4, 12 and 8 steps, and no note."""
    best = tmp_path / "best.safetensors"
    save_file({"weight": torch.ones(7)}, best)
    for steps in (4, 12, 8):
        folder = tmp_path / "one" / f"checkpoint-{steps}"
        folder.mkdir(parents=True)
        progress = Progress()
        progress.advance(1.0)
        progress.record(0.5, 1.0)
        write(folder, {"master": torch.arange(9.0), "step": torch.ones(())}, progress, steps, best)
    return tmp_path / "one"


def found_again(training: Path) -> str | None:
    found = leave_newest(str(training.parent), training.name)
    return Path(found).name if found else None


def test_how_far_a_training_has_come_is_what_its_newest_whole_checkpoint_says(training: Path) -> None:
    assert newest(str(training.parent), training.name) == 12
    (training / "checkpoint-12" / STATE).unlink()
    assert newest(str(training.parent), training.name) == 8
    assert newest(str(training.parent), "another") == 0


@pytest.mark.parametrize("note", ["", '{"latest_checkpoint_res', json.dumps({"checkpoint_results": []}), None])
def test_the_checkpoint_after_most_steps_is_taken_whatever_ray_has_noted(training: Path, note: str | None) -> None:
    if note is not None:
        (training / NOTE).write_text(note)
    assert found_again(training) == "checkpoint-12"
    assert not (training / NOTE).exists(), "Ray may fail on it, or go on from another checkpoint"


@pytest.mark.parametrize("name", [STATE, WEIGHTS, PROGRESS])
@pytest.mark.parametrize("kept", [-5, 20, 0, None])
def test_what_was_being_copied_when_the_kill_came_is_passed_over(training: Path, name: str, kept: int | None) -> None:
    file = training / "checkpoint-12" / name
    content = file.read_bytes()
    file.unlink()
    if kept is not None:
        file.write_bytes(content[:kept])
    assert found_again(training) == "checkpoint-8"


@pytest.mark.parametrize("name", [STATE, WEIGHTS, PROGRESS])
@pytest.mark.parametrize("filler", [b"\0", b"\xff", b"{"])
def test_what_a_lost_block_left_is_passed_over(training: Path, name: str, filler: bytes) -> None:
    file = training / "checkpoint-12" / name
    file.write_bytes(filler * file.stat().st_size)
    assert found_again(training) == "checkpoint-8"


def test_nothing_is_found_where_nothing_has_been_trained(tmp_path: Path) -> None:
    assert leave_newest(str(tmp_path / "none"), "one") is None
    (tmp_path / "one").mkdir()
    assert leave_newest(str(tmp_path), "one") is None


def test_all_but_the_newest_whole_checkpoint_is_deleted_and_nothing_else(training: Path) -> None:
    (training / "checkpoint-12" / STATE).unlink()
    (training / "checkpoint-16").mkdir()
    (training / "other").mkdir()
    assert found_again(training) == "checkpoint-8"
    assert sorted(place.name for place in training.iterdir()) == ["checkpoint-8", "other"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "any words"),
        OSError(errno.EDQUOT, "any words"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        SafetensorError("Error while serializing: I/O error: Disk quota exceeded (os error 122)"),
    ],
)
def test_a_full_disk_is_told_with_what_to_do(error: Exception) -> None:
    with pytest.raises(ArtifactError, match="cannot write the weights: .* make room"), told_if_full("the weights"):
        raise error


def test_other_faults_are_left_as_they_are() -> None:
    with pytest.raises(OSError, match="reset by peer"), told_if_full("the weights"):
        raise OSError(errno.ECONNRESET, "reset by peer")


@pytest.mark.parametrize(
    ("gpus", "workers", "asked", "expected"),
    [(0, 2, None, False), (1, 2, None, False), (2, 2, None, True), (1, (1, 4), None, True)]
    + [(0, 2, True, True), (4, 2, False, False)],
)
def test_a_gpu_each_where_there_is_one_each_or_it_is_asked_for(monkeypatch, gpus, workers, asked, expected) -> None:
    """Whatever the driver's own node has."""
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 8.0} | ({"GPU": float(gpus)} if gpus else {}))
    config = {
        "source": {"format": "synthetic", "path": "shop"},
        "train": {"num_workers": workers},
        "cluster": {"train_on_gpus": asked},
    }
    assert on_gpus(RunConfig.model_validate(config)) is expected
