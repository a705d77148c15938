"""Checkpoints of a training under way: the trainer's state, the best weights so far and the progress, none pickled."""

import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import pyarrow.fs as pafs
import ray.train
import torch.distributed as dist
from safetensors.torch import load_file, save_file

from llm4rec.artifacts import location_inside, open_location, told_if_full
from llm4rec.cluster import elastic
from llm4rec.cluster.deepspeed import DeepSpeedEngine
from llm4rec.errors import ArtifactError
from llm4rec.train.loop import Progress
from llm4rec.train.state import WEIGHTS

STATE, PROGRESS = "state.safetensors", "progress.json"
CHECKPOINT = "checkpoint"
"""How Ray begins the names of their folders."""
NOTE = "checkpoint_manager_snapshot.json"
"""In which Ray notes the checkpoints of a training."""
LENGTH_BYTES = 8
"""Of a safetensors file, in which the length of its header stands."""


def save(engine: DeepSpeedEngine, progress: Progress, steps: int, best: Path, rank: int) -> None:
    """Report a checkpoint, on every rank; rank 0 writes it, whole, before the one before it is removed.

    Args:
        engine: what is trained.
        progress: how far.
        steps: of the optimiser so far.
        best: file of the best weights, if there are any yet.
        rank: of this worker.

    Raises:
        ArtifactError: there is no room for it; the one before it stays.
    """
    state = elastic.gather(engine)
    metrics = {**(progress.curve[-1] if progress.curve else {}), "epoch": progress.epoch, "step": steps}
    if rank:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder, told_if_full(f"the checkpoint after step {steps}"):
        write(Path(folder), state, progress, steps, best)
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def write(folder: Path, state: elastic.State, progress: Progress, steps: int, best: Path) -> None:
    """The files of a checkpoint."""
    save_file(state, folder / STATE)
    if best.exists():
        shutil.copy(best, folder / WEIGHTS)
    (folder / PROGRESS).write_text(json.dumps({"steps": steps, "progress": asdict(progress)}), encoding="utf-8")


def restore(engine: DeepSpeedEngine, best: Path, found: str | None) -> Progress:
    """Go on from the last checkpoint, if there is one, on every rank; the best weights go to `best`, on rank 0.

    Args:
        engine: what is trained.
        best: file that the best weights so far go to.
        found: where the last checkpoint of a run before this one is, if there is any.

    Raises:
        ArtifactError: it is of another network.
    """
    checkpoint = ray.train.get_checkpoint() or (ray.train.Checkpoint(found) if found else None)
    if checkpoint is None:
        return Progress()
    with checkpoint.as_directory() as folder:
        noted = json.loads(Path(folder, PROGRESS).read_text(encoding="utf-8"))
        try:
            elastic.restore(engine, load_file(Path(folder, STATE)), noted["steps"])
        except ArtifactError as error:
            raise ArtifactError(f"{error}; delete {checkpoint.path} and train again") from None
        if Path(folder, WEIGHTS).exists() and dist.get_rank() == 0:  # who writes checkpoints
            with told_if_full("the best weights so far"):
                shutil.copy(Path(folder, WEIGHTS), best)
        dist.barrier()  # no rank may leave, and remove the folder, while another still reads it
    return Progress(**noted["progress"])


def leave_newest(storage: str, name: str) -> str | None:
    """Delete all of a training, which must not be running, but its newest whole checkpoint; where that is.

    Ray notes a checkpoint once all workers have reported it, in a file that it writes in place. So after a kill the
    note may be torn, or not know the newest one, and after a power cut it may name one that is not whole: no run would
    start, or steps would be lost. It goes, and Ray begins another. Checkpoints that no note knows would fill the disk.

    Args:
        storage: location of the checkpoints of all trainings.
        name: of the training.
    """
    fs, root = open_location(storage)
    _, kept = max(_whole(fs, f"{root}/{name}"), default=(0, ""))
    for place in fs.get_file_info(pafs.FileSelector(f"{root}/{name}", allow_not_found=True)):
        is_folder = place.type == pafs.FileType.Directory
        if place.base_name == NOTE:
            fs.delete_file(place.path)
        elif is_folder and place.base_name.startswith(CHECKPOINT) and place.base_name != kept:
            fs.delete_dir(place.path)
    return location_inside(storage, f"{name}/{kept}") if kept else None


def newest(storage: str, name: str) -> int:
    """After how many steps the newest whole checkpoint of a training was made; 0 if there is none."""
    fs, root = open_location(storage)
    return max(_whole(fs, f"{root}/{name}"), default=(0, ""))[0]


def _whole(fs: pafs.FileSystem, folder: str) -> list[tuple[int, str]]:
    """Steps and names of the checkpoints in a folder of which nothing is missing."""
    places = fs.get_file_info(pafs.FileSelector(folder, allow_not_found=True))
    return [(steps, place.base_name) for place in places if (steps := _steps(fs, place.path)) is not None]


def _steps(fs: pafs.FileSystem, folder: str) -> int | None:
    """After how many steps a checkpoint was made, None if it is none or not all of it has been written."""
    try:
        noted = json.loads(_read(fs, f"{folder}/{PROGRESS}") or b"")
        files = [STATE, WEIGHTS] if noted["progress"]["curve"] else [STATE]
        return int(noted["steps"]) if all(_is_whole(fs, f"{folder}/{name}") for name in files) else None
    except (ValueError, KeyError, TypeError):  # what a lost block left in the place of JSON
        return None


def _is_whole(fs: pafs.FileSystem, path: str) -> bool:
    """Whether a safetensors file is as long as its header says."""
    size = fs.get_file_info(path).size
    if size is None or size < LENGTH_BYTES:
        return False
    with fs.open_input_file(path) as stream:
        length = int.from_bytes(stream.read(LENGTH_BYTES), "little")
        if LENGTH_BYTES + length > size:
            return False
        header = stream.read(length)
    ends = [tensor["data_offsets"][1] for key, tensor in json.loads(header).items() if key != "__metadata__"]
    return bool(size == LENGTH_BYTES + length + max(ends, default=0))


def _read(fs: pafs.FileSystem, path: str) -> bytes | None:
    if fs.get_file_info(path).type != pafs.FileType.File:
        return None
    with fs.open_input_stream(path) as stream:
        content: bytes = stream.read()
    return content
