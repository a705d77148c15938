"""The errors a user can meet: each says what was wrong, the value, what is allowed, what to do."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class Llm4RecError(ValueError):
    """Something the user can mend. Commands print it as one line and exit 2, the service as a 4xx."""

    @property
    def told(self) -> str:
        """What a client of the service is told; less where the error says much of the server."""
        return str(self)


class ConfigError(Llm4RecError):
    """A configuration key, value or file that cannot be used."""


class DataError(Llm4RecError):
    """Input data that cannot be used at all (single bad rows go to quarantine instead)."""


class ArtifactError(Llm4RecError):
    """An artifact that is missing, incomplete or damaged."""


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """For commands: an error that the user can mend is printed as one line, and ends the process with status 2."""
    try:
        yield
    except Llm4RecError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
