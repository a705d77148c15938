"""The event log: feedback and exposures, on the disk before anyone is told so, and overlays on the corpus."""

import hashlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, Table, delete, func, insert, select

from llm4rec.online.database import empty_write_ahead_log, open_engine, reading, writing
from llm4rec.online.errors import ConflictError
from llm4rec.online.feedback import Appended, Exposure, Feedback, ItemOverlay, Slate
from llm4rec.online.tables import EXPOSURES, FEEDBACK, FORGOTTEN, ITEMS, METADATA, USERS

Record = Mapping[str, Any]

IDS_PER_QUERY = 500  # SQLite limits the parameters of one statement


class EventLog:
    """A durable log in a SQLite file; safe for several threads and processes.

    Every method raises UnavailableError where the database cannot be read or written; a write that raises has
    changed nothing.
    """

    def __init__(self, url: str, busy_timeout_s: float = 5.0) -> None:
        """Open the log, and create its tables where there are none.

        Raises:
            ConfigError: `url` is not one of a SQLite file.
            UnavailableError: the file cannot be opened or is damaged.
        """
        self._engine = open_engine(url, busy_timeout_s)
        with writing(self._engine) as connection:
            METADATA.create_all(connection)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def append_feedback(self, events: Sequence[Feedback]) -> Appended:
        """Append a batch in one transaction; when this returns, all of it is on the disk.

        An event that is in the log already (same id, same contents) is counted as a duplicate and not repeated.

        Raises:
            ConflictError: an event_id stands for something else in the log or in this batch; nothing was written.
        """
        batch = _by_event_id(events)
        with writing(self._engine) as connection:
            logged = _logged(connection, list(batch))
            for event_id, before in logged.items():
                _require_same(before, batch[event_id], "the log")
            received = int(time.time())
            rows = [vars(event) | {"received": received} for key, event in batch.items() if key not in logged]
            if rows:
                connection.execute(insert(FEEDBACK), rows)
        return Appended(accepted=len(rows), duplicates=len(events) - len(rows))

    def feedback_of(self, user_id: str) -> list[Feedback]:
        """A user's feedback in order of arrival."""
        query = select(FEEDBACK).where(FEEDBACK.c.user_id == user_id).order_by(FEEDBACK.c.sequence)
        with reading(self._engine) as connection:
            return [_timed(row) for row in connection.execute(query).mappings()]

    def feedback_after(self, sequence: int, limit: int = 1000) -> list[tuple[int, Feedback]]:
        """The next feedback after a sequence number (0: from the start), each with its own number."""
        query = select(FEEDBACK).where(FEEDBACK.c.sequence > sequence).order_by(FEEDBACK.c.sequence).limit(limit)
        with reading(self._engine) as connection:
            return [(row["sequence"], _timed(row)) for row in connection.execute(query).mappings()]

    def record_exposures(self, slate: Slate) -> None:
        """Write down what a slate showed and with which propensities, before it is shown.

        Raises:
            ConflictError: a slate of this id was recorded before.
        """
        shared = {key: value for key, value in vars(slate).items() if key != "exposures"}
        rows = [shared | vars(shown) | {"position": place} for place, shown in enumerate(slate.exposures, start=1)]
        with writing(self._engine) as connection:
            known = select(EXPOSURES.c.slate_id).where(EXPOSURES.c.slate_id == slate.slate_id).limit(1)
            if connection.execute(known).first() is not None:
                raise ConflictError(f"slate_id {slate.slate_id!r} was recorded before; draw a new id for every slate")
            if rows:
                connection.execute(insert(EXPOSURES), rows)

    def slate(self, slate_id: str) -> Slate | None:
        """A recorded slate, or None."""
        query = select(EXPOSURES).where(EXPOSURES.c.slate_id == slate_id).order_by(EXPOSURES.c.position)
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
        if not rows:
            return None
        exposures = tuple(Exposure(row["item_id"], row["score"], row["propensity"]) for row in rows)
        return Slate(slate_id, rows[0]["user_id"], rows[0]["model_version"], rows[0]["timestamp"], exposures)

    def put_item(self, item_id: str, record: Record) -> None:
        """Add or replace an item of the catalogue."""
        self._replace(ITEMS, item_id=item_id, record=dict(record), deleted=False)

    def delete_item(self, item_id: str) -> None:
        """Withdraw an item, be it from the corpus or from here."""
        self._replace(ITEMS, item_id=item_id, record={}, deleted=True)

    def item_overlays(self) -> list[ItemOverlay]:
        """Every item that was put or withdrawn, by id."""
        with reading(self._engine) as connection:
            return [_overlay(row) for row in connection.execute(select(ITEMS).order_by(ITEMS.c.item_id)).mappings()]

    def item_overlay(self, item_id: str) -> ItemOverlay | None:
        """What was put or withdrawn under this id, or None."""
        with reading(self._engine) as connection:
            row = connection.execute(select(ITEMS).where(ITEMS.c.item_id == item_id)).mappings().first()
        return None if row is None else _overlay(row)

    def put_user(self, user_id: str, record: Record) -> None:
        """Add or replace a user's attributes."""
        self._replace(USERS, user_id=user_id, record=dict(record))

    def user_overlay(self, user_id: str) -> Record | None:
        """The attributes that were put for a user, or None."""
        with reading(self._engine) as connection:
            return connection.execute(select(USERS.c.record).where(USERS.c.user_id == user_id)).scalar()

    def user_overlays(self) -> dict[str, Record]:
        """The attributes of every user that was put, by id."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(USERS).order_by(USERS.c.user_id)).mappings()
            return {row["user_id"]: row["record"] for row in rows}

    def delete_user(self, user_id: str) -> None:
        """Forget a user: attributes, feedback and exposures leave the disk, and a hash marks the id as forgotten.

        Raises:
            UnavailableError: not all remains could be removed; call it again.
        """
        with writing(self._engine) as connection:
            for table in (USERS, FEEDBACK, EXPOSURES):
                connection.execute(delete(table).where(table.c.user_id == user_id))
            connection.execute(delete(FORGOTTEN).where(FORGOTTEN.c.user_hash == _hash(user_id)))
            connection.execute(insert(FORGOTTEN).values(user_hash=_hash(user_id)))
        empty_write_ahead_log(self._engine)

    def is_forgotten(self, user_id: str) -> bool:
        """Whether the user was deleted once: then what the corpus knows of him must not be used."""
        query = select(FORGOTTEN).where(FORGOTTEN.c.user_hash == _hash(user_id))
        with reading(self._engine) as connection:
            return connection.execute(query).first() is not None

    def counts(self) -> dict[str, int]:
        """Rows of each table."""
        with reading(self._engine) as connection:
            return {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in METADATA.sorted_tables
            }

    def _replace(self, table: Table, **row: Any) -> None:
        (key,) = table.primary_key.columns
        with writing(self._engine) as connection:
            connection.execute(delete(table).where(key == row[key.name]))
            connection.execute(insert(table).values(**row))


def _by_event_id(events: Sequence[Feedback]) -> dict[str, Feedback]:
    batch: dict[str, Feedback] = {}
    for event in events:
        _require_same(batch.setdefault(event.event_id, event), event, "this batch")
    return batch


def _require_same(before: Feedback, event: Feedback, where: str) -> None:
    if before != event:
        different = [name for name in vars(event) if getattr(event, name) != getattr(before, name)]
        raise ConflictError(
            f"event_id {event.event_id!r} is in {where} with another {', '.join(different)}; give every event its own "
            "id, and send an event again only as it was. Nothing of this batch was written"
        )


def _logged(connection: Connection, event_ids: list[str]) -> dict[str, Feedback]:
    found = {}
    for start in range(0, len(event_ids), IDS_PER_QUERY):
        wanted = FEEDBACK.c.event_id.in_(event_ids[start : start + IDS_PER_QUERY])
        for row in connection.execute(select(FEEDBACK).where(wanted)).mappings():
            found[row["event_id"]] = _as_sent(row)
    return found


def _as_sent(row: RowMapping) -> Feedback:
    return Feedback(**{name: row[name] for name in Feedback.__dataclass_fields__})


def _timed(row: RowMapping) -> Feedback:
    timestamp = row["received"] if row["timestamp"] is None else row["timestamp"]
    return Feedback(**{**vars(_as_sent(row)), "timestamp": timestamp})


def _overlay(row: RowMapping) -> ItemOverlay:
    return ItemOverlay(row["item_id"], None if row["deleted"] else row["record"])


def _hash(user_id: str) -> str:
    return hashlib.sha256(user_id.encode()).hexdigest()
