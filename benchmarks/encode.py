"""Throughput of the text and the image stage beside that of the bare encoders, with the same number of threads.

    python benchmarks/encode.py --images FOLDER --texts FILE.csv:COLUMN    # writes benchmarks/results/encode.json

Without --images and --texts both are made up. A round measures, one after the other and on the same inputs:
- bare loop: one process that calls the encoder batch by batch, with as many threads as there are cores;
- bare processes: one process a core that does so with one thread, each on its share of the inputs;
- stage: the encode stage, parts and checkpoints written as ever, with as many actors as there are cores.
A rate is the number of inputs over the time from the first call of an encoder to the end of the last one, in whatever
process; what it takes to start processes and load weights is given apart. Figures are medians over the rounds, and a
ratio is the median over the rounds of stage / the faster of the two bare ways.
"""

import argparse
import csv
import gzip
import logging
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from measure import store
from PIL import Image

from llm4rec.artifacts import Artifact, RunStore
from llm4rec.cluster.session import connect
from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.part import IMAGE, TEXT, Answer, EncodeTask, load_encoder
from llm4rec.schema import ITEM_ID

CORES = os.cpu_count() or 1
CONFIG = EncodeConfig(audio=None)
BATCH = {TEXT: 512, IMAGE: 32}
WORDS = ("the", "a", "of", "night", "city", "river", "house", "love", "war", "king", "road", "letter", "winter")
Span = tuple[float, float]
"""First and last moment of some work."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="a folder of JPEGs, used again until there are enough")
    parser.add_argument("--texts", help="FILE.csv:COLUMN or FILE.csv.gz:COLUMN, used again until there are enough")
    parser.add_argument("--num-images", type=int, default=3000)
    parser.add_argument("--num-texts", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="llm4rec-bench-") as scratch:
        folder = Path(scratch)
        inputs = {
            TEXT: _texts(arguments.texts, arguments.num_texts),
            IMAGE: _images(arguments.images, arguments.num_images, folder / "images"),
        }
        figures: dict[str, Any] = {"cores": CORES, "num_texts": len(inputs[TEXT]), "num_images": len(inputs[IMAGE])}
        figures |= {"texts": arguments.texts or "made up", "images": str(arguments.images or "made up")}
        for name, values in inputs.items():
            rounds = [_round(name, values, folder / f"{name}-{number}") for number in range(arguments.rounds)]
            figures |= _summary(name, rounds)
    store("encode", figures, time.monotonic() - started)


def _round(name: str, values: Sequence[str], folder: Path) -> dict[str, float]:
    """Inputs a second of each way, and the seconds until the stage called its first encoder."""
    loop = len(values) / _seconds(_bare(name, [values], CORES))
    processes = len(values) / _seconds(_bare(name, [values[core::CORES] for core in range(CORES)], 1))
    begun = time.time()
    spans = _stage(name, values, folder)
    found = {
        "stage": len(values) / _seconds(spans),
        "stage_with_start": len(values) / (time.time() - begun),
        "start_seconds": min(first for first, _ in spans) - begun,
        "bare_loop": loop,
        "bare_processes": processes,
    }
    found["ratio"] = found["stage"] / max(loop, processes)
    found["ratio_with_start"] = found["stage_with_start"] / max(loop, processes)
    print(name, {key: round(value, 3) for key, value in found.items()}, flush=True)
    return found


def _summary(name: str, rounds: Sequence[dict[str, float]]) -> dict[str, Any]:
    median = {key: statistics.median(found[key] for found in rounds) for key in rounds[0]}
    return {
        f"{name}_ratio": round(median["ratio"], 3),
        f"{name}s_per_second": round(median["stage"], 1),
        f"{name}_ratio_with_start": round(median["ratio_with_start"], 3),
        f"{name}_start_seconds": round(median["start_seconds"], 1),
        f"bare_loop_{name}s_per_second": round(median["bare_loop"], 1),
        f"bare_processes_{name}s_per_second": round(median["bare_processes"], 1),
        f"all_{name}_ratios": [round(found["ratio"], 3) for found in rounds],
    }


def _seconds(spans: Sequence[Span]) -> float:
    return max(last for _, last in spans) - min(first for first, _ in spans)


def _bare(name: str, shares: Sequence[Sequence[str]], threads: int) -> list[Span]:
    """One process a share, all of which start when the last is ready."""
    spawn = multiprocessing.get_context("spawn")
    barrier, answers = spawn.Barrier(len(shares)), spawn.SimpleQueue()
    processes = [spawn.Process(target=_loop, args=(name, share, threads, barrier, answers)) for share in shares]
    for process in processes:
        process.start()
    spans = [answers.get() for _ in shares]
    for process in processes:
        process.join()
    return spans


def _loop(name: str, values: Sequence[str], threads: int, barrier: Any, answers: Any) -> None:
    import torch

    torch.set_num_threads(threads)
    encoder = load_encoder(name, CONFIG)
    barrier.wait()
    first = time.time()
    for start in range(0, len(values), BATCH[name]):
        batch = values[start : start + BATCH[name]]
        encoder.encode(batch if name == TEXT else [Path(path).read_bytes() for path in batch])
    answers.put((first, time.time()))


def _stage(name: str, values: Sequence[str], folder: Path) -> list[Span]:
    """The stage on a corpus of nothing but these inputs; when each run of items began and ended."""
    connect()
    from llm4rec.cluster.pool import Free
    from llm4rec.cluster.resume import Steps
    from llm4rec.encode.stage import FeatureEncoder

    corpus = _corpus(RunStore(str(folder)), name, values)
    spans: list[Span] = []

    with RunStore(str(folder)).write("features", {}) as writer:
        steps, free = Steps("encode", writer.work), Free.now()

        def each(
            step: str, factory: Callable[[], Callable[[EncodeTask], Answer]], tasks: Sequence[EncodeTask]
        ) -> list[Answer]:
            answers = steps.each_with_actors(step, partial(_Timed, factory), tasks, partial(free.pool, on_gpu=True))
            spans.extend(answer["span"] for answer in answers)
            return answers

        encoder = FeatureEncoder(corpus, CONFIG, run=str(folder), source=str(folder), work=writer.work)
        features = encoder.encode(each)
        features.write(writer)
    present = features.info["counts"][name]["present"]
    if present != len(values):
        sys.exit(f"error: {present} of {len(values)} inputs could be encoded: {features.info['counts'][name]}")
    return spans


class _Timed:
    """Puts into every answer when it was worked on."""

    def __init__(self, factory: Callable[[], Callable[[EncodeTask], Answer]]) -> None:
        self._function = factory()

    def __call__(self, task: EncodeTask) -> Answer:
        first = time.time()
        return {**self._function(task), "span": (first, time.time())}


def _corpus(run: RunStore, name: str, values: Sequence[str]) -> Artifact:
    ids = [str(row) for row in range(len(values))]
    # a title that repeats the id is no text
    columns = {
        ITEM_ID: ids,
        "title": ids,
        "text": None,
        "categories": None,
        "numbers": None,
        "image": None,
        "audio": None,
    }
    columns[name] = list(values)
    table = {key: pa.nulls(len(ids)) if column is None else pa.array(column) for key, column in columns.items()}
    with run.write("corpus", {}) as writer:
        writer.write_table("items", pa.table(table))
    return run.open("corpus")


def _texts(source: str | None, count: int) -> list[str]:
    if source is None:
        rng = np.random.default_rng(0)
        return [" ".join(rng.choice(WORDS, rng.integers(8, 60))).capitalize() + "." for _ in range(count)]
    path, _, column = source.rpartition(":")
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8", newline="") as file:
        texts = [row[column] for row in csv.DictReader(file) if row[column]]
    return list(islice(cycle(texts), count))


def _images(source: Path | None, count: int, folder: Path) -> list[str]:
    """Paths inside the folder of the scratch files, which is as far as the stage lets a source reach."""
    folder.mkdir()
    if source is None:
        _make_images(folder, min(count, 500))
    else:
        for path in sorted(source.glob("*.jpg")):
            (folder / path.name).symlink_to(path.absolute())
    return list(islice(cycle(str(path) for path in sorted(folder.iterdir())), count))


def _make_images(folder: Path, count: int) -> None:
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (12, 8, 3)).astype(np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((200, 300), Image.Resampling.BICUBIC), np.int16)
        grain = smooth + rng.integers(-20, 20, smooth.shape, dtype=np.int16)
        Image.fromarray(grain.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=90)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING)
    main()
