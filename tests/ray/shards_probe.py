"""Submitted by a test: an index in parts, of which replicas are killed and stopped while it is searched."""

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import ray
from ray import serve

from llm4rec.cluster.shards import IndexUnavailableError, ShardedIndex
from llm4rec.index.approximate import ApproximateIndex
from llm4rec.index.parts import Part, cut
from llm4rec.index.vectors import ItemIndex

ITEMS, PARTS = 6000, 3


def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(ITEMS, 16)).astype(np.float32)


class Holder:
    """A replica of a part."""

    def __init__(self, kind: Any, start: int, stop: int) -> None:
        self._part = Part(kind.build(vectors()[start:stop]), start)

    def search(self, *question: Any) -> Any:
        return self._part.search(*question)

    def pid(self) -> int:
        return os.getpid()


class Root:
    """Serve asks for one deployment that all others are reached from."""

    def __init__(self, *parts: Any) -> None: ...


def started(name: str, kind: Any, replicas: int) -> list[Any]:
    """Handles of the parts of an app."""
    options = {"health_check_period_s": 1.0, "health_check_timeout_s": 5.0, "ray_actor_options": {"num_cpus": 0}}
    holders = [
        serve.deployment(Holder, name=f"part-{n}", num_replicas=replicas, **options).bind(kind, *part)
        for n, part in enumerate(cut(ITEMS, PARTS))
    ]
    serve.run(serve.deployment(Root, **options).bind(*holders), name=name, route_prefix=None)
    return [serve.get_deployment_handle(f"part-{n}", name) for n in range(PARTS)]


def sharded(handles: list[Any], patience_s: float) -> ShardedIndex:
    return ShardedIndex([handle.search.remote for handle in handles], ITEMS, patience_s)


if __name__ == "__main__":
    ray.init()
    serve.start(proxy_location="Disabled")
    queries = np.random.default_rng(1).normal(size=(5, 16)).astype(np.float32)
    whole = ItemIndex.build(vectors())
    expected, scores = whole.search(queries, 10)

    handles = started("twice", ItemIndex, 2)
    index = sharded(handles, 60)
    found, found_scores = index.search(queries, 10)
    assert np.array_equal(found, expected)
    np.testing.assert_allclose(found_scores, scores, rtol=1e-5)
    assert np.array_equal(index.search(queries, 5, list(expected))[0], whole.search(queries, 5, list(expected))[0])
    print("same as the whole index")

    right, over = [True], Event()

    def ask() -> None:
        while not over.is_set():
            right.append(np.array_equal(index.search(queries, 10)[0], expected))

    with ThreadPoolExecutor() as pool:
        asking = pool.submit(ask)
        for handle in handles:
            os.kill(handle.pid.remote().result(timeout_s=60), signal.SIGKILL)
            enough = len(right) + 3  # the first may have been answered before
            while len(right) < enough and not asking.done():
                time.sleep(0.01)
        over.set()
        asking.result()
        print(f"wrong of {len(right)} answers while replicas were killed: {right.count(False)}")

    # one that hangs, as one whose machine is cut off: the other one of its part answers
    pid = handles[0].pid.remote().result(timeout_s=60)
    os.kill(pid, signal.SIGSTOP)
    assert all(np.array_equal(sharded(handles, 20).search(queries, 10)[0], expected) for _ in range(4))
    print("a replica that hangs stops nobody")
    serve.delete("twice")
    try:
        sharded(handles, 1).search(queries, 10)
    except IndexUnavailableError as error:
        print(error)

    handles = started("alone", ApproximateIndex, 1)
    alone = sharded(handles, 60)
    before = alone.search(queries, 10)[0]
    os.kill(handles[1].pid.remote().result(timeout_s=60), signal.SIGKILL)
    assert np.array_equal(alone.search(queries, 10)[0], before)
    print("the only replica of a part came back with the same answers")
    serve.delete("alone")
