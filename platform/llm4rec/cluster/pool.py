"""How many actors a stage runs, and what each of them reserves, from what the cluster has free."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray.data

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

    def options(self) -> dict[str, Any]:
        """What Ray Data's `map` and `map_batches` take."""
        # one task at a time: the first actor to be ready would otherwise take a second one from the others
        strategy = ray.data.ActorPoolStrategy(size=self.size, max_tasks_in_flight_per_actor=1)
        return {"compute": strategy, "num_cpus": self.num_cpus, "num_gpus": self.num_gpus}


@dataclass(frozen=True)
class Free:
    """CPUs and GPUs that nothing has reserved."""

    cpus: float
    gpus: float

    @classmethod
    def now(cls) -> "Free":
        """Of the whole cluster. Ask when a stage starts: what actors held is given back some time after their end."""
        found: Mapping[str, float] = ray.available_resources()
        return cls(found.get("CPU", 1.0), found.get("GPU", 0.0))

    def pool(self, num_tasks: int, *, on_gpu: bool) -> Pool:
        """One actor a GPU where there are any and the work can use them, else one a CPU; never more than tasks.

        >>> Free(2.0, 0.0).pool(100, on_gpu=True)
        Pool(size=2, num_cpus=0.5, num_gpus=0)
        >>> Free(64.0, 8.0).pool(100, on_gpu=True)
        Pool(size=8, num_cpus=1.0, num_gpus=1)
        """
        gpus = int(self.gpus) if on_gpu else 0
        size = max(1, min(gpus or int(self.cpus), num_tasks))
        return Pool(size, min(1.0, max(self.cpus - LEFT_FREE, 0.1) / size), min(gpus, 1))
