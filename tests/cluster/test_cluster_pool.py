"""Pools of actors, sized from what a cluster has free."""

import pytest

from llm4rec.cluster.pool import Free, Pool


@pytest.mark.parametrize(
    ("free", "num_tasks", "on_gpu", "expected"),
    [
        (Free(2.0, 0.0), 9, True, Pool(2, 0.5, 0)),
        (Free(2.0, 0.0), 1, True, Pool(1, 1.0, 0)),
        (Free(1.0, 0.0), 9, True, Pool(1, 0.1, 0)),
        (Free(16.0, 4.0), 9, True, Pool(4, 1.0, 1)),
        (Free(16.0, 4.0), 2, True, Pool(2, 1.0, 1)),
        (Free(16.0, 4.0), 99, False, Pool(16, 15 / 16, 0)),
        (Free(2.0, 8.0), 99, True, Pool(8, 0.125, 1)),
        (Free(4.0, 0.5), 9, True, Pool(4, 0.75, 0)),
    ],
)
def test_one_actor_a_gpu_else_one_a_cpu(free: Free, num_tasks: int, on_gpu: bool, expected: Pool) -> None:
    assert free.pool(num_tasks, on_gpu=on_gpu) == expected


@pytest.mark.parametrize("cpus", [1, 2, 3, 64])
@pytest.mark.parametrize("gpus", [0, 1, 8])
def test_something_is_left_for_the_tasks_that_read_and_write(cpus: int, gpus: int) -> None:
    pool = Free(float(cpus), float(gpus)).pool(10**6, on_gpu=True)
    assert pool.size * pool.num_cpus <= max(cpus - 1, 0.1) + 1e-9


def test_ray_is_told_what_each_actor_reserves() -> None:
    options = Free(16.0, 4.0).pool(9, on_gpu=True).options()
    assert (options["num_cpus"], options["num_gpus"]) == (1.0, 1)
    assert (options["compute"].min_size, options["compute"].max_size) == (4, 4)
    assert options["compute"].max_tasks_in_flight_per_actor == 1, "no actor takes what another could do"
