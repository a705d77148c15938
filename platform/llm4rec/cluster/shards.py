"""An index that no process holds alone: its parts in Serve deployments, and a search that asks all of them."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from ray.serve.exceptions import DeploymentUnavailableError

from llm4rec.artifacts import Artifact, RunStore
from llm4rec.cluster.releases import AGAIN_S, keep_up
from llm4rec.cluster.resume import LOSSES
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.snapshot import answering_index, for_version, version_of
from llm4rec.errors import ArtifactError
from llm4rec.index.approximate import read_near
from llm4rec.index.parts import Part, cut, merge
from llm4rec.index.vectors import ItemIndex
from llm4rec.online.errors import UnavailableError
from llm4rec.online.log import EventLog
from llm4rec.online.releases import Release, routing_after
from llm4rec.schema import FloatMatrix, IntVector
from llm4rec.serve.errors import NotReadyError

logger = logging.getLogger(__name__)

AWAY = (*LOSSES, DeploymentUnavailableError, NotReadyError, TimeoutError)
"""What asking again may mend."""
PAUSE_S = 0.1
HANGS = 0.5
"""Share of a search's patience after which a part that says nothing is asked once more: Serve asks another replica."""

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
        """Not what it was that failed."""
        return "a part of the index does not answer, so no slate can be drawn; try again later"


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
        came = time.monotonic()
        asked = [ask(queries, k, exclude) for ask in self._parts]
        try:
            return merge([self._found(part, asked, came, queries, k, exclude) for part in range(len(asked))], k)
        except BaseException:
            for answer in asked:  # nobody waits for the others any more
                with suppress(*AWAY):
                    answer.cancel()
            raise

    def _found(
        self,
        part: int,
        asked: list[Answer],
        at: float,
        queries: FloatMatrix,
        k: int,
        exclude: Sequence[IntVector] | None,
    ) -> Found:
        """What a part that was first asked at some time finds; `asked` gets its later answers."""
        ends = at + self._patience_s
        while True:
            patient = min(ends, at + self._patience_s * HANGS)
            try:
                return asked[part].result(timeout_s=max(0.0, patient - time.monotonic()))
            except AWAY as error:
                with suppress(*AWAY):  # what it had come to when it was given up
                    asked[part].cancel()
                if time.monotonic() + PAUSE_S >= ends:
                    raise IndexUnavailableError(
                        f"part {part + 1} of {len(self._parts)} of the index has not answered for "
                        f"{self._patience_s:g} s; try again later"
                    ) from error
            time.sleep(PAUSE_S)
            at = time.monotonic()
            asked[part] = self._parts[part](queries, k, exclude)


class ModelParts:
    """One part of the approximate index of each model at hand; safe for several threads.

    A model that cannot be opened here changes nothing: those before go on answering.
    """

    def __init__(self, config: RunConfig, log: EventLog, part: int) -> None:
        """Open the part of the run's own model and of what answers now.

        Args:
            config: of the run that the service starts with.
            log: where releases are.
            part: below `cluster.index_parts`.

        Raises:
            ArtifactError: the run's own model cannot be opened.
        """
        self._config, self._log, self._part = config, log, part
        # Replicas open their run's own model first when they start, whatever was published since.
        own = answering_index(RunStore(config.run.path), config)
        self._first = Release(0, "publish", version_of(own), config.run.path, 1.0, 0)
        self._models: dict[str, Part | None] = {self._first.version: self._part_of(own)}
        self._steps: list[Release] | None = None
        self._kept: set[str] = set()
        self._failed = False
        self.look()

    def search(self, version: str, queries: FloatMatrix, k: int, exclude: Sequence[IntVector] | None) -> Found:
        """The k best items of the part.

        Raises:
            NotReadyError: the model is not at hand here, or all of its items are scored.
            DataError: unusable queries.
        """
        part = self._models.get(version)
        if part is None:
            raise NotReadyError(f"the index of model {version} is not at hand in this process; try again")
        return part.search(queries, k, exclude)

    def ready(self, version: str) -> bool:
        """Whether a model can be searched here."""
        return self._models.get(version) is not None

    def follow(self, poll_s: float) -> None:
        """Keep up with what is published, in a thread of its own."""
        keep_up(self.look, lambda: AGAIN_S if self._failed else poll_s)

    def look(self) -> None:
        """Open what was published since, and let go of what nobody returns to.

        Raises:
            UnavailableError: the log cannot be read.
        """
        steps, self._failed = self._log.releases(), False
        if steps == self._steps:
            return
        kept = {one.version: one for one in routing_after(self._first, steps).kept(self._config.serve.roll_backs_kept)}
        for release in kept.values():
            if release.version not in self._models:
                self._take(release)
        if kept.keys() != self._kept:  # those before stay until the next release, for requests that are under way
            stay = {self._first.version, *kept, *self._kept}
            self._models = {name: part for name, part in self._models.items() if name in stay}
            self._kept = set(kept)
        if not self._failed:
            self._steps = steps

    def _take(self, release: Release) -> None:
        try:
            self._models = {**self._models, release.version: self._open(release)}
        except Exception as error:  # of a model that nobody could foresee: those that answer must go on
            self._failed = True
            logger.error("the part of model %s is not taken: %s: %s", release.version, type(error).__name__, error)

    def _open(self, release: Release) -> Part | None:
        store = RunStore(release.path)
        artifact = answering_index(store, for_version(store, self._config, release.version))
        if version_of(artifact) != release.version:
            raise ArtifactError(
                f"{release.path} holds model {version_of(artifact)}, not {release.version} as published; publish it"
            )
        return self._part_of(artifact)

    def _part_of(self, artifact: Artifact) -> Part | None:
        index = ItemIndex.read(artifact)
        start, stop = cut(index.num_items, self._config.cluster.index_parts)[self._part]
        own = read_near(artifact, index, self._config.index.exact_up_to, within=(start, stop))
        return None if own is None else Part(own, start)
