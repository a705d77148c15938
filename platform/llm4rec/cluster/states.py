"""What the model takes a person for: known beforehand where nothing has happened, else computed, and kept a while."""

import hashlib
import threading
from collections import OrderedDict

from llm4rec.cluster.people import Person
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.schema import FloatVector

KEPT = 20_000
"""States of users with news that are kept in memory."""


class States:
    """The h_u of whoever asks; safe for several threads."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._kept: OrderedDict[bytes, FloatVector] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, person: Person) -> FloatVector:
        """h_u, shape (D,)."""
        if person.unchanged is not None and len(self._snapshot.states):
            known: FloatVector = self._snapshot.states[person.unchanged]
            return known
        key = self._key(person)
        with self._lock:
            if (kept := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return kept
        history = person.readable(self._snapshot.corpus.num_items)
        state: FloatVector = self._snapshot.scorer.states([history], person.attributes[None])[0]
        with self._lock:
            self._kept[key] = state
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return state

    def at_hand(self, person: Person) -> bool:
        """Whether `of` need not compute."""
        if person.unchanged is not None and len(self._snapshot.states):
            return True
        with self._lock:
            return self._key(person) in self._kept

    @staticmethod
    def _key(person: Person) -> bytes:
        history = person.history
        digest = hashlib.blake2b(digest_size=16)
        for part in (person.attributes, history.item, history.timestamp, history.value, history.event):
            digest.update(len(part).to_bytes(8, "big") + part.tobytes())
        return digest.digest()
