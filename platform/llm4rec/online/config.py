"""Configuration of the online stage."""

from pydantic import Field

from llm4rec.config import StrictModel


class OnlineConfig(StrictModel):
    """Where the durable log lives."""

    url: str = ""
    """SQLAlchemy URL of the log, for example `sqlite:////data/feedback.db`; empty: a SQLite file in the run folder."""
    busy_timeout_s: float = Field(5.0, gt=0)
    """Seconds a writer waits for another one before the log counts as unavailable."""
