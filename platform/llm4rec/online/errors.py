"""What can go wrong when the log is written or read."""

from llm4rec.errors import Llm4RecError


class ConflictError(Llm4RecError):
    """An id that was already used, with other contents."""


class UnavailableError(Llm4RecError):
    """The log cannot be read or written now; nothing was acknowledged, so the caller may try again."""

    @property
    def told(self) -> str:
        """Neither where the log is nor what its database said."""
        return "the log cannot be read or written now, so nothing was acknowledged; try again later"
