"""Between records and rows of the log."""

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, func, literal_column, select

from llm4rec.online.errors import ConflictError
from llm4rec.online.feedback import Exposure, Feedback, ItemOverlay, Plain, Slate
from llm4rec.online.releases import Release
from llm4rec.online.tables import CHANGES, EXPOSURES, FEEDBACK, FORGOTTEN, PLAIN, RELEASES, STATES, USERS
from llm4rec.online.user_state import is_negative
from llm4rec.schema import user_hash

IDS_PER_QUERY = 500  # SQLite limits the parameters of one statement

KNOWN = select(
    select(USERS.c.record).where(USERS.c.user_id == bindparam("user_id")).scalar_subquery().label("record"),
    select(func.max(FEEDBACK.c.sequence))
    .where(FEEDBACK.c.user_id == bindparam("user_id"))
    .scalar_subquery()
    .label("newest"),
    select(func.count())
    .select_from(CHANGES)
    .where(CHANGES.c.key == bindparam("user_hash"), CHANGES.c.kind == literal_column("'forgotten'"))
    .scalar_subquery()
    .label("forgotten"),
)
"""One question for what every request asks of its user."""


def by_event_id(events: Sequence[Feedback]) -> dict[str, Feedback]:
    """A batch by event_id, every event once.

    Raises:
        ConflictError: one id stands for two things.
    """
    batch: dict[str, Feedback] = {}
    for event in events:
        require_same(batch.setdefault(event.event_id, event), event, "this batch")
    return batch


def require_same(before: Feedback, event: Feedback, where: str) -> None:
    """Make sure that an event sent again is the same.

    Raises:
        ConflictError: it is not.
    """
    if before != event:
        different = [name for name in vars(event) if getattr(event, name) != getattr(before, name)]
        raise ConflictError(
            f"event_id {event.event_id!r} is in {where} with another {', '.join(different)}; give every event its own "
            "id, and send an event again only as it was. Nothing of this batch was written"
        )


def logged_feedback(connection: Connection, event_ids: Sequence[str]) -> dict[str, Feedback]:
    """Those of some events that the log holds, as they were sent."""
    found = {}
    for start in range(0, len(event_ids), IDS_PER_QUERY):
        wanted = FEEDBACK.c.event_id.in_(event_ids[start : start + IDS_PER_QUERY])
        for row in connection.execute(select(FEEDBACK).where(wanted)).mappings():
            found[row["event_id"]] = as_sent(row)
    return found


def hashes_forgotten(cursor: Any, user_ids: Iterable[str]) -> set[str]:
    """Hashes of those of some users who have ever been deleted, through a cursor of the driver."""
    hashes, found = [user_hash(user_id) for user_id in user_ids], set()
    for start in range(0, len(hashes), IDS_PER_QUERY):
        part = hashes[start : start + IDS_PER_QUERY]
        places = ", ".join([place(cursor)] * len(part))
        cursor.execute(f"SELECT user_hash FROM {FORGOTTEN.name} WHERE user_hash IN ({places})", part)
        found |= {user_hash for (user_hash,) in cursor.fetchall()}
    return found


def place(cursor: Any) -> str:
    """What stands for a value in a statement for a driver."""
    return "?" if isinstance(cursor, sqlite3.Cursor) else "%s"


def forgotten_of(connection: Connection, user_ids: Iterable[str]) -> dict[str, int]:
    """How often some users have been deleted, by hash; those who have not are left out."""
    found = hashes_forgotten(connection.connection.cursor(), user_ids)
    if not found:
        return {}
    times = select(func.count()).select_from(CHANGES).where(CHANGES.c.kind == "forgotten")
    return {one: connection.execute(times.where(CHANGES.c.key == one)).scalar_one() for one in found}


