"""What can go wrong when the log is written or read."""

from llm4rec.errors import Llm4RecError


class ConflictError(Llm4RecError):
    """An id that was already used, with other contents."""


class UnavailableError(Llm4RecError):
    """The log cannot be read or written now; nothing was acknowledged, so the caller may try again."""
