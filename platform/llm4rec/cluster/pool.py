"""How many actors a stage runs, and what each of them reserves, from what the cluster has free."""

from collections.abc import Mapping
from dataclasses import dataclass

import ray

LEFT_FREE = 1.0
"""CPUs that actors leave to the tasks which read and write, or those would wait for the actors for ever."""


@dataclass(frozen=True)
class Pool:
    """A number of like actors.

    Attributes:
        size: how many, at least 1.
        num_cpus: CPUs that each reserves.
        num_gpus: GPUs that each reserves.
    """

    size: int
    num_cpus: float
    num_gpus: int


def encoder_pool(num_tasks: int) -> Pool:
    """Actors that each hold a network, for so many tasks, on this cluster."""
    return pool_within(ray.available_resources(), num_tasks)


def pool_within(free: Mapping[str, float], num_tasks: int) -> Pool:
    """One actor a GPU where there are any, else one a CPU; never more than tasks.

    >>> pool_within({"CPU": 2.0}, 100)
    Pool(size=2, num_cpus=0.5, num_gpus=0)
    >>> pool_within({"CPU": 64.0, "GPU": 8.0}, 100)
    Pool(size=8, num_cpus=1.0, num_gpus=1)
    """
    cpus, gpus = free.get("CPU", 1.0), int(free.get("GPU", 0.0))
    size = max(1, min(gpus or int(cpus), num_tasks))
    return Pool(size, min(1.0, max(cpus - LEFT_FREE, 0.1) / size), min(gpus, 1))
