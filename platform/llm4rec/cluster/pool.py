"""How many actors a stage runs, and what each of them reserves, from what the cluster has free."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray.data
from ray._private.state import available_resources_per_node  # noqa: PLC2701

AN_ACTOR = 0.8
"""Of each CPU: what is left takes the tasks that read and write, which would otherwise wait for the actors for ever."""
BESIDE_ACTORS = 0.1
"""CPUs that each such task reserves."""


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
        # an actor whose node is gone would wait for room for ever, and its task for it: users start a pool anew
        return {"compute": strategy, "num_cpus": self.num_cpus, "num_gpus": self.num_gpus, "max_restarts": 0}


@dataclass(frozen=True)
class Free:
    """What nothing has reserved.

    Attributes:
        nodes: CPUs and GPUs of each node.
    """

    nodes: tuple[tuple[float, float], ...]

    @classmethod
    def now(cls) -> "Free":
        """Of the whole cluster. Ask when a stage starts: what actors held is given back some time after their end."""
        found: list[Mapping[str, float]] = list(available_resources_per_node().values())
        return cls(tuple((node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in found))

    @property
    def places(self) -> int:
        """For how many actors of a CPU each there is room."""
        return sum(int(cpus) for cpus, _ in self.nodes)

    def pool(self, num_tasks: int, *, on_gpu: bool) -> Pool:
        """One actor a GPU where there are any and the work can use them, else one a CPU; never more than tasks.

        Each leaves a fifth of its CPU, so that however actors are placed some node has something left.

        >>> Free(((2.0, 0.0), (1.0, 0.0))).pool(100, on_gpu=True)
        Pool(size=3, num_cpus=0.8, num_gpus=0)
        >>> Free(((64.0, 8.0),)).pool(100, on_gpu=True)
        Pool(size=8, num_cpus=0.8, num_gpus=1)
        """
        shares = [min(1.0, cpus / int(gpus)) for cpus, gpus in self.nodes if gpus >= 1] if on_gpu else []
        if shares:
            gpus = sum(int(gpus) for _, gpus in self.nodes)
            return Pool(min(gpus, num_tasks), AN_ACTOR * min(shares), 1)
        if not self.places:  # a part of a CPU, or nodes that are still to come
            return Pool(1, min(AN_ACTOR, 0.5 * max((cpus for cpus, _ in self.nodes if cpus), default=1.0)), 0)
        return Pool(max(1, min(self.places, num_tasks)), AN_ACTOR, 0)
