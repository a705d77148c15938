"""How much sooner preprocess, encode and batch recommend end on more nodes.

    sudo env "PATH=$PATH" python benchmarks/scaling.py    # writes benchmarks/results/scaling.json, half an hour

Nodes of one CPU each (nodes.py), one, two and three of them beside a head without CPUs, on a machine whose cores are in
the results. Each is kept to a core, or libraries with threads of their own would let one node use the cores of two: two
nodes have a core each, a third one shares the first. The head, where the driver runs, uses the cores of the nodes and
no other: with one node both have one core between them, and two nodes are twice the machine. Preprocess: 25 million
made-up ratings (movielens_like.py). Encode: the texts of ml-latest-small. Recommend: slates for all 6,040 users of
ML-1M. Files lie on this machine's disk, which all nodes see: an S3 server on the same cores would be measured as well.
Seconds are those of the stage without the start of the job, of slates from the first batch to the last, so without
opening the run; what is read has been read once before. `efficiency` is the time on one node, over nodes times the time
on so many.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from load import settings_of
from measure import HOME, store
from nodes import Nodes, network, sequence
from served import STAGES, arguments

from llm4rec.artifacts import RunStore

COUNTS = (1, 2, 3)


def main() -> None:
    """Run the stages on one, two and three nodes, and store what came out."""
    options = arguments(__doc__).parse_args()
    began = time.monotonic()
    ratings = options.work / "ml-25m-like"
    if not ratings.exists():
        subprocess.run([sys.executable, HOME / "benchmarks" / "movielens_like.py", "--to", ratings], check=True)
    finished = settings_of(options)
    cores = os.cpu_count() or 1
    seconds: dict[str, list[float]] = {"preprocess": [], "encode": [], "recommend": []}
    for folder in (ratings, Path(finished[0].partition("=")[2])):
        for path in folder.rglob("*"):
            if path.is_file():
                path.read_bytes()  # so that the first count does not read it from the disk and the others from memory
    with tempfile.TemporaryDirectory(dir=options.work, ignore_cleanup_errors=True) as name, network():
        for count in COUNTS:
            with Nodes(Path(name) / f"nodes-{count}", hides=()) as nodes:
                nodes.start("head", cpus=0, cores=range(min(count, cores)))
                for number in range(count):
                    nodes.start(f"node{number}", cpus=1, cores=[number % cores])
                if count == 1:
                    for stage in STAGES:
                        job(nodes, stage, "benchmarks/configs/ml-1m-seq.yaml", finished)
                run = Path(name) / f"run-{count}"
                large = [f"run.path={run}", f"source.path={ratings}"]
                job(nodes, "preprocess", "benchmarks/configs/ml-25m-like.yaml", large)
                seconds["preprocess"].append(taken(run, "corpus"))
                shutil.rmtree(run)
                texts = [f"run.path={run}", f"source.path={options.data / 'ml-latest-small'}"]
                for stage in ("preprocess", "encode"):
                    job(nodes, stage, "benchmarks/configs/ml-latest-small.yaml", texts)
                seconds["encode"].append(taken(run, "features"))
                slates = [*finished, f"recommend.output={run / 'slates.parquet'}", "recommend.batch_size=64"]
                told = job(nodes, "recommend", "benchmarks/configs/ml-1m-seq.yaml", slates)
                seconds["recommend"].append(between_batches(told))
            print(count, seconds, flush=True)
    figures: dict[str, Any] = {
        "nodes": list(COUNTS),
        "seconds": seconds,
        "efficiency": {stage: efficiency(own) for stage, own in seconds.items()},
        "third_node_overhead": {stage: round(own[2] / own[1] - 1, 3) for stage, own in seconds.items()},
    }
    store("scaling", figures, time.monotonic() - began, seeds=[0])


def efficiency(seconds: list[float]) -> list[float]:
    """By number of nodes."""
    return [round(seconds[0] / (count * own), 3) for count, own in zip(COUNTS, seconds, strict=True)]


def job(nodes: Nodes, stage: str, config: str, settings: list[str]) -> str:
    """Run a stage; what it printed."""
    return nodes.submit("python", f"jobs/{stage}.py", "--config", str(HOME / config), *sequence(settings))


def taken(run: Path, artifact: str) -> float:
    """Seconds of a stage, as its artifact tells."""
    return float(RunStore(str(run)).open(artifact).manifest["seconds"])


def between_batches(told: str) -> float:
    """Seconds from the first batch of slates to the last; workers open the run before."""
    times = re.findall(r"(\d+):(\d+):(\d+) recommend: batch", told)
    clock = [3600 * int(hours) + 60 * int(minutes) + int(rest) for hours, minutes, rest in times]
    return float((clock[-1] - clock[0]) % 86_400)


if __name__ == "__main__":
    main()
