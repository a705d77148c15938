"""Opening the log's database so that what it confirms is on the disk, and its faults are ours to explain."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, TimeoutError

from llm4rec.errors import ConfigError
from llm4rec.online.errors import UnavailableError


def open_engine(url: str, busy_timeout_s: float) -> Engine:
    """An engine on a SQLite file: write-ahead log, fsync at every commit, deleted bytes overwritten.

    Raises:
        ConfigError: the URL is not one of a SQLite file.
    """
    engine = create_engine(_sqlite_file(url))

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
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A consistent view of the database.

    Raises:
        UnavailableError: it cannot be read.
    """
    with _explained(engine, "read"), engine.begin() as connection:
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """One transaction, on the disk when the block is left without an error, else undone.

    Raises:
        UnavailableError: it cannot be written: no space, locked for too long, damaged.
    """
    with _explained(engine, "written"), engine.execution_options(writes=True).begin() as connection:
        yield connection


def empty_write_ahead_log(engine: Engine) -> None:
    """Move everything committed into the main file and cut the write-ahead log, with its old copies of rows, to zero.

    Raises:
        UnavailableError: others are reading old copies, or the disk is full.
    """
    with _explained(engine, "written"):
        connection = engine.raw_connection()
        try:
            cursor = connection.cursor()
            busy = cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
            cursor.close()
        finally:
            connection.close()
    if busy:
        raise UnavailableError(
            f"{_name(engine)} is being read, so remains of deleted rows may still be in its write-ahead log; "
            "delete once more"
        )


@contextmanager
def _explained(engine: Engine, done: str) -> Iterator[None]:
    try:
        yield
    except (DBAPIError, TimeoutError) as error:
        cause = getattr(error, "orig", None) or error
        raise UnavailableError(
            f"the log {_name(engine)} could not be {done}: {cause}; nothing was acknowledged. Check its disk (space, "
            "permissions, other processes); if the file is damaged, restore it from a backup"
        ) from error


def _name(engine: Engine) -> str:
    return str(engine.url.database)


def _sqlite_file(url: str) -> URL:
    example = "for example sqlite:////data/feedback.db"
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ConfigError(f"online.url {url!r} is not a database URL; {example}") from None
    if parsed.get_backend_name() != "sqlite" or parsed.database in {None, "", ":memory:"}:
        shown = parsed.render_as_string(hide_password=True)
        raise ConfigError(f"online.url {shown!r} is not a SQLite file, the only kind of log supported; {example}")
    return parsed
