"""Learners at work, one for each part of the users, and how replicas hear from them."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from llm4rec.cluster.engine import Engine
from llm4rec.cluster.run_config import RunConfig
from llm4rec.online.errors import UnavailableError
from llm4rec.online.example import ExampleReader
from llm4rec.online.follower import Follower
from llm4rec.online.log import EventLog
from llm4rec.online.parameters import Update
from llm4rec.serve.contract import LearnerStatus

logger = logging.getLogger(__name__)

News = tuple[Update, dict[str, Any]]
Ask = Callable[[str, int], News]
"""Asks a learner what has changed since an update of an epoch and a number of examples; it may raise."""


def new_follower(engine: Engine, log: EventLog, config: RunConfig, shard: int = 0) -> Follower:
    """A learner of one part of the users that has read nothing yet."""
    settings = config.online.learner
    assert settings is not None
    corpus = engine.snapshot.corpus

    def new_reader() -> ExampleReader:
        return ExampleReader(
            codes=corpus.item_codes,
            version=engine.version,
            past=engine.past,
            before=log.logged_of,
            daily=settings.daily_events,
        )

    return Follower(log, engine.snapshot.frozen, new_reader, settings, engine.version, shard, config.online.shards)


class LearnerLoop:
    """Keeps a follower up with the log in a thread of its own, and saves what it learnt from time to time."""

    def __init__(self, follower: Follower, poll_s: float, snapshot_s: float) -> None:
        self._follower = follower
        self._poll_s, self._snapshot_s = poll_s, snapshot_s
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True, name="learner")
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still learns."""
        return self._thread.is_alive()

    def news(self, epoch: str, examples: int) -> News:
        """What has changed since an earlier update, and how far learning is."""
        with self._lock:
            return self._follower.update_since(epoch, examples), self._follower.told()

    def _run(self) -> None:
        with self._lock:
            self._until_it_works(self._follower.open)
        saved, at = self._follower.sequence, time.monotonic()
        while True:
            with self._lock:
                read = self._until_it_works(self._follower.catch_up)
            if self._follower.sequence != saved and time.monotonic() - at > self._snapshot_s:
                with self._lock:
                    self._until_it_works(self._follower.save)
                saved, at = self._follower.sequence, time.monotonic()
            time.sleep(0 if read else self._poll_s)

    def _until_it_works(self, work: Callable[[], Any]) -> Any:
        while True:
            try:
                return work()
            except UnavailableError as error:
                logger.warning("learning waits: %s", error)
                time.sleep(self._poll_s)


class Listener:
    """Takes over what learners have learnt into an engine, in a thread of its own; without them nothing changes."""

    def __init__(self, engine: Engine, learners: Sequence[Ask], poll_s: float) -> None:
        self._engine = engine
        self._learners = learners
        self._heard: dict[int, tuple[dict[str, Any], float]] = {}
        for shard in range(len(learners)):
            threading.Thread(target=self._listen, args=(shard, poll_s), daemon=True, name=f"listener-{shard}").start()

    def status(self) -> list[LearnerStatus]:
        """How far the learners are, as far as was heard."""
        found = []
        for shard, (told, at) in sorted(self._heard.items()):
            found.append(LearnerStatus(shard=shard, heard_s=time.monotonic() - at, **told))
        return found

    def _listen(self, shard: int, poll_s: float) -> None:
        while True:
            try:
                update, told = self._learners[shard](*self._engine.shift.followed(shard))
                self._engine.take(shard, update)
                self._heard[shard] = (told, time.monotonic())
            except Exception as error:  # a learner that restarts: slates go on with what is known
                logger.warning("learner %d does not answer: %s", shard, error)
            time.sleep(poll_s)
