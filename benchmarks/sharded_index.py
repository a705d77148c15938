"""An index in parts over five million vectors: what it finds, how fast, and what the loss of a part does.

    python benchmarks/sharded_index.py    # writes benchmarks/results/sharded_index.json, four minutes, some GB

Vectors of 64 numbers, of length one, in 20,000 clumps; queries lie near some of them. One index is built and written as
the index stage writes it, and cut into three parts as the service does (cluster/shards.py), a Serve replica each, on a
Ray of its own; `recall100` is against all inner products. One is killed with -9 while somebody searches all the time:
`wrong` are answers that differ from those before, `part_back_s` is the longest wait, in which the part was read again.
Then exact and approximate search of catalogues of other sizes on one core, of one query after the other: where the
approximate one begins to pay is what `index.exact_up_to` should say.
"""

import argparse
import os
import signal
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
from measure import store

from llm4rec.artifacts import RunStore
from llm4rec.cluster.session import connect
from llm4rec.index.approximate import ApproximateIndex, read_near
from llm4rec.index.parts import Part, cut
from llm4rec.index.vectors import ItemIndex

ITEMS, WIDTH, PARTS, CLUMPS, K = 5_000_000, 64, 3, 20_000, 100
QUERIES, SPREAD = 300, 0.6
SIZES = (10_000, 100_000, 300_000, 1_000_000)


def main() -> None:
    """Build, search, kill, and store what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=ITEMS, help="a trial with fewer; stores nothing")
    options = parser.parse_args()
    began = time.monotonic()
    connect()
    queries = asked(options.items)
    best = exact(options.items, queries)
    with tempfile.TemporaryDirectory() as folder:
        run(options.items, folder, queries, best, began)


def run(num_items: int, folder: str, queries: np.ndarray, best: np.ndarray, began: float) -> None:
    """Measure an index that is written to a folder."""
    from ray import serve  # after `connect`: its import fixes how Ray authenticates

    from llm4rec.cluster.shards import ShardedIndex

    started = time.monotonic()
    write(num_items, folder)
    figures: dict[str, Any] = {"items": num_items, "parts": PARTS, "build_s": round(time.monotonic() - started, 1)}
    started = time.monotonic()
    handles = deployed(num_items, folder)
    figures["open_s"] = round(time.monotonic() - started, 1)
    index = ShardedIndex([handle.search.remote for handle in handles], num_items, patience_s=900)
    found, seconds = searched(index, queries)
    p50, p95 = np.quantile(seconds, [0.5, 0.95]) * 1000
    figures |= {
        "recall100": round(recall(found, best), 4),
        "p50_ms": round(float(p50), 1),
        "p95_ms": round(float(p95), 1),
        "memory_mb_by_part": memory(),
    }
    print(figures, flush=True)
    figures["loss"] = lost(index, handles[1], queries, found)
    print(figures["loss"], flush=True)
    serve.shutdown()
    figures["sizes"] = [sized(size) for size in SIZES if size <= num_items]
    if num_items != ITEMS:
        print(figures, "a trial: nothing is stored", sep="\n")
        return
    store("sharded_index", figures, time.monotonic() - began, seeds=[0])


def vectors(start: int, stop: int) -> np.ndarray:
    """Those of some codes: the same wherever they are made, a hundred thousand at a time."""
    centres = np.random.default_rng(0).normal(size=(CLUMPS, WIDTH)).astype(np.float32)
    blocks = []
    for block in range(start // 100_000, -(-stop // 100_000)):
        rng = np.random.default_rng((1, block))
        own = centres[rng.integers(CLUMPS, size=100_000)] + SPREAD * rng.normal(size=(100_000, WIDTH)).astype(
            np.float32
        )
        first = block * 100_000
        blocks.append(own[max(0, start - first) : stop - first])
    found = np.concatenate(blocks)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def asked(num_items: int) -> np.ndarray:
    """Queries near some items."""
    rng = np.random.default_rng(2)
    near = vectors(0, min(num_items, 100_000))[rng.integers(min(num_items, 100_000), size=QUERIES)]
    moved = near + 0.3 / np.sqrt(WIDTH) * rng.normal(size=near.shape).astype(np.float32)
    return (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)


def write(num_items: int, folder: str) -> None:
    """Build the index of the whole catalogue, and write it."""
    own = vectors(0, num_items)
    with RunStore(folder).write("index", {}) as writer:
        ItemIndex.build(own).write(writer)
        ApproximateIndex.build(own).write(writer)


class Holder:
    """A replica of a part."""

    def __init__(self, folder: str, start: int, stop: int) -> None:
        artifact = RunStore(folder).open("index")
        own = read_near(artifact, ItemIndex.read(artifact), 0, within=(start, stop))
        assert own is not None, "an index was written"
        self._part = Part(own, start)

    def search(self, *question: Any) -> Any:
        """See `Part.search`."""
        return self._part.search(*question)

    def kill(self) -> None:
        """As the machine's kernel would, where memory is short."""
        os.kill(os.getpid(), signal.SIGKILL)


