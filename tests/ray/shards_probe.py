"""Submitted by a test: an index in parts, of which actors are killed while it is searched."""

import functools
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import numpy as np
import ray

from llm4rec.cluster.shards import IndexUnavailableError, ShardedIndex
from llm4rec.index.approximate import ApproximateIndex
from llm4rec.index.parts import cut
from llm4rec.index.vectors import ItemIndex


def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(6000, 16)).astype(np.float32)


def open_part(kind: type, start: int, stop: int) -> ItemIndex | ApproximateIndex:
    return kind.build(vectors()[start:stop])


def parts(kind: type) -> list:
    return [(functools.partial(open_part, kind, *part), part[0]) for part in cut(6000, 3)]


if __name__ == "__main__":
    ray.init()
    queries = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    whole = ItemIndex.build(vectors())
    expected, scores = whole.search(queries, 10)

    index = ShardedIndex(parts(ItemIndex), replicas=2, num_cpus=0)
    found, found_scores = index.search(queries, 10)
    assert np.array_equal(found, expected)
    np.testing.assert_allclose(found_scores, scores, rtol=1e-5)
    assert np.array_equal(index.search(queries, 5, list(expected))[0], whole.search(queries, 5, list(expected))[0])
    print("same as the whole index")

    killed, enough = Event(), Event()

    def ask() -> int:
        """How many answers were wrong until some were given after the last kill."""
        wrong = late = 0
        while late < 3:
            late += killed.is_set()
            wrong += not np.array_equal(index.search(queries, 10)[0], expected)
        enough.set()
        return wrong

    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask)
        for part in index.actors:
            ray.kill(part[0], no_restart=False)
            enough.wait(0.5)
        killed.set()
        print(f"wrong while actors were killed: {asking.result()}")

    # an actor that hangs, as one whose machine is cut off: the other one of its part answers
    pids = [ray.get(one.__ray_call__.remote(lambda _: os.getpid())) for one in index.actors[0]]
    os.kill(pids[0], signal.SIGSTOP)
    index._patience_s = 20.0
    assert all(np.array_equal(index.search(queries, 10)[0], expected) for _ in range(2))
    os.kill(pids[0], signal.SIGCONT)
    print("an actor that hangs stops nobody")

    alone = ShardedIndex(parts(ApproximateIndex), num_cpus=0, patience_s=60)
    before = alone.search(queries, 10)[0]
    ray.kill(alone.actors[1][0], no_restart=False)
    assert np.array_equal(alone.search(queries, 10)[0], before)
    print("the only actor of a part came back with the same answers")

    try:
        ShardedIndex(parts(ItemIndex), num_cpus=1000, opens_s=3)
    except IndexUnavailableError as error:
        print(error)

    impatient = ShardedIndex(parts(ItemIndex), num_cpus=0, patience_s=1)
    ray.kill(impatient.actors[2][0], no_restart=True)
    try:
        impatient.search(queries, 10)
    except IndexUnavailableError as error:
        print(error)
