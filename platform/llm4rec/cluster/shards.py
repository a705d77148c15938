"""An index that no process holds alone: its parts in Serve deployments, and a search that asks all of them."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from ray.exceptions import RayActorError
from ray.serve.exceptions import DeploymentUnavailableError

from llm4rec.artifacts import RunStore
from llm4rec.cluster.publish import current
from llm4rec.cluster.run_config import RunConfig
from llm4rec.errors import ConfigError
from llm4rec.index.approximate import read_near
from llm4rec.index.parts import Part, cut, merge
from llm4rec.index.vectors import ItemIndex
from llm4rec.online.errors import UnavailableError
from llm4rec.online.log import EventLog
from llm4rec.schema import FloatMatrix, IntVector
from llm4rec.serve.errors import NotReadyError

AWAY = (RayActorError, DeploymentUnavailableError, TimeoutError)
"""What asking again may mend."""
PAUSE_S = 0.1
TRIES = 4
"""How often a part that does not answer is asked before a search gives up; one that hangs may be asked twice."""

Found = tuple[IntVector, FloatMatrix]


class Answer(Protocol):
    """What a Serve handle returns at once."""

    def result(self, *, timeout_s: float | None) -> Found:
        """Wait for it."""

    def cancel(self) -> None:
        """Wait no more."""


Ask = Callable[[FloatMatrix, int, Sequence[IntVector] | None], Answer]


class IndexUnavailableError(UnavailableError):
    """A part of the index that nobody answers for; another try may succeed."""

    @property
    def told(self) -> str:
        """As it is: it says nothing of the server but how many parts there are."""
        return str(self)


class ShardedIndex:
    """Searches all parts. What it finds is the whole truth or an error, never what was left of the parts.

    Serve starts a replica that is lost or hangs again; meanwhile others of its part are asked, or the same again.
    """

    def __init__(self, parts: Sequence[Ask], num_items: int, patience_s: float) -> None:
        """Nothing is asked yet.

        Args:
            parts: searches each, in codes of the whole catalogue.
            num_items: I, of all parts.
            patience_s: how long a search waits for a part of which nobody answers.
        """
        self._parts, self._num_items, self._patience_s = parts, num_items, patience_s

    @property
    def num_items(self) -> int:
        """I."""
        return self._num_items

    def search(self, queries: FloatMatrix, k: int, exclude: Sequence[IntVector] | None = None) -> Found:
        """The k best items of each query over all parts; see `ItemIndex.search`. Not to be called in an event loop.

        Raises:
            IndexUnavailableError: nobody has answered for some part in time.
            DataError: unusable queries.
        """
        ends = time.monotonic() + self._patience_s
        asked = [ask(queries, k, exclude) for ask in self._parts]
        return merge([self._found(part, answer, ends, queries, k, exclude) for part, answer in enumerate(asked)], k)

    def _found(
        self,
        part: int,
        answer: Answer,
        ends: float,
        queries: FloatMatrix,
        k: int,
        exclude: Sequence[IntVector] | None,
    ) -> Found:
        while True:
            try:
                return answer.result(timeout_s=min(self._patience_s / TRIES, max(0.0, ends - time.monotonic())))
            except AWAY as error:
                with suppress(*AWAY):  # what it had come to when it was given up
                    answer.cancel()
                if time.monotonic() + PAUSE_S >= ends:
                    raise IndexUnavailableError(
                        f"part {part + 1} of {len(self._parts)} of the index has not answered for "
                        f"{self._patience_s:g} s; try again later"
                    ) from error
            time.sleep(PAUSE_S)
            answer = self._parts[part](queries, k, exclude)


class ModelParts:
    """One part of the approximate index of each model at hand, opened when it is first asked for; threads may share it.

    Replicas warm a new model up before it answers, so nobody's request waits for a part to be opened.
    """

    def __init__(self, config: RunConfig, log: EventLog, part: int) -> None:
        """Open the part of the run's own model.

        Args:
            config: of the run that the service starts with.
            log: where releases are.
            part: below `cluster.index_parts`.

        Raises:
            ConfigError: all items of that model are scored.
            ArtifactError: it has no approximate index, though it needs one.
        """
        self._config, self._log, self._part = config, log, part
        self._opening = threading.Lock()
        first, _ = current(config, log)
        self._kept = {first.version}
        self._models = {first.version: self._open(first.path)}

    def search(self, version: str, queries: FloatMatrix, k: int, exclude: Sequence[IntVector] | None) -> Found:
        """The k best items of the part.

        Raises:
            NotReadyError: no such model was published.
            DataError: unusable queries.
        """
        found = self._models.get(version)
        return (found or self._take(version)).search(queries, k, exclude)

    def _take(self, version: str) -> Part:
        with self._opening:
            if version not in self._models:
                first, routing = current(self._config, self._log)
                paths = {one.version: one.path for one in (first, *self._log.releases())}
                if version not in paths:
                    raise NotReadyError(f"model {version} is not published; try again")
                part = self._open(paths[version])
                # Those before stay for requests that are under way.
                kept = {release.version for release in routing.kept(self._config.serve.roll_backs_kept)}
                self._models = {name: own for name, own in self._models.items() if name in kept | self._kept}
                self._models[version], self._kept = part, kept
            return self._models[version]

    def _open(self, path: str) -> Part:
        parts, limit = self._config.cluster.index_parts, self._config.index.exact_up_to
        artifact = RunStore(path).open("index")
        vectors = ItemIndex.read(artifact).vectors
        whole = read_near(artifact, vectors, limit)
        if whole is None:
            raise ConfigError(
                f"cluster.index_parts is {parts}, but all {len(vectors)} items of {path} are scored: index.exact_up_to "
                f"is {limit}; set index_parts to 1"
            )
        start, stop = cut(len(vectors), parts)[self._part]
        return Part(whole.part(start, stop), start)