class Root:
    """What Serve reaches all parts from."""

    def __init__(self, *parts: Any) -> None: ...


def deployed(num_items: int, folder: str) -> list[Any]:
    """Handles of the parts, once they are open."""
    from ray import serve

    watched: dict[str, Any] = {"health_check_period_s": 2.0, "health_check_timeout_s": 10.0}
    serve.start(proxy_location="Disabled")
    holders = []
    for number, part in enumerate(cut(num_items, PARTS)):
        holder: Any = serve.deployment(Holder, name=f"part-{number}", ray_actor_options={"num_cpus": 0.5}, **watched)
        holders.append(holder.bind(folder, *part))
    root: Any = serve.deployment(Root, ray_actor_options={"num_cpus": 0})
    serve.run(root.bind(*holders), name="index", route_prefix=None)
    return [serve.get_deployment_handle(f"part-{number}", "index") for number in range(PARTS)]


def exact(num_items: int, queries: np.ndarray) -> np.ndarray:
    """Codes of the best items, shape (B, K), from all inner products."""
    scores, codes = np.empty((len(queries), 0), np.float32), np.empty((len(queries), 0), np.int64)
    for start in range(0, num_items, 500_000):
        stop = min(start + 500_000, num_items)
        scores = np.concatenate([scores, queries @ vectors(start, stop).T], axis=1)
        codes = np.concatenate([codes, np.broadcast_to(np.arange(start, stop), (len(queries), stop - start))], axis=1)
        best = np.argpartition(-scores, K - 1, axis=1)[:, :K]
        scores, codes = np.take_along_axis(scores, best, 1), np.take_along_axis(codes, best, 1)
    return codes


def searched(index: Any, queries: np.ndarray) -> tuple[np.ndarray, list[float]]:
    """What is found for each query alone, and the seconds of each."""
    found, seconds = [], []
    for query in queries:
        began = time.perf_counter()
        found.append(index.search(query[None], K)[0][0])
        seconds.append(time.perf_counter() - began)
    return np.array(found), seconds


def recall(found: np.ndarray, best: np.ndarray) -> float:
    """Share of the best items that were found."""
    return float(
        np.mean([len(set(one) & set(other)) / K for one, other in zip(found.tolist(), best.tolist(), strict=True)])
    )


def memory() -> list[int]:
    """MiB that each part's process has to itself."""
    names = [(process, " ".join(process.cmdline())) for process in psutil.process_iter()]
    return [round(process.memory_full_info().uss / 2**20) for process, name in names if ":index:part-" in name]


def lost(index: Any, part: Any, queries: np.ndarray, before: np.ndarray) -> dict[str, Any]:
    """Search all the time while a part is killed and comes back."""
    over = threading.Event()

    def ask() -> tuple[int, list[float]]:
        """Wrong answers, and the seconds of all."""
        wrong, waits = 0, list[float]()
        while not over.is_set():
            query, began = len(waits) % len(queries), time.perf_counter()
            wrong += not np.array_equal(index.search(queries[query][None], K)[0][0], before[query])
            waits.append(time.perf_counter() - began)
        return wrong, waits

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        time.sleep(3)
        part.kill.remote()
        time.sleep(5)
        index.search(queries[:1], K)  # waits for it
        time.sleep(3)
        over.set()
        wrong, waits = asking.result()
    return {"searches": len(waits), "wrong": wrong, "part_back_s": round(max(waits), 1)}


def sized(num_items: int) -> dict[str, Any]:
    """Exact beside approximate search of a catalogue of some size, in this process."""
    own, queries = vectors(0, num_items), asked(num_items)
    whole, near = ItemIndex.build(own), ApproximateIndex.build(own)
    best, exact_s = searched(whole, queries)
    found, near_s = searched(near, queries)
    return {
        "items": num_items,
        "exact_p50_ms": round(float(np.median(exact_s)) * 1000, 2),
        "approximate_p50_ms": round(float(np.median(near_s)) * 1000, 2),
        "recall100": round(recall(found, best), 4),
    }


if __name__ == "__main__":
    main()
