"""Errors that have an HTTP status of their own (see problems.py)."""

from llm4rec.errors import Llm4RecError


class NotFoundError(Llm4RecError):
    """A user, item or slate that does not exist: 404."""


class NotReadyError(Llm4RecError):
    """The service cannot answer yet: 503, the client may try again."""
