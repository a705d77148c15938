"""What many requests write at once: looked up together, judged one by one, written together."""

import time
from collections.abc import Sequence
from dataclasses import astuple, dataclass, field
from typing import Any, Self

from sqlalchemy import Connection, Table, select

from llm4rec.online.errors import ConflictError
from llm4rec.online.feedback import Appended, Feedback, Slate
from llm4rec.online.rows import (
    IDS_PER_QUERY,
    by_event_id,
    exposure_rows,
    feedback_row,
    forgotten_of,
    logged_feedback,
    place,
    require_same,
)
from llm4rec.online.tables import EXPOSURES, FEEDBACK, PLAIN, STATES
from llm4rec.schema import user_hash

Write = Sequence[Feedback] | Slate
"""A batch of feedback, or a slate."""
Row = tuple[Any, ...]
COLUMNS = {
    table: [column.name for column in table.columns if column.autoincrement is not True]
    for table in (FEEDBACK, EXPOSURES, STATES, PLAIN)
}
"""What a write gives of each table; a number that the database counts up is not its to give."""
VALUES_PER_STATEMENT = 400
"""SQLite takes 32,766, but sqlite3 keeps the last 128 statements of a connection, and each number of rows makes one."""


@dataclass
class Group:
    """Writes of one transaction.

    Attributes:
        logged: feedback by event_id, of the log and of writes before.
        slates: ids of recorded slates, of the log and of writes before.
        forgotten: how often users of the slates have been deleted, by hash, of those who have.
        rows: what to write, by table, values in the order of its columns.
    """

    logged: dict[str, Feedback] = field(default_factory=dict)
    slates: set[str] = field(default_factory=set)
    forgotten: dict[str, int] = field(default_factory=dict)
    rows: dict[Table, list[Row]] = field(default_factory=lambda: {table: [] for table in COLUMNS})

    @classmethod
    def beside(cls, connection: Connection, writes: Sequence[Write]) -> Self:
        """Look up what the log holds of what some writes name."""
        events = [event.event_id for write in writes if not isinstance(write, Slate) for event in write]
        return cls(
            logged=logged_feedback(connection, list(dict.fromkeys(events))),
            slates=_recorded(connection, [write.slate_id for write in writes if isinstance(write, Slate)]),
            forgotten=forgotten_of(connection, users_of(writes)),
        )

    def take(self, write: Write) -> Appended | ConflictError | None:
        """Take one more write in, unless it conflicts with the log or with one before."""
        try:
            if not isinstance(write, Slate):
                return self._append(write)
            self._record(write)
        except ConflictError as error:
            return error
        return None

    def write(self, cursor: Any) -> None:
        """Write all that was taken in, through a cursor of the driver."""
        for table, rows in self.rows.items():
            if rows:
                _insert(cursor, table, rows)

    def _append(self, events: Sequence[Feedback]) -> Appended:
        batch = by_event_id(events)
        for event_id in batch.keys() & self.logged.keys():
            require_same(self.logged[event_id], batch[event_id], "the log")
        received = int(time.time())
        new = {event_id: event for event_id, event in batch.items() if event_id not in self.logged}
        self.logged |= new
        self.rows[FEEDBACK] += [feedback_row(event, received) for event in new.values()]
        return Appended(accepted=len(new), duplicates=len(events) - len(new))

    def _record(self, slate: Slate) -> None:
        if slate.user_id is not None and slate.forgotten < self.forgotten.get(user_hash(slate.user_id), 0):
            raise ConflictError(
                f"user {slate.user_id!r} was deleted while a slate was being drawn; nothing was written"
            )
        if slate.slate_id in self.slates:
            raise ConflictError(f"slate_id {slate.slate_id!r} was recorded before; draw a new id for every slate")
        self.slates.add(slate.slate_id)
        if not slate.exposures:  # it taught nobody anything, and nothing would lead to it when its user is deleted
            return
        self.rows[EXPOSURES] += exposure_rows(slate)
        if slate.state:
            self.rows[STATES].append((slate.slate_id, slate.user_id, slate.state))
        if slate.plain and slate.user_id is not None:
            plain = slate.plain
            self.rows[PLAIN].append((slate.slate_id, slate.user_id, slate.timestamp, *astuple(plain)))


def users_of(writes: Sequence[Write]) -> set[str]:
    """Users of the slates among some writes."""
    return {write.user_id for write in writes if isinstance(write, Slate) and write.user_id is not None}


def _insert(cursor: Any, table: Table, rows: Sequence[Row]) -> None:
    """Insert rows, many in one statement.

    Python's sqlite3 gives the interpreter's lock away with every row of `executemany`, and beside a busy event loop it
    waits for its turn each time. The driver gets the values as they are, so none may be of a type that SQLAlchemy would
    have to convert, as JSON.
    """
    names = COLUMNS[table]
    columns, places = ", ".join(f'"{name}"' for name in names), ", ".join([place(cursor)] * len(names))
    most = VALUES_PER_STATEMENT // len(names)
    for part in (rows[start : start + most] for start in range(0, len(rows), most)):
        statement = f"INSERT INTO {table.name} ({columns}) VALUES {', '.join([f'({places})'] * len(part))}"
        cursor.execute(statement, [value for row in part for value in row])


def _recorded(connection: Connection, slate_ids: Sequence[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(slate_ids), IDS_PER_QUERY):
        wanted = EXPOSURES.c.slate_id.in_(slate_ids[start : start + IDS_PER_QUERY])
        found.update(
            connection.execute(select(EXPOSURES.c.slate_id).where(wanted, EXPOSURES.c.position == 1)).scalars()
        )
    return found
