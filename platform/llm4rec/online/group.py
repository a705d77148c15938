"""What many requests write at once: looked up together, judged one by one, written together."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from sqlalchemy import Connection, Table, insert, select

from llm4rec.online.errors import ConflictError
from llm4rec.online.feedback import Appended, Feedback, Slate
from llm4rec.online.rows import (
    IDS_PER_QUERY,
    by_event_id,
    exposure_rows,
    forgotten_of,
    hashed,
    logged_feedback,
    require_same,
)
from llm4rec.online.tables import EXPOSURES, FEEDBACK, PLAIN, STATES

Write = Sequence[Feedback] | Slate
"""A batch of feedback, or a slate."""
VALUES_PER_STATEMENT = 400
"""SQLite takes 32,766, but sqlite3 keeps the last 128 statements of a connection, and each number of rows makes one."""


@dataclass
class Group:
    """Writes of one transaction.

    Attributes:
        logged: feedback by event_id, of the log and of writes before.
        slates: ids of recorded slates, of the log and of writes before.
        forgotten: how often users of the slates have been deleted, by hash, of those who have.
        feedback: rows to write.
        exposures: rows to write.
        states: rows to write.
        plain: rows to write.
    """

    logged: dict[str, Feedback] = field(default_factory=dict)
    slates: set[str] = field(default_factory=set)
    forgotten: dict[str, int] = field(default_factory=dict)
    feedback: list[dict[str, Any]] = field(default_factory=list)
    exposures: list[dict[str, Any]] = field(default_factory=list)
    states: list[dict[str, Any]] = field(default_factory=list)
    plain: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def beside(cls, connection: Connection, writes: Sequence[Write]) -> Self:
        """Look up what the log holds of what some writes name."""
        group = cls.hopeful(connection, writes)
        events = [event.event_id for write in writes if not isinstance(write, Slate) for event in write]
        group.logged |= logged_feedback(connection, list(dict.fromkeys(events)))
        group.slates |= _recorded(connection, [write.slate_id for write in writes if isinstance(write, Slate)])
        return group

    @classmethod
    def hopeful(cls, connection: Connection, writes: Sequence[Write]) -> Self:
        """The same, where no id of the writes is in the log yet; the database refuses the group if one is."""
        users = {write.user_id for write in writes if isinstance(write, Slate) and write.user_id is not None}
        return cls(forgotten=forgotten_of(connection, users))

    def take(self, write: Write) -> Appended | ConflictError | None:
        """Take one more write in, unless it conflicts with the log or with one before."""
        try:
            if not isinstance(write, Slate):
                return self._append(write)
            self._record(write)
        except ConflictError as error:
            return error
        return None

    def write(self, connection: Connection) -> None:
        """Write all that was taken in."""
        tables = (FEEDBACK, self.feedback), (EXPOSURES, self.exposures), (STATES, self.states), (PLAIN, self.plain)
        for table, rows in tables:
            if rows:
                _insert(connection, table, rows)

    def _append(self, events: Sequence[Feedback]) -> Appended:
        batch = by_event_id(events)
        for event_id in batch.keys() & self.logged.keys():
            require_same(self.logged[event_id], batch[event_id], "the log")
        received = int(time.time())
        new = {event_id: event for event_id, event in batch.items() if event_id not in self.logged}
        self.logged |= new
        self.feedback += [vars(event) | {"received": received} for event in new.values()]
        return Appended(accepted=len(new), duplicates=len(events) - len(new))

    def _record(self, slate: Slate) -> None:
        if slate.user_id is not None and slate.forgotten < self.forgotten.get(hashed(slate.user_id), 0):
            raise ConflictError(
                f"user {slate.user_id!r} was deleted while a slate was being drawn; nothing was written"
            )
        if slate.slate_id in self.slates:
            raise ConflictError(f"slate_id {slate.slate_id!r} was recorded before; draw a new id for every slate")
        self.slates.add(slate.slate_id)
        if not slate.exposures:  # it taught nobody anything, and nothing would lead to it when its user is deleted
            return
        self.exposures += exposure_rows(slate)
        if slate.state:
            self.states.append({"slate_id": slate.slate_id, "user_id": slate.user_id, "state": slate.state})
        if slate.plain and slate.user_id is not None:
            head = {"slate_id": slate.slate_id, "user_id": slate.user_id, "timestamp": slate.timestamp}
            self.plain.append(head | vars(slate.plain))


def _insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that have the same keys, into SQLite many in one statement.

    Python's sqlite3 gives the interpreter's lock away with every row of `executemany`, and beside a busy event loop it
    waits for its turn each time. The driver gets the values as they are, so none may be of a type that SQLAlchemy would
    have to convert, as JSON.
    """
    if connection.dialect.name != "sqlite":
        connection.execute(insert(table), rows)
        return
    names = list(rows[0])
    columns, places = ", ".join(f'"{name}"' for name in names), ", ".join("?" * len(names))
    most = VALUES_PER_STATEMENT // len(names)
    for part in (rows[start : start + most] for start in range(0, len(rows), most)):
        statement = f"INSERT INTO {table.name} ({columns}) VALUES {', '.join([f'({places})'] * len(part))}"
        connection.exec_driver_sql(statement, tuple(row[name] for row in part for name in names))


def _recorded(connection: Connection, slate_ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(slate_ids), IDS_PER_QUERY):
        wanted = EXPOSURES.c.slate_id.in_(slate_ids[start : start + IDS_PER_QUERY])
        found.update(
            connection.execute(select(EXPOSURES.c.slate_id).where(wanted, EXPOSURES.c.position == 1)).scalars()
        )
    return found
