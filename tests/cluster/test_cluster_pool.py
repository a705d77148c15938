"""Pools of actors, sized from what a cluster has free."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm4rec.cluster.pool import Free, Pool


@pytest.mark.parametrize(
    ("free", "num_tasks", "on_gpu", "expected"),
    [
        (Free((2.0,), 0.0), 9, True, Pool(2, 0.5, 0)),
        (Free((2.0,), 0.0), 1, True, Pool(1, 1.0, 0)),
        (Free((16.0,), 4.0), 9, True, Pool(4, 1.0, 1)),
        (Free((16.0,), 4.0), 2, True, Pool(2, 1.0, 1)),
        (Free((16.0,), 4.0), 99, False, Pool(16, 15 / 16, 0)),
        (Free((2.0,), 8.0), 99, True, Pool(8, 0.125, 1)),
        (Free((4.0,), 0.5), 9, True, Pool(4, 0.75, 0)),
        (Free((1.0,), 0.0), 9, True, Pool(1, 0.0, 0)),
        (Free((0.5, 0.9), 0.0), 9, True, Pool(1, 0.0, 0)),
        (Free((1.0, 1.0, 1.0), 0.0), 9, True, Pool(2, 1.0, 0)),
        (Free((8.0,) * 8, 0.0), 10**6, False, Pool(63, 1.0, 0)),
        (Free((4.0, 4.0), 8.0), 99, True, Pool(8, 0.0, 1)),
        (Free((8.0, 8.0), 8.0), 99, True, Pool(8, 1.0, 1)),
    ],
)
def test_one_actor_a_gpu_else_one_a_cpu(free: Free, num_tasks: int, on_gpu: bool, expected: Pool) -> None:
    assert free.pool(num_tasks, on_gpu=on_gpu) == expected


@given(
    cpus=st.lists(st.sampled_from([0.0, 0.4, 0.5, 1.0, 1.5, 2.0, 3.0, 8.0, 16.0]), min_size=1, max_size=5),
    gpus=st.sampled_from([0.0, 0.5, 1.0, 8.0]),
    num_tasks=st.sampled_from([1, 2, 10**6]),
    data=st.data(),
)
def test_wherever_actors_are_placed_a_node_keeps_a_whole_cpu_for_the_tasks_that_read_and_write(
    cpus: list[float], gpus: float, num_tasks: int, data: st.DataObject
) -> None:
    pool = Free(tuple(cpus), gpus).pool(num_tasks, on_gpu=True)
    assert 1 <= pool.size <= num_tasks
    left = list(cpus)
    for _ in range(pool.size):
        roomy = [node for node, free in enumerate(left) if free >= pool.num_cpus]
        assert roomy, "an actor has no place"
        left[data.draw(st.sampled_from(roomy))] -= pool.num_cpus
    assert max(left) >= min(1.0, max(cpus)) - 1e-9


def test_ray_is_told_what_each_actor_reserves() -> None:
    options = Free((16.0,), 4.0).pool(9, on_gpu=True).options()
    assert (options["num_cpus"], options["num_gpus"]) == (1.0, 1)
    assert (options["compute"].min_size, options["compute"].max_size) == (4, 4)
    assert options["compute"].max_tasks_in_flight_per_actor == 1, "no actor takes what another could do"
