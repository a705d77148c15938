"""Errors that have an HTTP status of their own (see problems.py)."""

from llm4rec.errors import Llm4RecError


class NotFoundError(Llm4RecError):
    """A user, item or slate that does not exist: 404."""


class NotReadyError(Llm4RecError):
    """The service cannot answer yet: 503, the client may try again."""


class BusyError(Llm4RecError):
    """More is asked for than can be answered in time: 429, the client may try again."""

    def __init__(self) -> None:
        super().__init__("too many requests are under way; try again later")
