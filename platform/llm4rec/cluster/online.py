"""Learners at work, one for each part of the users, and how replicas hear from them."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from llm4rec.cluster.engine import Engine
from llm4rec.cluster.releases import Engines
from llm4rec.cluster.run_config import RunConfig
from llm4rec.online.errors import UnavailableError
from llm4rec.online.example import ExampleReader
from llm4rec.online.follower import Follower
from llm4rec.online.log import EventLog
from llm4rec.online.parameters import Update
from llm4rec.serve.contract import LearnerStatus

logger = logging.getLogger(__name__)

News = tuple[Update, dict[str, Any]]
Ask = Callable[[str, str, int], News | None]
"""Asks a learner of a model what has changed since an update of an epoch and a number of examples; None where it does
not know the model yet. It may raise."""


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
            disliked_rating=log.disliked_rating,
        )

    return Follower(log, engine.snapshot.frozen, new_reader, settings, engine.version, shard, config.online.shards)


class LearnerLoop:
    """Keeps a follower of each model up with the log, in a thread, and saves what they learnt from time to time."""

    def __init__(self, engines: Engines, new: Callable[[Engine], Follower], poll_s: float, snapshot_s: float) -> None:
        self._engines, self._new = engines, new
        self._poll_s, self._snapshot_s = poll_s, snapshot_s
        self._followers: dict[str, Follower] = {}
        self._saved: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, daemon=True, name="learner")
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether it still learns."""
        return self._thread.is_alive()

    def news(self, version: str, epoch: str, examples: int) -> News | None:
        """What has changed of a model since an earlier update, and how far learning is; None of an unknown model."""
        with self._lock:
            follower = self._followers.get(version)
            return None if follower is None else (follower.update_since(epoch, examples), follower.told())

    def _run(self) -> None:
        while True:
            read = 0
            for engine in self._engines.all():
                try:
                    read += self._learn(engine)
                except UnavailableError as error:  # of one model, whose snapshot may be what cannot be written
                    logger.warning("model %s: learning waits: %s", engine.version, error)
            time.sleep(0 if read else self._poll_s)

    def _learn(self, engine: Engine) -> int:
        with self._lock:
            follower = self._followers.get(engine.version)
            if follower is None:
                follower = self._new(engine)
                follower.open()
                self._followers = {
                    kept.version: self._followers.get(kept.version, follower)
                    for kept in self._engines.all()
                    if kept.version in self._followers or kept is engine
                }
            read = follower.catch_up()
            saved, at = self._saved.get(engine.version, (follower.sequence, time.monotonic()))
            if follower.sequence != saved and time.monotonic() - at > self._snapshot_s:
                follower.save(len(self._followers))
                saved, at = follower.sequence, time.monotonic()
            self._saved[engine.version] = (saved, at)
            return read


class Listener:
    """Takes over what learners have learnt into the models, in threads; without learners nothing changes."""

    def __init__(self, engines: Engines, learners: Sequence[Ask], poll_s: float) -> None:
        self._engines = engines
        self._learners = learners
        self._heard: dict[tuple[str, int], tuple[dict[str, Any], float]] = {}
        for shard in range(len(learners)):
            threading.Thread(target=self._listen, args=(shard, poll_s), daemon=True, name=f"listener-{shard}").start()

    def status(self) -> list[LearnerStatus]:
        """How far the learners of the main model are, as far as was heard."""
        version, found = self._engines.main.version, []
        for (of_version, shard), (told, at) in sorted(self._heard.items()):
            if of_version == version:
                found.append(LearnerStatus(shard=shard, heard_s=time.monotonic() - at, **told))
        return found

    def _listen(self, shard: int, poll_s: float) -> None:
        while True:
            for engine in self._engines.all():
                try:
                    news = self._learners[shard](engine.version, *engine.shift.followed(shard))
                    if news is not None:
                        engine.take(shard, news[0])
                        self._heard[engine.version, shard] = (news[1], time.monotonic())
                except Exception as error:  # a learner that restarts: slates go on with what is known
                    logger.warning("learner %d is not heard: %s", shard, error)
            time.sleep(poll_s)
