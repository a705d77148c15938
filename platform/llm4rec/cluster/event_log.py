"""Where a run's event log is, and what it says that every stage must heed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.session import LOG_URL
from llm4rec.errors import ConfigError
from llm4rec.online.log import EventLog
from llm4rec.schema import user_hash


def open_log(config: RunConfig) -> EventLog:
    """The service's log.

    Raises:
        ConfigError: it would be in the folder of a run that is not there.
    """
    if not _configured(config) and "://" not in config.run.path and not Path(config.run.path).is_dir():
        raise ConfigError(
            f"there is no run at {config.run.path}, in which the log would be; run jobs/pipeline.py first, or say "
            "which run with --config or --set run.path=..."
        )
    return EventLog(log_url(config), config.online.busy_timeout_s, config.online.disliked_rating)


def log_url(config: RunConfig) -> str:
    """Where the event log lives: as configured, else a SQLite file in the run folder.

    Raises:
        ConfigError: the run folder is remote, where SQLite cannot work.
    """
    if url := _configured(config):
        return url
    if "://" in config.run.path:
        raise ConfigError(
            f"online.url must be set when run.path is remote ({config.run.path}); SQLite needs a local file"
        )
    return f"sqlite:///{_own_file(config)}"


@dataclass(frozen=True)
class Gone:
    """Who and what is no longer to be used.

    Attributes:
        users: hashes of forgotten users.
        items: ids of withdrawn items.
    """

    users: frozenset[str] = frozenset()
    items: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: RunConfig) -> "Gone":
        """What the log says; nothing where a run has none yet."""
        if not _configured(config) and ("://" in config.run.path or not _own_file(config).exists()):
            return cls()
        log = open_log(config)
        try:
            forgotten = (change.key for change in log.changes_after(0) if change.kind == "forgotten")
            withdrawn = (overlay.item_id for overlay in log.item_overlays() if overlay.record is None)
            return cls(frozenset(forgotten), frozenset(withdrawn))
        finally:
            log.close()

    def left(self, user_ids: Sequence[str]) -> list[str]:
        """Those of some users who are not forgotten."""
        return [user_id for user_id in user_ids if user_hash(user_id) not in self.users] if self.users else [*user_ids]


def _configured(config: RunConfig) -> str:
    return config.online.url or os.environ.get(LOG_URL, "")


def _own_file(config: RunConfig) -> Path:
    return Path(config.run.path, "events.db")
