"""The whole smoke pipeline on one node and on three, artifacts on S3, with and without Ray's token.

    sudo env "PATH=$PATH" python benchmarks/cluster.py    # writes benchmarks/results/cluster.json, a quarter of an hour

Nodes are those of nodes.py: they share no disk and do not see this checkout, its data or the results. Raw files lie on
the S3 server as well. Jobs are submitted from outside the checkout. Training has two workers, on one node or on two.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import HOME, store
from nodes import OUTSIDE, Nodes, network, sequence
from object_store import CREDENTIALS, ObjectStore, object_store

from llm4rec.artifacts import Artifact, RunStore
from llm4rec.train.state import WEIGHTS

CONFIG, S3_PORT = "configs/smoke.yaml", 5099
SETTINGS = ("train.num_workers=2",)
COMPARED = ("corpus", "features", "effects", "model", "index")
METRIC = "ndcg@10"


@dataclass(frozen=True)
class Layout:
    """A cluster.

    Attributes:
        cpus: of each node, the head's first.
        token: whether Ray asks for one.
    """

    cpus: tuple[float, ...]
    token: bool


LAYOUTS = {
    "one_node": Layout((3,), True),
    "three_nodes": Layout((1, 1, 1), True),
    "three_nodes_without_token": Layout((1, 1, 1), False),
}


def main() -> None:
    """Run the pipeline on each cluster, compare, and store what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.parse_args()
    began = time.monotonic()
    runs: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for name, layout in LAYOUTS.items():
            runs[name] = piped(Path(folder, name), layout)
            print(name, runs[name], flush=True)
    first = runs["one_node"]
    others = [run for name, run in runs.items() if name != "one_node"]
    figures = {
        "hashes_equal": all(run["hashes"][part] == first["hashes"][part] for run in others for part in COMPARED),
        "split_equal": all(run["split_hash"] == first["split_hash"] for run in others),
        "metrics_delta": max(abs(run["metrics"][m] - first["metrics"][m]) for run in others for m in run["metrics"]),
        "runs": runs,
    }
    store("cluster", figures, time.monotonic() - began, seeds=[0])


def piped(folder: Path, layout: Layout) -> dict[str, Any]:
    """What the pipeline makes on a cluster of its own."""
    with (
        network(),
        object_store(OUTSIDE, S3_PORT) as objects,
        Nodes(folder, token=layout.token, environment=CREDENTIALS) as nodes,
    ):
        for number, cpus in enumerate(layout.cpus):
            nodes.start("head" if number == 0 else f"node{number}", cpus=cpus)
        settings = smoke_on(objects)
        started = time.monotonic()
        nodes.submit("python", "jobs/pipeline.py", "--config", CONFIG, *settings)
        seconds = time.monotonic() - started
        return {**made(objects), "seconds": round(seconds)}


def smoke_on(objects: ObjectStore) -> list[str]:
    """The settings of a smoke run whose raw files and artifacts are in the object store."""
    source = objects.put(HOME / "data" / "ml-100k", "data/ml-100k")
    return sequence([f"source.path={source}", f"run.path={objects.location('runs/smoke')}", *SETTINGS])


def made(objects: ObjectStore) -> dict[str, Any]:
    """Hashes and figures of a finished run."""
    run = RunStore(objects.location("runs/smoke"))
    report = run.open("report").read_json("metrics.json")
    return {
        "hashes": {name: contents(run.open(name))[:12] for name in COMPARED},
        "split_hash": report["split_hash"],
        "metrics": {model: figures[METRIC] for model, figures in report["models"].items()},
    }


def contents(artifact: Artifact) -> str:
    """The hash of an artifact; of a model that of its weights, since the rest tells how long epochs took."""
    files: dict[str, dict[str, str]] = artifact.manifest["files"]
    return files[WEIGHTS]["sha256"] if WEIGHTS in files else artifact.hash


if __name__ == "__main__":
    main()
