"""What the parts of the served app see of each other: Serve handles behind the interfaces of one process."""

import functools
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ray.serve.exceptions import BackPressureError
from ray.serve.handle import DeploymentHandle

from llm4rec.cluster.engine import Drawn
from llm4rec.cluster.online import Ask, News
from llm4rec.cluster.releases import Search
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.shards import ShardedIndex
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.explain.grounds import Grounds
from llm4rec.explain.reason import Reason
from llm4rec.index.approximate import is_large
from llm4rec.serve.contract import RecommendRequest
from llm4rec.serve.errors import BusyError

LEARNER_ANSWERS_S = 5.0
PART_ANSWERS_S, PART_OPENS_S = 5.0, 600.0


class RemoteDrawing:
    """The ranker deployment as `Drawing`."""

    def __init__(self, ranker: DeploymentHandle) -> None:
        self._ranker = ranker

    async def draw(self, request: RecommendRequest) -> Drawn:
        """Draw a slate; it is not yet written down.

        Raises:
            BusyError: too many wait for the ranker, or for the retriever.
        """
        try:
            return await self._ranker.draw.remote(request)
        except BackPressureError:
            raise BusyError from None


class RemoteWriter:
    """The explainer deployment as a `ReasonWriter`."""

    def __init__(self, explainer: DeploymentHandle) -> None:
        self._explainer = explainer

    async def write(self, items: Sequence[Grounds], seconds: float) -> list[Reason]:
        """A checked reason for each item."""
        return await self._explainer.write.remote(items, seconds)

    async def stream(self, grounds: Grounds, seconds: float) -> AsyncIterator[str]:
        """Unchecked pieces of one reason."""
        pieces: Any = self._explainer.options(stream=True).stream.remote(grounds, seconds)
        async for piece in pieces:
            yield piece


def searching(parts: Sequence[DeploymentHandle], config: RunConfig) -> Search:
    """Search in parts, which are waited for when the first model is opened."""

    def search(snapshot: Snapshot) -> ShardedIndex | None:
        if not is_large(snapshot.index.num_items, config.index.exact_up_to):
            return None
        for part in parts:
            opening: Any = part.ready.remote()
            opening.result(timeout_s=PART_OPENS_S)
        asks: list[Any] = [functools.partial(part.search.remote, snapshot.version) for part in parts]
        return ShardedIndex(asks, snapshot.index.num_items, PART_ANSWERS_S)

    return search


def asking(learner: DeploymentHandle) -> Ask:
    """What a listener asks a learner."""

    def ask(version: str, epoch: str, examples: int) -> News | None:
        answer: Any = learner.news.remote(version, epoch, examples)
        return answer.result(timeout_s=LEARNER_ANSWERS_S)

    return ask
