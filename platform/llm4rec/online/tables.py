"""The tables of the log."""

from sqlalchemy import JSON, Boolean, Column, Float, Integer, MetaData, String, Table

METADATA = MetaData()

# `sequence` is the order of arrival and never used again, so a reader can remember how far it came.
FEEDBACK = Table(
    "feedback",
    METADATA,
    Column("sequence", Integer, primary_key=True, autoincrement=True),
    Column("event_id", String, nullable=False, unique=True),
    Column("user_id", String, nullable=False, index=True),
    Column("item_id", String, nullable=False),
    Column("event", String, nullable=False),
    Column("value", Float),
    Column("slate_id", String),
    Column("timestamp", Integer),  # as the sender gave it: part of what makes two events the same
    Column("received", Integer, nullable=False),
    sqlite_autoincrement=True,
)

EXPOSURES = Table(
    "exposures",
    METADATA,
    Column("slate_id", String, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("user_id", String, index=True),
    Column("item_id", String, nullable=False),
    Column("score", Float, nullable=False),
    Column("propensity", Float, nullable=False),
    Column("model_version", String, nullable=False),
    Column("timestamp", Integer, nullable=False),
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
