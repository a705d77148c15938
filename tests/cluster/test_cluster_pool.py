"""Pools of actors, sized from what a cluster has free."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm4rec.cluster.pool import BESIDE_ACTORS, Free, Pool


@pytest.mark.parametrize(
    ("nodes", "num_tasks", "on_gpu", "expected"),
    [
        ([(2.0, 0.0)], 9, True, Pool(2, 0.8, 0)),
        ([(2.0, 0.0)], 1, True, Pool(1, 0.8, 0)),
        ([(1.0, 0.0)], 9, True, Pool(1, 0.8, 0)),
        ([(16.0, 4.0)], 9, True, Pool(4, 0.8, 1)),
        ([(16.0, 4.0)], 2, True, Pool(2, 0.8, 1)),
        ([(16.0, 4.0)], 99, False, Pool(16, 0.8, 0)),
        ([(2.0, 8.0)], 99, True, Pool(8, 0.2, 1)),
        ([(4.0, 0.5)], 9, True, Pool(4, 0.8, 0)),
        ([(60.0, 0.0), (4.0, 8.0)], 99, True, Pool(8, 0.4, 1)),
        ([(1.0, 0.0)] * 3, 9, True, Pool(3, 0.8, 0)),
        ([(8.0, 0.0)] * 8, 10**6, False, Pool(64, 0.8, 0)),
        ([(0.4, 0.0), (0.2, 0.0)], 9, True, Pool(1, 0.2, 0)),
        ([(0.0, 0.0)], 9, True, Pool(1, 0.5, 0)),
        ([], 9, True, Pool(1, 0.5, 0)),
    ],
)
def test_one_actor_a_gpu_else_one_a_cpu(
    nodes: list[tuple[float, float]], num_tasks: int, on_gpu: bool, expected: Pool
) -> None:
    assert Free(tuple(nodes)).pool(num_tasks, on_gpu=on_gpu) == expected


@given(
    nodes=st.lists(
        st.tuples(st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 8.0, 16.0]), st.sampled_from([0.0, 1.0, 4.0, 8.0])),
        min_size=1,
        max_size=5,
    ).filter(lambda nodes: any(cpus for cpus, _ in nodes)),
    num_tasks=st.sampled_from([1, 2, 10**6]),
    on_gpu=st.booleans(),
    data=st.data(),
)
def test_wherever_actors_are_placed_all_have_a_place_and_something_is_left_for_the_tasks_that_read_and_write(
    nodes: list[tuple[float, float]], num_tasks: int, on_gpu: bool, data: st.DataObject
) -> None:
    pool = Free(tuple(nodes)).pool(num_tasks, on_gpu=on_gpu)
    assert 1 <= pool.size <= num_tasks
    left = [list(node) for node in nodes]
    for _ in range(pool.size):
        roomy = [node for node in left if node[0] >= pool.num_cpus - 1e-9 and node[1] >= pool.num_gpus]
        assert roomy, "an actor has no place"
        node = data.draw(st.sampled_from(roomy))
        node[0] -= pool.num_cpus
        node[1] -= pool.num_gpus
    assert max(cpus for cpus, _ in left) >= BESIDE_ACTORS - 1e-9


def test_ray_is_told_what_each_actor_reserves() -> None:
    options = Free(((16.0, 4.0),)).pool(9, on_gpu=True).options()
    assert (options["num_cpus"], options["num_gpus"]) == (0.8, 1)
    assert (options["compute"].min_size, options["compute"].max_size) == (4, 4)
    assert options["max_restarts"] == 0, "an actor that waits for the room it had would keep its task waiting"
    assert options["compute"].max_tasks_in_flight_per_actor == 1, "no actor takes what another could do"
