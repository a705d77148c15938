"""Training that begins on one node, grows to two when another joins, and goes on when that one is gone.

    sudo env "PATH=$PATH" python benchmarks/elastic.py    # writes benchmarks/results/elastic.json, ten minutes

The smoke configuration with more epochs, artifacts and checkpoints on S3 (nodes.py, object_store.py): once with one
worker from beginning to end, once with `train.num_workers=[1,2]`. There a node joins after two epochs, and is killed
with -9, network and all, two epochs after both have begun to train. `loss_delta` is the relative difference of the
last epoch's training loss, `resumed` where training went on after each change.
"""

import argparse
import re
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import HOME, store
from nodes import OUTSIDE, Nodes, network, sequence
from object_store import CREDENTIALS, ObjectStore, object_store

from llm4rec.artifacts import RunStore
from llm4rec.train.state import DESCRIPTION

CONFIG, S3_PORT, EPOCHS, CHECKPOINT_STEPS = "configs/smoke.yaml", 5098, 12, 20
TRAINING = (f"train.epochs={EPOCHS}", f"train.patience={EPOCHS}", f"train.checkpoint_steps={CHECKPOINT_STEPS}")
ELASTIC = ("train.num_workers=[1,2]", "cluster.resize_s=5")
LONGEST_S = 900.0


def main() -> None:
    """Train twice, compare, and store what came out."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    began = time.monotonic()
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        network(),
        object_store(OUTSIDE, S3_PORT) as objects,
        Nodes(Path(folder), environment=CREDENTIALS) as nodes,
    ):
        nodes.start("head", cpus=0)
        nodes.start("one", cpus=1)
        prepare(nodes, objects)
        fixed = trained(nodes, objects, "fixed", "train.num_workers=1")
        elastic = Training(nodes, objects, "elastic", *ELASTIC).changed()
    figures = {
        "loss_delta": round(abs(elastic["curve"][-1]["loss"] / fixed["curve"][-1]["loss"] - 1), 4),
        "checkpoint_steps": CHECKPOINT_STEPS,
        "fixed": fixed,
        "elastic": elastic,
    }
    store("elastic", figures, time.monotonic() - began, seeds=[0])


def settings_of(objects: ObjectStore, run: str, *more: str) -> list[str]:
    """Settings of a run in the object store."""
    paths = (f"source.path={objects.location('data/ml-100k')}", f"run.path={objects.location(f'runs/{run}')}")
    return sequence([*paths, *TRAINING, *more])


def prepare(nodes: Nodes, objects: ObjectStore) -> None:
    """What training needs, in two runs alike."""
    objects.put(HOME / "data" / "ml-100k", "data/ml-100k")
    for stage in ("preprocess", "encode", "debias"):
        nodes.submit("python", f"jobs/{stage}.py", "--config", CONFIG, *settings_of(objects, "fixed"))
    objects.copy("runs/fixed", "runs/elastic")


def trained(nodes: Nodes, objects: ObjectStore, run: str, *settings: str) -> dict[str, Any]:
    """A training without interruption."""
    started = time.monotonic()
    nodes.submit("python", "jobs/train.py", "--config", CONFIG, *settings_of(objects, run, *settings))
    return {"curve": curve(objects, run), "seconds": round(time.monotonic() - started)}


def curve(objects: ObjectStore, run: str) -> list[dict[str, float]]:
    """What each epoch of a finished training came to."""
    found: list[dict[str, float]] = (
        RunStore(objects.location(f"runs/{run}")).open("model").read_json(DESCRIPTION)["curve"]
    )
    return found


class Training:
    """A training job, whose output is watched."""

    def __init__(self, nodes: Nodes, objects: ObjectStore, run: str, *settings: str) -> None:
        self._nodes, self._objects, self._run = nodes, objects, run
        self._output = nodes.folder / f"{run}.log"
        command = nodes.submission("python", "jobs/train.py", "--config", CONFIG, *settings_of(objects, run, *settings))
        with self._output.open("wb") as output:
            self._job = subprocess.Popen(command, env=nodes.environment, cwd=nodes.folder, stdout=output, stderr=output)

    def changed(self) -> dict[str, Any]:
        """Let a node join, and take it away again."""
        started = time.monotonic()
        self._wait(r"train: epoch 2/")
        joined = self._now(started)
        self._nodes.start("two", cpus=1)
        self._wait(r"train: worker 1 of 2 ")
        grown, at = self._now(started), len(self._epochs())
        while len(self._epochs()) < min(at + 2, EPOCHS - 2):
            self._require_running()
        self._nodes.kill("two")
        killed = self._now(started)
        if self._job.wait(timeout=LONGEST_S):
            raise RuntimeError(self._text()[-4000:])
        return {
            "curve": curve(self._objects, self._run),
            "seconds": self._now(started),
            "node_joined_s": joined,
            "two_workers_s": grown,
            "node_killed_s": killed,
            "resumed": re.findall(r"train: (resumed after epoch \d+, step \d+)", self._text()),
            "epochs": self._epochs(),
        }

    def _now(self, started: float) -> float:
        return round(time.monotonic() - started, 1)

    def _text(self) -> str:
        return self._output.read_text(errors="replace")

    def _epochs(self) -> list[str]:
        return re.findall(r"train: epoch (\d+)/\d+, loss [\d.]+, valid", self._text())

    def _wait(self, pattern: str) -> None:
        while not re.search(pattern, self._text()):
            self._require_running()

    def _require_running(self) -> None:
        if self._job.poll() is not None:
            raise RuntimeError(f"training ended before it was disturbed:\n{self._text()[-4000:]}")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
