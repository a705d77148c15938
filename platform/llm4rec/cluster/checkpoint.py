"""Checkpoints of a training under way: the trainer's state, the best weights so far and the progress, none pickled."""

import errno
import json
import shutil
import tempfile
from dataclasses import asdict
from pathlib import Path

import ray.train
import torch.distributed as dist
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from llm4rec.cluster import elastic
from llm4rec.cluster.deepspeed import DeepSpeedEngine
from llm4rec.errors import ArtifactError
from llm4rec.train.loop import Progress
from llm4rec.train.state import WEIGHTS

STATE, PROGRESS = "state.safetensors", "progress.json"


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
    metrics = {"epoch": progress.epoch, "step": steps, **(progress.curve[-1] if progress.curve else {})}
    if rank:
        ray.train.report(metrics)
        return
    with tempfile.TemporaryDirectory() as folder:
        try:
            write(Path(folder), state, progress, steps, best)
            ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))
        except (OSError, SafetensorError) as error:
            if not _is_full(error):
                raise
            raise ArtifactError(
                f"cannot write the checkpoint after step {steps}: {error}; the one before it is still good: make room, "
                "in the temporary folder and at run.path, and run the stage again"
            ) from None


def _is_full(error: Exception) -> bool:
    """Whether a disk or a quota is full; other faults, such as a network's, another try may mend."""
    return getattr(error, "errno", None) in {errno.ENOSPC, errno.EDQUOT} or "No space left" in str(error)


def write(folder: Path, state: elastic.State, progress: Progress, steps: int, best: Path) -> None:
    """The files of a checkpoint."""
    save_file(state, folder / STATE)
    if best.exists():
        shutil.copy(best, folder / WEIGHTS)
    (folder / PROGRESS).write_text(json.dumps({"steps": steps, "progress": asdict(progress)}), encoding="utf-8")


def restore(engine: DeepSpeedEngine, best: Path) -> Progress:
    """Go on from the last checkpoint, if there is one, on every rank; the best weights go to `best`.

    Raises:
        ArtifactError: it is of another network.
    """
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return Progress()
    with checkpoint.as_directory() as folder:
        noted = json.loads(Path(folder, PROGRESS).read_text(encoding="utf-8"))
        try:
            elastic.restore(engine, load_file(Path(folder, STATE)), noted["steps"])
        except ArtifactError as error:
            raise ArtifactError(f"{error}; delete {checkpoint.path} and train again") from None
        if Path(folder, WEIGHTS).exists():
            shutil.copy(Path(folder, WEIGHTS), best)
        if dist.is_initialized():
            dist.barrier()  # no rank may leave, and remove the folder, while another still reads it
    return Progress(**noted["progress"])
