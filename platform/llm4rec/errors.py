"""The errors a user can meet: each says what was wrong, the value, what is allowed, what to do."""


class Llm4RecError(ValueError):
    """Something the user can mend. Commands print it as one line and exit 2, the service as a 4xx."""


class ConfigError(Llm4RecError):
    """A configuration key, value or file that cannot be used."""


class DataError(Llm4RecError):
    """Input data that cannot be used at all (single bad rows go to quarantine instead)."""


class ArtifactError(Llm4RecError):
    """An artifact that is missing, incomplete or damaged."""
