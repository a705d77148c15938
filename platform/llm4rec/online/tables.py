"""The tables of the log."""

from sqlalchemy import (
    INTEGER,
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    inspect,
    literal_column,
    select,
    text,
)

METADATA = MetaData()

# SQLite numbers rows by itself, and with 64 bits, in columns of exactly this name alone.
NUMBER = BigInteger().with_variant(Integer, "sqlite")

# `sequence` is the order of arrival and never used again, so a reader can remember how far it came.
FEEDBACK = Table(
    "feedback",
    METADATA,
    Column("sequence", NUMBER, primary_key=True, autoincrement=True),
    Column("event_id", String, nullable=False, unique=True),
    Column("user_id", String, nullable=False),
    Column("item_id", String, nullable=False),
    Column("event", String, nullable=False),
    Column("value", Float),
    Column("slate_id", String, index=True),
    Column("timestamp", BigInteger),  # as the sender gave it: part of what makes two events the same
    Column("received", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

# From a user to the newest event on each item, without reading the others: somebody, or some machine, may have many.
NEWEST_OF_USER = Index("ix_feedback_newest_of_user", FEEDBACK.c.user_id, FEEDBACK.c.item_id, FEEDBACK.c.sequence)

EXPOSURES = Table(
    "exposures",
    METADATA,
    Column("slate_id", String, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("user_id", String),
    Column("item_id", String, nullable=False),
    Column("score", Float, nullable=False),
    Column("propensity", Float, nullable=False),
    Column("model_version", String, nullable=False),
    Column("timestamp", BigInteger, nullable=False),
    sqlite_with_rowid=False,  # one tree for table and key: half as many pages to bring to the disk
)

# As a literal: databases must see that the index below holds all there is.
FIRST_PLACE = EXPOSURES.c.position == literal_column("1")

# From a user to his slates; STATES and PLAIN have the same slates and no such index of their own, since every one is a
# page more to bring to the disk for each slate.
BY_USER = Index("ix_exposures_by_user", EXPOSURES.c.user_id, sqlite_where=FIRST_PLACE, postgresql_where=FIRST_PLACE)
SLATES_OF_USER = select(EXPOSURES.c.slate_id).where(EXPOSURES.c.user_id == bindparam("user_id"), FIRST_PLACE)

# What the model took the user for when a slate was drawn: learning needs it, and can then be repeated exactly.
STATES = Table(
    "states",
    METADATA,
    Column("slate_id", String, primary_key=True),
    Column("user_id", String),
    Column("state", LargeBinary, nullable=False),  # float32, little-endian
    sqlite_with_rowid=False,
)

# Requests that can be asked again of another model: none with words, constraints or a history of its own.
PLAIN = Table(
    "plain_requests",
    METADATA,
    Column("slate_id", String, primary_key=True),
    Column("user_id", String, nullable=False),
    Column("timestamp", BigInteger, nullable=False, index=True),
    Column("diversity", Float),
    Column("debias", Float),
    Column("heard", NUMBER),  # the user's newest feedback that it was drawn after, 0 of none; NULL of older versions
    sqlite_with_rowid=False,
)

ITEMS = Table(
    "items",
    METADATA,
    Column("item_id", String, primary_key=True),
    Column("record", JSON, nullable=False),
    Column("deleted", Boolean, nullable=False),
)

USERS = Table(
    "users",
    METADATA,
    Column("user_id", String, primary_key=True),
    Column("record", JSON, nullable=False),
)

# Deleted users by sha256: the corpus must not bring them back, and the id itself must be gone.
FORGOTTEN = Table("forgotten_users", METADATA, Column("user_hash", String, primary_key=True))

# What other replicas and the learner must take notice of: items put or withdrawn, users forgotten.
CHANGES = Table(
    "changes",
    METADATA,
    Column("sequence", NUMBER, primary_key=True, autoincrement=True),
    Column("kind", String, nullable=False),
    Column("key", String, nullable=False),  # of an item its id, of a user the hash
    sqlite_autoincrement=True,
)

# Only the first and the last change of an item stay, and those between are found by it at each put.
BY_KEY = Index("ix_changes_by_key", CHANGES.c.key)

# What was learnt so far, so that a learner that starts again need not read the whole log.
SNAPSHOTS = Table(
    "snapshots",
    METADATA,
    Column("key", String, primary_key=True),
    Column("sequence", NUMBER, nullable=False),  # of the last feedback it is made of
    Column("forgotten", Integer, nullable=False),  # users forgotten when it was made
    Column("contents", LargeBinary, nullable=False),
    Column("sha256", String, nullable=False),
)

# Models that were published, tried on a share of the users, and rolled back.
RELEASES = Table(
    "releases",
    METADATA,
    Column("sequence", NUMBER, primary_key=True, autoincrement=True),
    Column("step", String, nullable=False),
    Column("version", String, nullable=False),
    Column("path", String, nullable=False),
    Column("share", Float, nullable=False),
    Column("published", BigInteger, nullable=False),
    sqlite_autoincrement=True,
)

OLDER_INDEXES = {
    "feedback": "ix_feedback_user_id",
    "plain_requests": "ix_plain_requests_user_id",
    "states": "ix_states_user_id",
    "exposures": "ix_exposures_user_id",
}
"""By table, what a user's rows were found by before there were `NEWEST_OF_USER` and `BY_USER`."""


def create_tables(connection: Connection) -> None:
    """Create the tables where there are none, and bring columns and indexes of an older version up."""
    METADATA.create_all(connection)
    known = inspect(connection)
    if PLAIN.c.heard.name not in {column["name"] for column in known.get_columns(PLAIN.name)}:
        connection.execute(text(f"ALTER TABLE {PLAIN.name} ADD COLUMN {PLAIN.c.heard.name} BIGINT"))
    if connection.dialect.name == "postgresql":
        _widen_numbers(connection)
    BY_KEY.create(connection, checkfirst=True)
    older = [
        index
        for table, index in OLDER_INDEXES.items()
        if any(found["name"] == index for found in known.get_indexes(table))
    ]
    for index in (NEWEST_OF_USER, BY_USER) if older else ():
        index.create(connection, checkfirst=True)
    for name in older:
        connection.execute(text(f"DROP INDEX {name}"))


def _widen_numbers(connection: Connection) -> None:
    """Give 64 bits to numbers of rows that an older version made with 32, which two thousand million events use up."""
    known = inspect(connection)
    for table in METADATA.sorted_tables:
        narrow = {column["name"] for column in known.get_columns(table.name) if type(column["type"]) is INTEGER}
        for column in table.columns:
            if isinstance(column.type, BigInteger) and column.name in narrow:
                connection.execute(text(f"ALTER TABLE {table.name} ALTER COLUMN {column.name} TYPE BIGINT"))
                if column.primary_key:
                    connection.execute(text(f"ALTER SEQUENCE {table.name}_{column.name}_seq AS BIGINT"))
