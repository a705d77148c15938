"""What the parts of the served app see of each other: Serve handles behind the interfaces of one process."""

import functools
import logging
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Any

from ray.exceptions import RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError
from ray.serve.handle import DeploymentHandle

from llm4rec.cluster.engine import Drawn
from llm4rec.cluster.online import Ask, News
from llm4rec.cluster.resume import LOSSES
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.shards import AWAY, PAUSE_S, IndexUnavailableError, ShardedIndex
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.errors import Llm4RecError
from llm4rec.explain.grounds import Grounds
from llm4rec.explain.reason import Reason
from llm4rec.index.approximate import is_large
from llm4rec.serve.contract import RecommendRequest
from llm4rec.serve.errors import BusyError, NotReadyError

logger = logging.getLogger(__name__)

LEARNER_ANSWERS_S = 5.0
PART_ANSWERS_S = 5.0
"""Serve sees a lost replica after two seconds and needs a few to start another."""
PART_OPENS_S = 600.0
"""For millions of vectors to be read, checked and opened."""


LOST = (*LOSSES, DeploymentUnavailableError)
"""What Serve raises of a replica that ended with a request in its hands. Drawing writes nothing: another may draw."""


class RemoteDrawing:
    """The ranker deployment as `Drawing`."""

    def __init__(self, ranker: DeploymentHandle) -> None:
        self._ranker = ranker

    async def draw(self, request: RecommendRequest) -> Drawn:
        """Draw a slate; it is not yet written down.

        Raises:
            BusyError: too many wait for the ranker, or for the retriever.
            NotReadyError: two that were at it ended.
            Llm4RecError: what else they say the caller can mend.
        """
        try:
            return await self._draw(request)
        except LOST:
            logger.warning("who drew a slate ended; it is drawn once more")
        try:
            return await self._draw(request)
        except LOST:
            raise NotReadyError("the processes that draw slates are being replaced; try again") from None

    async def _draw(self, request: RecommendRequest) -> Drawn:
        try:
            drawn = await self._ranker.draw.remote(request)
        except BackPressureError:
            raise BusyError from None
        except RayTaskError as error:
            cause = origin(error)
            raise cause from (None if isinstance(cause, Llm4RecError) else error)
        if isinstance(drawn, Llm4RecError):
            raise drawn
        return drawn


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


def origin(error: BaseException) -> BaseException:
    """What was raised in the process where it happened: as Ray raises it elsewhere, its text is that of a traceback."""
    while isinstance(error, RayTaskError):
        error = error.cause
    return error


class PartSearch:
    """Searches each model in parts, which must be open."""

    def __init__(self, parts: Sequence[DeploymentHandle], config: RunConfig) -> None:
        self._parts, self._exact_up_to = parts, config.index.exact_up_to
        self.patience_s = PART_OPENS_S
        """How long to wait for parts to open a model: long when the service starts, later the next look will do."""

    def __call__(self, snapshot: Snapshot) -> ShardedIndex | None:
        """Search of a model; None where all of its items are scored.

        Raises:
            IndexUnavailableError: some part is not open in time.
        """
        num_items, version = snapshot.index.num_items, snapshot.version
        if not is_large(num_items, self._exact_up_to):
            logger.warning(
                "cluster.index_parts is %d, but all %d items of model %s are scored: index.exact_up_to is %d",
                *(len(self._parts), num_items, version, self._exact_up_to),
            )
            return None
        ends = time.monotonic() + self.patience_s
        for number, part in enumerate(self._parts, start=1):
            wait_for(functools.partial(part.ready.remote, version), f"part {number} of {len(self._parts)}", ends)
        asks: list[Any] = [functools.partial(part.search.remote, version) for part in self._parts]
        return ShardedIndex(asks, num_items, PART_ANSWERS_S)


def wait_for(ready: Callable[[], Any], what: str, ends: float) -> None:
    """Ask whether a part of an index is open until it is.

    Raises:
        IndexUnavailableError: it is not by then, in seconds of `time.monotonic`.
    """
    while True:
        with suppress(*AWAY):
            if ready().result(timeout_s=max(0.0, ends - time.monotonic())):
                return
        if time.monotonic() + PAUSE_S >= ends:
            raise IndexUnavailableError(f"{what} of the index was not opened in time; its replicas' logs say why")
        time.sleep(PAUSE_S)


def asking(learner: DeploymentHandle) -> Ask:
    """What a listener asks a learner."""

    def ask(version: str, epoch: str, examples: int) -> News | None:
        answer: Any = learner.news.remote(version, epoch, examples)
        return answer.result(timeout_s=LEARNER_ANSWERS_S)

    return ask
