"""How many actors a stage runs, and what each of them reserves, from what the cluster has free."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray.data
from ray._private.state import available_resources_per_node  # noqa: PLC2701

LEFT_FREE = 1.0
"""CPUs of one node that actors leave to the tasks which read and write, or those would wait for the actors for ever."""


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
    """CPUs and GPUs that nothing has reserved.

    Attributes:
        cpus: of each node.
        gpus: of all nodes.
    """

    cpus: tuple[float, ...]
    gpus: float

    @classmethod
    def now(cls) -> "Free":
        """Of the whole cluster. Ask when a stage starts: what actors held is given back some time after their end."""
        nodes: list[Mapping[str, float]] = list(available_resources_per_node().values())
        return cls(tuple(node.get("CPU", 0.0) for node in nodes), sum(node.get("GPU", 0.0) for node in nodes))

    @property
    def places(self) -> int:
        """For how many actors of a CPU each there is room."""
        return sum(int(cpus) for cpus in self.cpus)

    def pool(self, num_tasks: int, *, on_gpu: bool) -> Pool:
        """One actor a GPU where there are any and the work can use them, else one a CPU; never more than tasks.

        On one node the actors share what is left to them. On several each takes a whole CPU, and there is one actor
        fewer: however they are placed, a node has a whole CPU left, which shares would not guarantee.

        >>> Free((2.0,), 0.0).pool(100, on_gpu=True)
        Pool(size=2, num_cpus=0.5, num_gpus=0)
        >>> Free((1.0, 1.0, 1.0), 0.0).pool(100, on_gpu=True)
        Pool(size=2, num_cpus=1.0, num_gpus=0)
        >>> Free((64.0,), 8.0).pool(100, on_gpu=True)
        Pool(size=8, num_cpus=1.0, num_gpus=1)
        """
        gpus = int(self.gpus) if on_gpu else 0
        if self.places < 1 + LEFT_FREE:
            return Pool(max(1, min(gpus, num_tasks)), 0.0, min(gpus, 1))
        if len(self.cpus) > 1:
            size = max(1, min(gpus or self.places - int(LEFT_FREE), num_tasks))
            return Pool(size, 1.0 if self.places - size >= LEFT_FREE else 0.0, min(gpus, 1))
        size = max(1, min(gpus or self.places, num_tasks))
        return Pool(size, min(1.0, (self.cpus[0] - LEFT_FREE) / size), min(gpus, 1))
