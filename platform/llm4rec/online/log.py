"""The event log: feedback and exposures, on the disk before anyone is told so, and overlays on the corpus."""

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    case,
    delete,
    func,
    insert,
    or_,
    select,
)

from llm4rec.online.database import asking, erase_remains, open_engine, reading, writing, writing_directly
from llm4rec.online.errors import ConflictError
from llm4rec.online.feedback import Appended, Change, Feedback, ItemOverlay, Judged, Known, LearnerState, Logged, Slate
from llm4rec.online.group import Group, Write, users_of
from llm4rec.online.releases import Release, Routing, rolled_back, routing_after
from llm4rec.online.rows import (
    IDS_PER_QUERY,
    KNOWN,
    feedback_of,
    forgotten_of,
    good_items,
    hashes_forgotten,
    logged_slates,
    overlay,
    releases_of,
    timed,
    times_forgotten,
)
from llm4rec.online.tables import (
    CHANGES,
    EXPOSURES,
    FEEDBACK,
    FORGOTTEN,
    ITEMS,
    METADATA,
    PLAIN,
    RELEASES,
    SLATES_OF_USER,
    SNAPSHOTS,
    STATES,
    USERS,
    create_tables,
)
from llm4rec.online.trial import OfUser
from llm4rec.online.user_state import DISLIKED_RATING, NEGATIVE_EVENTS, RATE
from llm4rec.schema import user_hash

Record = Mapping[str, Any]


