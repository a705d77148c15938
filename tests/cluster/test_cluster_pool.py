"""Pools of actors, sized from what a cluster has free."""

import pytest

from llm4rec.cluster.pool import Pool, pool_within


@pytest.mark.parametrize(
    ("free", "num_tasks", "expected"),
    [
        ({"CPU": 2.0}, 9, Pool(2, 0.5, 0)),
        ({"CPU": 2.0}, 1, Pool(1, 1.0, 0)),
        ({"CPU": 1.0}, 9, Pool(1, 0.1, 0)),
        ({}, 9, Pool(1, 0.1, 0)),
        ({"CPU": 16.0, "GPU": 4.0}, 9, Pool(4, 1.0, 1)),
        ({"CPU": 16.0, "GPU": 4.0}, 2, Pool(2, 1.0, 1)),
        ({"CPU": 2.0, "GPU": 8.0}, 99, Pool(8, 0.125, 1)),
        ({"CPU": 4.0, "GPU": 0.5}, 9, Pool(4, 0.75, 0)),
    ],
)
def test_one_actor_a_gpu_else_one_a_cpu(free: dict[str, float], num_tasks: int, expected: Pool) -> None:
    assert pool_within(free, num_tasks) == expected


@pytest.mark.parametrize("cpus", [1, 2, 3, 64])
@pytest.mark.parametrize("gpus", [0, 1, 8])
def test_something_is_left_for_the_tasks_that_read_and_write(cpus: int, gpus: int) -> None:
    pool = pool_within({"CPU": float(cpus), "GPU": float(gpus)}, 10**6)
    assert pool.size * pool.num_cpus <= max(cpus - 1, 0.1) + 1e-9
