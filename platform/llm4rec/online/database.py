"""Opening the log's database so that what it confirms is on the disk, and its faults are ours to explain."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, PoolProxiedConnection, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, TimeoutError

from llm4rec.errors import ConfigError
from llm4rec.online.errors import UnavailableError

RETRY_S = 0.001
"""How long a writer of SQLite sleeps while another one writes."""
PRIMARY_CODE = 0xFF
"""SQLite's errors are finer than that above it."""
WRITER = 4_015_100_162
"""PostgreSQL's advisory lock that writers of the log hold in turn; any number that other programs do not use."""
TAKE_TURN = f"SELECT pg_advisory_xact_lock({WRITER})"
BUSY_TIMEOUT = "busy_timeout_s"
"""An engine's option: how long a writer of SQLite waits for others."""


SILENCE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
"""Settings of libpq, which else waits a quarter of an hour, or for ever, for a server that a network has lost."""


def open_engine(url: str, busy_timeout_s: float) -> Engine:
    """An engine on a SQLite file or a PostgreSQL database whose commits are on the disk.

    SQLite: write-ahead log, fsync at every commit, deleted bytes overwritten. PostgreSQL: synchronous commits,
    connections tried before they are used, so that a restarted server is found again.

    Raises:
        ConfigError: the URL is of neither.
    """
    parsed = _checked(url)
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, busy_timeout_s)
    return _open_postgresql(parsed, busy_timeout_s)


def _open_sqlite(url: URL, busy_timeout_s: float) -> Engine:
    engine = create_engine(url, hide_parameters=True, execution_options={BUSY_TIMEOUT: busy_timeout_s})

    # SQLAlchemy's events; transactions are begun by us, since sqlite3 would begin them late and deferred, and a
    # deferred writer fails at once, instead of waiting, when another one was faster.
    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {int(busy_timeout_s * 1000)}")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA secure_delete = ON")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if not _writes(connection):
            connection.exec_driver_sql("BEGIN")
            return
        cursor = connection.connection.cursor()
        _begin_writing(cursor, busy_timeout_s)
        cursor.close()

    return engine


def _begin_writing(cursor: Any, seconds: float) -> None:
    """Begin a write as soon as others let it, within some time; the driver's error where that does not come.

    SQLite itself would wait for another process in ever longer sleeps, up to a tenth of a second, and whoever comes
    meanwhile goes first.
    """
    deadline = time.monotonic() + seconds
    cursor.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                cursor.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.DatabaseError as error:  # a damaged file too
                if error.sqlite_errorcode & PRIMARY_CODE != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                    raise
            time.sleep(RETRY_S)
    finally:
        cursor.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")


def _open_postgresql(url: URL, busy_timeout_s: float) -> Engine:
    own = f"-c lock_timeout={int(busy_timeout_s * 1000)} -c synchronous_commit=on"
    asked = url.query  # what is passed beside the URL takes the place of what it says
    options = " ".join([*([str(asked["options"])] if "options" in asked else []), own])
    connect = {"connect_timeout": max(1, int(busy_timeout_s)), **SILENCE} | {
        name: value for name, value in asked.items() if name in {"connect_timeout", *SILENCE}
    }
    engine = create_engine(
        url.set(drivername="postgresql+psycopg"),
        pool_pre_ping=True,
        hide_parameters=True,  # they are users' ids, and errors are logged
        pool_timeout=busy_timeout_s,
        connect_args={"options": options, **connect},
    )

    # One writer at a time, as with SQLite: numbers drawn from a sequence would otherwise appear out of order, and a
    # reader who remembers how far it came would miss those that came late.
    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if _writes(connection):
            connection.exec_driver_sql(TAKE_TURN)

    return engine


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("writes", False))


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A consistent view of the database.

    Raises:
        UnavailableError: it cannot be read.
    """
    # In PostgreSQL every statement would else have a view of its own.
    options = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
    with _explained(engine, "read"), engine.connect() as connection, connection.execution_options(**options).begin():
        yield connection


@contextmanager
def asking(engine: Engine) -> Iterator[Any]:
    """A cursor of the driver itself, for one question: SQLAlchemy's part would take longer than the answer.

    Raises:
        UnavailableError: it cannot be answered.
    """
    with _driver(engine, "read") as connection:
        yield connection.cursor()


@contextmanager
def writing_directly(engine: Engine) -> Iterator[Any]:
    """The same for one transaction, on the disk when the block is left without an error, else undone.

    Raises:
        UnavailableError: it cannot be written, as with `writing`.
        IntegrityError: of the driver: a key is there already.
    """
    with _driver(engine, "written") as connection:
        cursor = connection.cursor()
        if engine.dialect.name == "postgresql":
            cursor.execute(TAKE_TURN)
        else:
            _begin_writing(cursor, engine.get_execution_options()[BUSY_TIMEOUT])
        yield cursor
        connection.commit()


@contextmanager
def _driver(engine: Engine, done: str) -> Iterator[PoolProxiedConnection]:
    """A connection from the pool, which undoes what was not committed when it takes it back."""
    with _explained(engine, done):
        connection = engine.raw_connection()
        try:
            yield connection
        except engine.dialect.loaded_dbapi.Error as error:
            if engine.dialect.is_disconnect(error, connection.dbapi_connection, None):
                connection.invalidate(error)
            raise
        finally:
            connection.close()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction, on the disk when the block is left without an error, else undone.

    Raises:
        UnavailableError: it cannot be written: no space, locked for too long, damaged.
        IntegrityError: of SQLAlchemy: a key is there already.
    """
    # Options of the connection; an engine with options would have to be made each time.
    options = {"writes": True}
    with _explained(engine, "written"), engine.connect() as connection, connection.execution_options(**options).begin():
        yield connection


