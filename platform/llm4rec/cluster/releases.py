"""The models of one process: those that were published are opened, warmed up and swapped in beside running requests."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from llm4rec.artifacts import RunStore
from llm4rec.cluster.engine import Engine
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.snapshot import Snapshot, for_version
from llm4rec.encode.text import TextEncoder
from llm4rec.errors import Llm4RecError
from llm4rec.index.parts import SearchableIndex
from llm4rec.online.errors import UnavailableError
from llm4rec.online.log import EventLog
from llm4rec.online.releases import Release, Routing, routing_after
from llm4rec.serve.contract import RecommendRequest
from llm4rec.serve.errors import NotReadyError

logger = logging.getLogger(__name__)

Search = Callable[[Snapshot], SearchableIndex | None]
"""What finds those that compete in the catalogue of a model; None where all of its items are scored."""
AGAIN_S = 10.0
"""Seconds until a release that could not be opened is tried again."""


class Engines:
    """The models at hand, and who gets which; safe for several threads.

    A model that cannot be opened here changes nothing: the one before goes on answering, and `failed` says why.
    """

    def __init__(
        self, config: RunConfig, log: EventLog, snapshot: Snapshot | None = None, search: Search | None = None
    ) -> None:
        """Open what answers now.

        Args:
            config: of the run that the service starts with.
            log: where releases are.
            snapshot: of that run, if it is open already.
            search: finds what competes in a large catalogue, in the place of the models' own indexes.
        """
        self._config, self._log, self._search = config, log, search
        self._text = TextEncoder(config.encode)
        self.failed: dict[str, str] = {}
        own = snapshot or self._read(config)
        self.first = Release(0, "publish", own.version, config.run.path, 1.0, 0)
        engines = {own.version: self._at_work(own, config)}
        self._now = (Routing(self.first), engines)  # in one, so that a request sees either before or after
        self._looking = threading.Lock()
        self._steps: list[Release] = []
        self._tried, self._try_again = 0, 0.0
        self.look()

    @property
    def main(self) -> Engine:
        """The model for everybody who gets no other."""
        routing, engines = self._now
        return engines[routing.main.version]

    @property
    def routing(self) -> Routing:
        """Who gets which model here, now."""
        return self._now[0]

    def of(self, user_id: str | None) -> Engine:
        """The model for a user."""
        routing, engines = self._now
        return engines[routing.of(user_id).version]

    def of_version(self, version: str) -> Engine:
        """A model by version.

        Raises:
            NotReadyError: it is not at hand here.
        """
        if version not in self._now[1]:
            self.look()  # another process may have heard of it first
        engine = self._now[1].get(version)
        if engine is None:
            raise NotReadyError(f"model {version} is not at hand in this process; try again")
        return engine

    def all(self) -> list[Engine]:
        """All models at hand."""
        return list(self._now[1].values())

    def follow(self, poll_s: float) -> None:
        """Keep up with what is published, in a thread of its own."""
        keep_up(self.look, lambda: poll_s)

    def look(self) -> None:
        """Take notice of what was published since, and of items that were changed elsewhere."""
        for engine in self.all():
            engine.follow()
        with self._looking:
            steps = self._log.releases()
            if len(steps) == len(self._steps):
                return
            if len(steps) != self._tried or time.monotonic() >= self._try_again:
                self._tried, self._try_again = len(steps), time.monotonic() + AGAIN_S
                if self._route(steps):
                    self._steps = steps

    def _route(self, steps: list[Release]) -> bool:
        """Open what answers after some steps and let it answer; False where not all of it could be opened."""
        routing, (before, _) = routing_after(self.first, steps), self._now
        self._fetch([routing.main, *([routing.candidate] if routing.candidate else [])])
        engines, complete = self._now[1], True
        if routing.candidate is not None and routing.candidate.version not in engines:
            routing, complete = Routing(routing.main, None, routing.before), False  # its users get the main model
        if routing.main.version not in engines:
            self._stand_in(routing.before)
            return False
        # Those before stay for requests that are under way.
        number = self._config.serve.roll_backs_kept
        kept = {release.version for release in (*routing.kept(number), *before.kept(number))}
        self._now = (routing, {version: engine for version, engine in engines.items() if version in kept})
        self._fetch(routing.kept(number))  # what a roll-back needs; only now, so that nobody waits for it
        return complete

    def _stand_in(self, before: tuple[Release, ...]) -> None:
        """Let the newest of some models that can be opened answer, unless one of them, or a newer, answers by now."""
        for place in reversed(range(len(before))):
            release = before[place]
            if release.sequence <= self._now[0].main.sequence:
                return
            self._fetch([release])
            if release.version in self._now[1]:
                self._now = (Routing(release, None, before[:place]), self._now[1])
                return

    def _fetch(self, releases: Sequence[Release]) -> None:
        """Open those that are not at hand."""
        for release in releases:
            if release.version in self._now[1]:
                continue
            try:
                engine = self._open(release)
            except UnavailableError:
                raise  # of the log: nothing is known of the model
            except Exception as error:  # also what storage says: the model before goes on
                self.failed[release.version] = str(error) or type(error).__name__
                known = isinstance(error, Llm4RecError)
                logger.error("model %s is not taken: %s", release.version, error, exc_info=not known)
                continue
            self.failed.pop(release.version, None)
            routing, engines = self._now
            self._now = (routing, {**engines, release.version: engine})

    def _open(self, release: Release) -> Engine:
        config = self._config.model_copy(update={"run": self._config.run.model_copy(update={"path": release.path})})
        config = for_version(RunStore(release.path), config, release.version)
        snapshot = self._read(config)
        if snapshot.version != release.version:
            raise NotReadyError(f"{release.path} holds model {snapshot.version}, not {release.version} as published")
        return self._at_work(snapshot, config)

    def _read(self, config: RunConfig) -> Snapshot:
        return Snapshot.open(RunStore(config.run.path), config, with_near=self._search is None)

    def _at_work(self, snapshot: Snapshot, config: RunConfig) -> Engine:
        """A model whose first requests, which are slow, were nobody's."""
        near = None if self._search is None else self._search(snapshot)
        engine = Engine(snapshot, config, self._log, self._text, near)
        for request in (RecommendRequest(history=[], k=1), RecommendRequest(query="something", k=1)):
            engine.rank(request, engine.retrieve(request))
        return engine


def keep_up(look: Callable[[], None], pause_s: Callable[[], float]) -> None:
    """Look for releases again and again, in a thread of its own.

    Args:
        look: takes notice of them; what it raises is logged.
        pause_s: seconds until the next look.
    """

    def run() -> None:
        while True:
            time.sleep(pause_s())
            try:
                look()
            except UnavailableError as error:
                logger.warning("releases are not known: %s", error)
            except Exception:  # of a model that nobody could foresee: those that answer must go on
                logger.exception("a release could not be followed")

    threading.Thread(target=run, daemon=True, name="releases").start()