class EventLog:
    """A durable log in a SQLite file or a PostgreSQL database; safe for several threads and processes.

    Writers take turns, so the order of sequence numbers is the order in which rows become visible: who has read up to
    a number has read all there will ever be up to it. Every method raises UnavailableError where the database cannot
    be read or written; a write that raises has changed nothing.
    """

    def __init__(self, url: str, busy_timeout_s: float = 5.0, disliked_rating: float = DISLIKED_RATING) -> None:
        """Open the log, and create its tables where there are none.

        Args:
            url: of the database.
            busy_timeout_s: seconds that a writer waits for another one.
            disliked_rating: the highest rating that is read as a dislike.

        Raises:
            ConfigError: `url` is neither one of a SQLite file nor one of a PostgreSQL database.
            UnavailableError: the database cannot be opened or is damaged.
        """
        self.disliked_rating = disliked_rating
        self._engine = open_engine(url, busy_timeout_s)
        self._driver: Any = self._engine.dialect.loaded_dbapi
        self._known: Any = KNOWN.compile(dialect=self._engine.dialect)
        self._erased: dict[str, int] = {}  # by hash of a user, after how many deletions this process left no remains
        with writing(self._engine) as connection:
            create_tables(connection)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @property
    def in_a_file(self) -> bool:
        """Whether the database is a file here, whose readers wait for nobody."""
        return self._engine.dialect.name == "sqlite"

    def answers(self) -> bool:
        """True; raises where the database does not answer."""
        with reading(self._engine) as connection:
            return connection.execute(select(1)).scalar() == 1

    def append_feedback(self, events: Sequence[Feedback]) -> Appended:
        """Append a batch in one transaction; when this returns, all of it is on the disk.

        An event that is in the log already (same id, same contents) is counted as a duplicate and not repeated.

        Raises:
            ConflictError: an event_id stands for something else in the log or in this batch; nothing was written.
        """
        (appended,) = self.write_group([events])
        if isinstance(appended, ConflictError):
            raise appended
        assert appended is not None
        return appended

    def record_exposures(self, slate: Slate) -> None:
        """Write down what a slate showed and with which propensities, before it is shown; nothing of one without items.

        Raises:
            ConflictError: a slate of this id was recorded before, or its user was deleted while it was drawn.
        """
        (recorded,) = self.write_group([slate])
        if isinstance(recorded, ConflictError):
            raise recorded

    def write_group(self, writes: Sequence[Write]) -> list[Appended | ConflictError | None]:
        """What many requests write, in one transaction; one that conflicts writes nothing and leaves the others alone.

        Returns:
            of each write what came of it: of feedback what was appended, of a slate None, of a conflict the error.
        """
        with suppress(self._driver.IntegrityError), writing_directly(self._engine) as cursor:
            if not hashes_forgotten(cursor, users_of(writes)):
                return _written(Group(), writes, cursor)
        # something of it is in the log already, or a user was deleted: look up what
        with writing(self._engine) as connection:
            return _written(Group.beside(connection, writes), writes, connection.connection.cursor())

    def feedback_of(self, user_id: str) -> list[Feedback]:
        """A user's feedback in order of arrival."""
        with reading(self._engine) as connection:
            return feedback_of(connection, user_id)

    def feedback_after(self, sequence: int, limit: int = 1000) -> list[tuple[int, Feedback]]:
        """The next feedback after a sequence number (0: from the start), each with its own number."""
        return [(row.sequence, row.feedback) for row in self.logged_after(sequence, limit)]

    def logged_after(self, sequence: int, limit: int = 1000) -> list[Logged]:
        """The next feedback after a sequence number (0: from the start), with its time of arrival and its slate."""
        query = select(FEEDBACK).where(FEEDBACK.c.sequence > sequence).order_by(FEEDBACK.c.sequence).limit(limit)
        with reading(self._engine) as connection:
            rows = connection.execute(query).mappings().all()
            slates = logged_slates(connection, sorted({row["slate_id"] for row in rows if row["slate_id"]}))
        return [Logged(row["sequence"], row["received"], timed(row), slates.get(row["slate_id"])) for row in rows]

    def logged_of(self, user_id: str, before: int) -> list[Logged]:
        """A user's feedback with numbers below `before`, in order, without the slates."""
        query = select(FEEDBACK).where(FEEDBACK.c.user_id == user_id, FEEDBACK.c.sequence < before)
        with reading(self._engine) as connection:
            rows = connection.execute(query.order_by(FEEDBACK.c.sequence)).mappings()
            return [Logged(row["sequence"], row["received"], timed(row), None) for row in rows]

    def last_sequence(self) -> int:
        """The number of the newest feedback, 0 where there is none."""
        with reading(self._engine) as connection:
            return int(connection.execute(select(func.max(FEEDBACK.c.sequence))).scalar() or 0)

    def slate(self, slate_id: str) -> Slate | None:
        """A recorded slate, or None."""
        with reading(self._engine) as connection:
            return logged_slates(connection, [slate_id]).get(slate_id)

    def put_item(self, item_id: str, record: Record) -> None:
        """Add or replace an item of the catalogue."""
        self._change_item(item_id, record=dict(record), deleted=False)

    def delete_item(self, item_id: str) -> None:
        """Withdraw an item, be it from the corpus or from here."""
        self._change_item(item_id, record={}, deleted=True)

    def item_overlays(self, item_ids: Sequence[str] | None = None) -> list[ItemOverlay]:
        """What was put or withdrawn: of all items, by id, or of those among some that the log knows, in any order."""
        query = select(ITEMS).order_by(ITEMS.c.item_id)
        with reading(self._engine) as connection:
            if item_ids is None:
                return [overlay(row) for row in connection.execute(query).mappings()]
            parts = [item_ids[i : i + IDS_PER_QUERY] for i in range(0, len(item_ids), IDS_PER_QUERY)]
            queries = [query.where(ITEMS.c.item_id.in_(part)) for part in parts]
            return [overlay(row) for one in queries for row in connection.execute(one).mappings()]

    def changes_after(self, sequence: int) -> list[Change]:
        """Items put or withdrawn and users forgotten after a change (0: from the start), in order.

        Of an item there are the first change and the last.
        """
        query = select(CHANGES).where(CHANGES.c.sequence > sequence).order_by(CHANGES.c.sequence)
        with reading(self._engine) as connection:
            return [Change(**row) for row in connection.execute(query).mappings()]

    def put_user(self, user_id: str, record: Record) -> None:
        """Add or replace a user's attributes."""
        with writing(self._engine) as connection:
            _replace(connection, USERS, user_id=user_id, record=dict(record))

    def known(self, user_id: str) -> Known:
        """What the log holds of a user that counts: of feedback the newest on each item."""
        values = {"user_id": user_id, "user_hash": user_hash(user_id)}
        order = self._known.positiontup
        with asking(self._engine) as cursor:
            cursor.execute(self._known.string, values if order is None else [values[name] for name in order])
            record, newest, forgotten = cursor.fetchone()
        attributes = json.loads(record) if isinstance(record, str) else record
        # Up to what was found: what comes meanwhile is another slate's.
        feedback = [] if newest is None else self._newest_feedback(user_id, FEEDBACK.c.sequence <= newest)
        return Known(attributes=attributes, feedback=feedback, newest=newest or 0, forgotten=forgotten)

    def feedback_before(self, slate: Slate) -> list[Feedback]:
        """The newest feedback of a slate's user on each item of that which a plain slate was drawn after.

        Of slates of older versions, whose rows do not say that, what had come in a second before.
        """
        assert slate.plain is not None and slate.user_id is not None
        heard = slate.plain.heard
        known = FEEDBACK.c.received < slate.timestamp if heard is None else FEEDBACK.c.sequence <= heard
        return self._newest_feedback(slate.user_id, known)

    def _newest_feedback(self, user_id: str, *known: ColumnElement[bool]) -> list[Feedback]:
        """On each item, in order of arrival; somebody may do the same thing thousands of times."""
        newest = select(func.max(FEEDBACK.c.sequence)).where(FEEDBACK.c.user_id == user_id, *known)
        rows = select(FEEDBACK).where(FEEDBACK.c.sequence.in_(newest.group_by(FEEDBACK.c.item_id)))
        with reading(self._engine) as connection:
            return [timed(row) for row in connection.execute(rows.order_by(FEEDBACK.c.sequence)).mappings()]

    def user_overlays(self) -> dict[str, Record]:
        """The attributes of every user that was put, by id."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(USERS).order_by(USERS.c.user_id)).mappings()
            return {row["user_id"]: row["record"] for row in rows}

    def delete_user(self, user_id: str) -> None:
        """Forget a user: attributes, feedback and exposures leave the disk, and a hash marks the id as forgotten.

        Of who has left nothing since the last time only remains are erased, unless this process has done so.

        Raises:
            UnavailableError: not all remains could be removed; call it again.
        """
        named, mark = self._slates_naming(user_id), user_hash(user_id)
        with writing(self._engine) as connection:
            rows = 0
            for table in (USERS, FEEDBACK):
                rows += connection.execute(delete(table).where(table.c.user_id == user_id)).rowcount
            for table in (STATES, PLAIN, EXPOSURES):  # the last is what tells of which slates the others are
                of_user = delete(table).where(table.c.slate_id.in_(SLATES_OF_USER))
                rows += connection.execute(of_user, {"user_id": user_id}).rowcount
            for table in (STATES, PLAIN):
                for start in range(0, len(named), IDS_PER_QUERY):
                    part = named[start : start + IDS_PER_QUERY]
                    rows += connection.execute(delete(table).where(table.c.slate_id.in_(part))).rowcount
            if rows or not forgotten_of(connection, [user_id]):
                connection.execute(delete(SNAPSHOTS))  # what was learnt from the user goes too
                _replace(connection, FORGOTTEN, user_hash=mark)
                connection.execute(insert(CHANGES).values(kind="forgotten", key=mark))
            times = forgotten_of(connection, [user_id])[mark]
        if self._erased.get(mark) != times:
            erase_remains(self._engine)
            self._erased[mark] = times

    def _slates_naming(self, user_id: str) -> list[str]:
        """All slates of a user, those without items too, to which `SLATES_OF_USER` does not lead.

        Only an older version, which may still run beside this one, logs such. Reads through all slates, for which no
        writer waits.
        """
        with reading(self._engine) as connection:
            named = [
                slate_id
                for table in (STATES, PLAIN)
                for slate_id in connection.execute(select(table.c.slate_id).where(table.c.user_id == user_id)).scalars()
            ]
        return list(dict.fromkeys(named))

    def is_forgotten(self, user_id: str) -> bool:
        """Whether the user was deleted once: then what the corpus knows of him must not be used."""
        with reading(self._engine) as connection:
            return bool(forgotten_of(connection, [user_id]))

    def save_snapshot(self, key: str, snapshot: LearnerState, most: int) -> bool:
        """Keep what was learnt in place of what was kept before; False where users were forgotten since it was made.

        Of more than `most` snapshots those of the earliest events go, of models that nobody follows any more.
        """
        with writing(self._engine) as connection:
            if times_forgotten(connection) != snapshot.forgotten:
                return False
            _replace(connection, SNAPSHOTS, key=key, **vars(snapshot))
            newest = select(SNAPSHOTS.c.key).order_by(SNAPSHOTS.c.sequence.desc(), SNAPSHOTS.c.key).limit(most)
            connection.execute(delete(SNAPSHOTS).where(SNAPSHOTS.c.key.not_in(newest), SNAPSHOTS.c.key != key))
            return True

    def snapshot(self, key: str) -> LearnerState | None:
        """What was kept under a key, or None."""
        names = [SNAPSHOTS.c[name] for name in LearnerState.__dataclass_fields__]
        with reading(self._engine) as connection:
            row = connection.execute(select(*names).where(SNAPSHOTS.c.key == key)).mappings().first()
        return None if row is None else LearnerState(**row)

    def times_forgotten(self) -> int:
        """How often a user was forgotten."""
        with reading(self._engine) as connection:
            return times_forgotten(connection)

    def publish(self, version: str, path: str, share: float = 1.0) -> None:
        """Let a model answer a share of the users, see `releases`."""
        row = {"step": "publish", "version": version, "path": path, "share": share, "published": int(time.time())}
        with writing(self._engine) as connection:
            connection.execute(insert(RELEASES).values(**row))

    def roll_back(self, first: Release) -> Routing:
        """Take the newest publish back, where `first` is the model that the service started with.

        Returns:
            who gets which model then.

        Raises:
            ConflictError: there is nothing to roll back.
        """
        row = {"step": "roll_back", "version": "", "path": "", "share": 1.0, "published": int(time.time())}
        with writing(self._engine) as connection:
            routing = rolled_back(routing_after(first, releases_of(connection)))
            connection.execute(insert(RELEASES).values(**row))
        return routing

    def releases(self) -> list[Release]:
        """All steps, in order."""
        with reading(self._engine) as connection:
            return releases_of(connection)

    def rewards(self, since: int = 0) -> list[OfUser]:
        """Of each model and user, how many slates there were since a time, and of how many the user said good."""
        shown = EXPOSURES.alias()
        on_slate = select(shown.c.item_id).where(shown.c.slate_id == EXPOSURES.c.slate_id).correlate(EXPOSURES)
        good = and_(
            FEEDBACK.c.slate_id == EXPOSURES.c.slate_id,
            FEEDBACK.c.user_id == EXPOSURES.c.user_id,
            FEEDBACK.c.item_id.in_(on_slate),
            FEEDBACK.c.event.not_in(NEGATIVE_EVENTS),
            or_(FEEDBACK.c.event != RATE, FEEDBACK.c.value > self.disliked_rating),
        )
        earned = select(FEEDBACK.c.sequence).where(good).correlate(EXPOSURES).exists()
        version, user = EXPOSURES.c.model_version, EXPOSURES.c.user_id
        query = (
            select(version, user, func.count(), func.sum(case((earned, 1), else_=0)))
            .where(EXPOSURES.c.position == 1, user.is_not(None), EXPOSURES.c.timestamp >= since)
            .group_by(version, user)
            .order_by(version, user)
        )
        with reading(self._engine) as connection:
            return [OfUser(*row) for row in connection.execute(query)]

    def judged(self, limit: int) -> list[Judged]:
        """The newest slates of plain requests, oldest first, each with what its user said good of."""
        newest = select(PLAIN.c.slate_id).order_by(PLAIN.c.timestamp.desc(), PLAIN.c.slate_id.desc()).limit(limit)
        with reading(self._engine) as connection:
            ids = list(connection.execute(newest).scalars())[::-1]
            slates = logged_slates(connection, ids)
            good = good_items(connection, ids, self.disliked_rating)
        return [Judged(slates[slate_id], frozenset(good.get(slate_id, ()))) for slate_id in ids if slate_id in slates]

    def counts(self, *tables: str) -> dict[str, int]:
        """Rows of some tables, by default of all; rows of exposures are walked through one by one."""
        with reading(self._engine) as connection:
            return {
                table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                for table in METADATA.sorted_tables
                if not tables or table.name in tables
            }

    def _change_item(self, item_id: str, **row: Any) -> None:
        with writing(self._engine) as connection:
            _replace(connection, ITEMS, item_id=item_id, **row)
            # Of an item the first change counts, which gives it its place among added ones, and the last.
            own = (CHANGES.c.kind == "item") & (CHANGES.c.key == item_id)
            first = select(func.min(CHANGES.c.sequence)).where(own).scalar_subquery()
            connection.execute(delete(CHANGES).where(own, CHANGES.c.sequence > first))
            connection.execute(insert(CHANGES).values(kind="item", key=item_id))


def _written(group: Group, writes: Sequence[Write], cursor: Any) -> list[Appended | ConflictError | None]:
    done = [group.take(write) for write in writes]
    group.write(cursor)
    return done


def _replace(connection: Connection, table: Table, **row: Any) -> None:
    (key,) = table.primary_key.columns
    connection.execute(delete(table).where(key == row[key.name]))
    connection.execute(insert(table).values(**row))
