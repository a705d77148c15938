"""An index that no node holds alone: its parts in actors, each several times, and a search that asks all of them."""

import itertools
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import ray
from ray.exceptions import GetTimeoutError, ObjectLostError, RayActorError

from llm4rec.errors import Llm4RecError
from llm4rec.index.parts import merge
from llm4rec.index.vectors import NO_ITEM
from llm4rec.schema import FloatMatrix, IntVector

log = logging.getLogger("llm4rec")

PAUSE_S = 0.1


class IndexUnavailableError(Llm4RecError):
    """A part of the index that no actor answers for; another try may succeed."""


class SearchableIndex(Protocol):
    """What exact and approximate indexes have in common."""

    @property
    def num_items(self) -> int:
        """I."""

    def search(
        self, queries: FloatMatrix, k: int, exclude: Sequence[IntVector] | None = None
    ) -> tuple[IntVector, FloatMatrix]:
        """Codes and inner products, each of shape (B, k)."""


class Part:
    """The actor of one part: an index over neighbouring codes, the first of which is not 0 in the whole catalogue."""

    def __init__(self, open_part: Callable[[], SearchableIndex], first: int) -> None:
        self._index, self._first = open_part(), first

    def search(
        self, queries: FloatMatrix, k: int, exclude: Sequence[IntVector] | None
    ) -> tuple[IntVector, FloatMatrix]:
        """As the index does, in codes of the whole catalogue."""
        own = None
        if exclude is not None:
            last = self._first + self._index.num_items
            own = [codes[(codes >= self._first) & (codes < last)] - self._first for codes in exclude]
        codes, scores = self._index.search(queries, k, own)
        return np.where(codes == NO_ITEM, NO_ITEM, codes + self._first).astype(np.int32), scores

    def ready(self) -> bool:
        """Once the part is open."""
        return True


class ShardedIndex:
    """Searches all parts. What it finds is the whole truth or an error, never what was left of the parts.

    An actor that is lost is started again by Ray, wherever there is room; meanwhile the others of its part are asked.
    """

    def __init__(
        self,
        parts: Sequence[tuple[Callable[[], SearchableIndex], int]],
        *,
        replicas: int = 1,
        num_cpus: float = 1.0,
        patience_s: float = 60.0,
        opens_s: float = 600.0,
    ) -> None:
        """Start the actors, and wait until all are open.

        Args:
            parts: what opens each of them, where it runs, and its first code.
            replicas: actors a part.
            num_cpus: CPUs that each reserves.
            patience_s: how long a search waits for a part of which no actor answers.
            opens_s: how long to wait for all to be open.

        Raises:
            IndexUnavailableError: they are not in time, as where the cluster has no room for them.
        """
        actor: Any = ray.remote(Part).options(num_cpus=num_cpus, max_restarts=-1, scheduling_strategy="SPREAD")
        self._actors = [[actor.remote(*part) for _ in range(replicas)] for part in parts]
        self._patience_s, self._turn = patience_s, itertools.count()
        opening = [one.ready.remote() for replicas_of in self._actors for one in replicas_of]
        opened, late = ray.wait(opening, num_returns=len(opening), timeout=opens_s)
        if late:
            raise IndexUnavailableError(
                f"{len(late)} of {len(opening)} actors of the index are not open after {opens_s:g} s; each reserves "
                f"{num_cpus:g} CPUs, of {ray.available_resources().get('CPU', 0):g} that are free in the cluster now: "
                "see `ray list actors`, add nodes, or ask for fewer"
            )
        ray.get(opened)

    @property
    def actors(self) -> list[list[Any]]:
        """By part, those that hold it."""
        return self._actors

    def search(
        self, queries: FloatMatrix, k: int, exclude: Sequence[IntVector] | None = None
    ) -> tuple[IntVector, FloatMatrix]:
        """The k best items of each query over all parts; see `ItemIndex.search`.

        Raises:
            IndexUnavailableError: no actor of some part has answered in time.
            DataError: unusable queries.
        """
        turn = next(self._turn)
        asked = [self._ask(part, turn, queries, k, exclude) for part in range(len(self._actors))]
        return merge([self._answer(part, turn, queries, k, exclude, asked[part]) for part in range(len(asked))], k)

    def _ask(self, part: int, turn: int, *question: Any) -> Any:
        replicas = self._actors[part]
        return replicas[turn % len(replicas)].search.remote(*question)

    def _answer(
        self,
        part: int,
        turn: int,
        queries: FloatMatrix,
        k: int,
        exclude: Sequence[IntVector] | None,
        reference: Any,
    ) -> tuple[IntVector, FloatMatrix]:
        """What a part found: of its actors in turn, each for as long as lets all be asked twice."""
        began, told = time.monotonic(), False
        a_try = self._patience_s / (2 * len(self._actors[part]))
        while True:
            try:
                found: tuple[IntVector, FloatMatrix] = ray.get(reference, timeout=a_try)
                return found
            except (RayActorError, ObjectLostError, GetTimeoutError) as error:
                if time.monotonic() - began >= self._patience_s:
                    raise IndexUnavailableError(
                        f"part {part + 1} of {len(self._actors)} of the index has not answered for "
                        f"{self._patience_s:g} s; see that there is room for its actors: `ray list actors`"
                    ) from error
            if not told:
                log.warning("index: part %d of %d does not answer, asking another actor", part + 1, len(self._actors))
                told = True
            time.sleep(PAUSE_S)
            turn += 1
            reference = self._ask(part, turn, queries, k, exclude)