def logged_slates(connection: Connection, slate_ids: Sequence[str]) -> dict[str, Slate]:
    """Those of some slates that the log holds, by id."""
    shown: dict[str, list[RowMapping]] = {}
    states: dict[str, bytes] = {}
    plain: dict[str, Plain] = {}
    for start in range(0, len(slate_ids), IDS_PER_QUERY):
        ids = slate_ids[start : start + IDS_PER_QUERY]
        query = select(EXPOSURES).where(EXPOSURES.c.slate_id.in_(ids)).order_by(EXPOSURES.c.position)
        for row in connection.execute(query).mappings():
            shown.setdefault(row["slate_id"], []).append(row)
        kept = select(STATES.c.slate_id, STATES.c.state).where(STATES.c.slate_id.in_(ids))
        states |= {slate_id: bytes(state) for slate_id, state in connection.execute(kept)}
        asked = select(PLAIN.c.slate_id, PLAIN.c.diversity, PLAIN.c.debias, PLAIN.c.heard)
        asked = asked.where(PLAIN.c.slate_id.in_(ids))
        plain |= {slate_id: Plain(*rest) for slate_id, *rest in connection.execute(asked)}
    return {slate_id: _slate(rows, states.get(slate_id, b""), plain.get(slate_id)) for slate_id, rows in shown.items()}


def good_items(connection: Connection, slate_ids: Sequence[str], disliked_rating: float) -> dict[str, set[str]]:
    """Of some slates the items that their users said something good of; slates without any are left out."""
    found: dict[str, set[str]] = {}
    for start in range(0, len(slate_ids), IDS_PER_QUERY):
        on_slate = (
            FEEDBACK.c.slate_id == EXPOSURES.c.slate_id,
            FEEDBACK.c.item_id == EXPOSURES.c.item_id,
            FEEDBACK.c.user_id == EXPOSURES.c.user_id,
        )
        said = select(FEEDBACK).where(FEEDBACK.c.slate_id.in_(slate_ids[start : start + IDS_PER_QUERY]))
        query = said.where(select(EXPOSURES.c.slate_id).where(*on_slate).correlate(FEEDBACK).exists())
        for row in connection.execute(query).mappings():
            if not is_negative(as_sent(row), disliked_rating):
                found.setdefault(row["slate_id"], set()).add(row["item_id"])
    return found


def _slate(rows: Sequence[RowMapping], state: bytes, plain: Plain | None) -> Slate:
    first = rows[0]
    exposures = tuple(Exposure(row["item_id"], row["score"], row["propensity"]) for row in rows)
    head = first["slate_id"], first["user_id"], first["model_version"], first["timestamp"]
    return Slate(*head, exposures, state, plain=plain)


def feedback_row(event: Feedback, received: int) -> tuple[Any, ...]:
    """An event's row, without the number that the log gives it."""
    return (
        event.event_id,
        event.user_id,
        event.item_id,
        event.event,
        event.value,
        event.slate_id,
        event.timestamp,
        received,
    )


def exposure_rows(slate: Slate) -> list[tuple[Any, ...]]:
    """A slate's rows, one a place."""
    first, last = slate.slate_id, (slate.model_version, slate.timestamp)
    return [
        (first, place, slate.user_id, shown.item_id, shown.score, shown.propensity, *last)
        for place, shown in enumerate(slate.exposures, start=1)
    ]


def as_sent(row: RowMapping) -> Feedback:
    """An event as its sender gave it."""
    return Feedback(**{name: row[name] for name in Feedback.__dataclass_fields__})


def timed(row: RowMapping) -> Feedback:
    """An event with a time: its own, else that of its arrival."""
    timestamp = row["received"] if row["timestamp"] is None else row["timestamp"]
    return Feedback(**{**vars(as_sent(row)), "timestamp": timestamp})


def overlay(row: RowMapping) -> ItemOverlay:
    """What a row says of an item."""
    return ItemOverlay(row["item_id"], None if row["deleted"] else row["record"])


def feedback_of(connection: Connection, user_id: str) -> list[Feedback]:
    """All feedback of a user, in the order of arrival."""
    query = select(FEEDBACK).where(FEEDBACK.c.user_id == user_id).order_by(FEEDBACK.c.sequence)
    return [timed(row) for row in connection.execute(query).mappings()]


def releases_of(connection: Connection) -> list[Release]:
    """Every step of a release, in order."""
    rows = connection.execute(select(RELEASES).order_by(RELEASES.c.sequence)).mappings()
    return [Release(**row) for row in rows]


def times_forgotten(connection: Connection) -> int:
    """How often some user was forgotten."""
    count = select(func.count()).select_from(CHANGES).where(CHANGES.c.kind == "forgotten")
    return connection.execute(count).scalar_one()