def erase_remains(engine: Engine) -> None:
    """Remove what deleted rows have left on the disk.

    SQLite: the file is written anew, since copies of rows that once moved to another page stay in the free part of the
    first; then the write-ahead log is cut to zero. Who writes meanwhile waits, for the engine's busy timeout at most.
    PostgreSQL: the tables are written anew, and their statistics, which hold frequent values; its write-ahead log and
    its backups keep them for as long as the server is told to keep those.

    Raises:
        UnavailableError: others are reading old copies, or the disk is full.
    """
    with _explained(engine, "written"):
        if engine.dialect.name == "postgresql":
            _rewrite(engine)
            return
        connection = engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("VACUUM")
            busy = not _cut_write_ahead_log(cursor, engine.get_execution_options()[BUSY_TIMEOUT])
            cursor.close()
        finally:
            connection.close()
    if busy:
        raise UnavailableError(
            f"{_name(engine)} is being read, so remains of deleted rows may still be in its write-ahead log; "
            "delete once more"
        )


def _cut_write_ahead_log(cursor: Any, seconds: float) -> bool:
    """Bring all of the log into the file and cut it to zero; False where others do not let it within some time.

    Each commit of another connection begins a checkpoint of its own while the log is as long as the file, and SQLite
    does not wait for that one to end.
    """
    deadline = time.monotonic() + seconds
    while busy := cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
        if time.monotonic() >= deadline:
            break
        time.sleep(RETRY_S)
    return not busy


def _rewrite(engine: Engine) -> None:
    tables = "feedback, exposures, states, plain_requests, users, snapshots"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"VACUUM (FULL, ANALYZE) {tables}")


@contextmanager
def _explained(engine: Engine, done: str) -> Iterator[None]:
    driver: Any = engine.dialect.loaded_dbapi
    try:
        yield
    except (IntegrityError, driver.IntegrityError):
        raise
    except (DBAPIError, TimeoutError, driver.Error) as error:
        raise _unavailable(engine, done, getattr(error, "orig", None) or error) from error


def _unavailable(engine: Engine, done: str, cause: BaseException) -> UnavailableError:
    advice = (
        "Check its disk (space, permissions, other processes); if the file is damaged, restore it from a backup"
        if engine.dialect.name == "sqlite"
        else f"Check that the server at {engine.url.host}:{engine.url.port or 5432} runs, can be reached from here and "
        "accepts this user, and that its disk is not full"
    )
    told = " ".join(str(cause).split())
    return UnavailableError(f"the log {_name(engine)} could not be {done}: {told}; nothing was acknowledged. {advice}")


def _name(engine: Engine) -> str:
    return str(engine.url.database)


def _checked(url: str) -> URL:
    examples = "for example sqlite:////data/feedback.db or postgresql://user:password@host/database"
    try:
        parsed = make_url(url)
    except ArgumentError:
        # It may hold a password, so it is not shown.
        raise ConfigError(f"online.url (or LLM4REC_LOG_URL) is not a database URL; {examples}") from None
    shown = parsed.render_as_string(hide_password=True)
    if parsed.get_backend_name() not in {"sqlite", "postgresql"}:
        raise ConfigError(f"online.url {shown!r} is neither of SQLite nor of PostgreSQL; {examples}")
    if parsed.database in {None, "", ":memory:"}:
        raise ConfigError(f"online.url {shown!r} names no {'file' if 'sqlite' in shown else 'database'}; {examples}")
    return parsed
