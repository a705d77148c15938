"""A learner that follows the log: what it knows is a function of the log, so nothing is lost and nothing counted twice.

Nobody sends it events. It reads the log from where it was, and remembers that place together with what it learnt.
"""

import hashlib
import logging
import uuid
from collections.abc import Callable
from typing import Any

from threadpoolctl import threadpool_limits

from llm4rec.config import content_hash
from llm4rec.errors import DataError
from llm4rec.online.config import LearnerConfig
from llm4rec.online.example import ExampleReader
from llm4rec.online.learner import Frozen, Learner
from llm4rec.online.log import EventLog
from llm4rec.online.parameters import Update, restore, to_snapshot, update_since

logger = logging.getLogger(__name__)

PAGE = 500
"""Events read at once."""
MODELS_KEPT = 2
"""Of which the log keeps snapshots besides those that are followed: other processes may follow newer ones."""


class Follower:
    """One shard's learner, kept up with the log.

    Attributes:
        learner: what was learnt.
        sequence: number of the last feedback that was read.
        key: of its snapshots.
    """

    def __init__(
        self,
        log: EventLog,
        frozen: Frozen,
        new_reader: Callable[[], ExampleReader],
        config: LearnerConfig,
        version: str,
        shard: int = 0,
        shards: int = 1,
    ) -> None:
        """Start from nothing; `open` goes on from a snapshot.

        Args:
            log: what is read.
            frozen: the model that learning starts from.
            new_reader: makes a reader that knows of no event yet.
            config: of learning.
            version: of the model; snapshots of another one are not used.
            shard: which part of the users is learnt from, see `shard_of`.
            shards: number of parts.
        """
        self._log, self._frozen, self._new_reader, self._config = log, frozen, new_reader, config
        # What was learnt with other settings is not what these would have learnt.
        settings = content_hash(config.model_dump() | {"disliked_rating": log.disliked_rating})
        self.key = f"{version} {shard}/{shards} {settings}"
        self._shard, self._shards = shard, shards
        self._before: tuple[Learner, str, int] | None = None  # what others hear of while all is learnt anew
        self._start_from_nothing()

    def open(self) -> None:
        """Go on from the last snapshot, if there is a sound one of this model."""
        snapshot = self._log.snapshot(self.key)
        if snapshot is None or snapshot.forgotten != self._forgotten:
            return
        try:
            restore(self.learner, snapshot)
        except DataError as error:
            logger.warning("%s; the log is read from its start instead", error)
            self._start_from_nothing()
            return
        self.sequence = snapshot.sequence

    def catch_up(self, until: int | None = None) -> int:
        """Learn from the next events of the log, `PAGE` at most and none after number `until`.

        Where a user was forgotten since the last call, all is learnt anew from what the log still holds.

        Returns:
            how many events were read; 0 when the log has no more.
        """
        if self._log.times_forgotten() != self._forgotten:
            logger.info("a user was forgotten: the log is learnt anew")
            before = self._before or (self.learner, self._epoch(), self.sequence)
            self._start_from_nothing()
            for user_id in [one for one in before[0].adapters if self._log.is_forgotten(one)]:
                before[0].forget(user_id)
            self._before = (before[0], uuid.uuid4().hex, before[2])  # another epoch, so that all of it is heard anew
        rows = [row for row in self._log.logged_after(self.sequence, PAGE) if until is None or row.sequence <= until]
        with threadpool_limits(1, "blas"):  # sums of several threads differ in the last bit
            for row in rows:
                if shard_of(row.feedback.user_id, self._shards) == self._shard:
                    example = self._reader.of(row)
                    if example is not None:
                        self.learner.learn(example)
                self.sequence = row.sequence
        if self._before is not None and (not rows or self.sequence >= self._before[2]):
            self._before = None
        return len(rows)

    def save(self, followed: int = 1) -> bool:
        """Keep a snapshot; False where a user was forgotten meanwhile, whose events it may hold.

        Args:
            followed: how many models have learners, whose snapshots all stay.
        """
        state = to_snapshot(self.learner, self.sequence, self._forgotten)
        return self._log.save_snapshot(self.key, state, (followed + MODELS_KEPT) * self._shards)

    def update_since(self, epoch: str, examples: int) -> Update:
        """What has changed since somebody had an update of this epoch and number of examples; all in another epoch.

        While the log is learnt anew, this is of what was learnt before, so that slates are not without it meanwhile.
        """
        learner, now, sequence = self._before or (self.learner, self._epoch(), self.sequence)
        return update_since(learner, now, examples if epoch == now else 0, sequence)

    def told(self) -> dict[str, Any]:
        """How far it is, and how well it does."""
        return {
            "sequence": self.sequence,
            "behind": self._log.last_sequence() - self.sequence,
            "examples": self.learner.examples,
            "rollbacks": self.learner.rollbacks,
            "gain": self.learner.gain,
        }

    def _epoch(self) -> str:
        return f"{self._start}-{self.learner.rollbacks}"

    def _start_from_nothing(self) -> None:
        self._before = None
        self._forgotten = self._log.times_forgotten()
        self._start = uuid.uuid4().hex
        self._reader = self._new_reader()
        self.learner = Learner(self._frozen, self._config)
        self.sequence = 0


def shard_of(user_id: str, shards: int) -> int:
    """Which of some shards a user belongs to: the same on every machine and in every run."""
    return int.from_bytes(hashlib.sha256(user_id.encode()).digest()[:8], "big") % shards
