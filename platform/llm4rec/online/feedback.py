"""The records of the log: feedback (what followed an exposure), slates with their exposures, catalogue overlays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Feedback:
    """One feedback event.

    Attributes:
        event_id: chosen by the sender; makes sending the same event twice harmless.
        event: what happened, for example "like", "dislike", "click", "rate".
        value: strength on the corpus's own scale (a rating of 1 to 5), if any.
        slate_id: the slate that showed the item, if any.
        timestamp: seconds since 1970. Not given: the time of arrival; what the log returns always has one.
    """

    event_id: str
    user_id: str
    item_id: str
    event: str
    value: float | None = None
    slate_id: str | None = None
    timestamp: int | None = None


@dataclass(frozen=True)
class Appended:
    """How many events of a batch were new, and how many the log held already."""

    accepted: int
    duplicates: int


@dataclass(frozen=True)
class Exposure:
    """An item shown in a slate, with its probability under the logging policy."""

    item_id: str
    score: float
    propensity: float


@dataclass(frozen=True)
class Plain:
    """What a user's request without words, constraints or a history of its own asked for, so it can be asked again.

    None stands for what the service is set to.

    Attributes:
        heard: number of the user's newest feedback that the slate was drawn after, 0 if there was none; None if that is
            not known, of slates of older versions.
    """

    diversity: float | None
    debias: float | None
    heard: int | None = None


@dataclass(frozen=True)
class Slate:
    """A slate as it was shown.

    Attributes:
        user_id: None for an anonymous history.
        exposures: in order of position.
        state: what the model took the user for, h_u as little-endian float32; empty where it was not kept.
        forgotten: how often its user had been deleted when it was drawn.
        plain: what was asked for, if the request was plain.
    """

    slate_id: str
    user_id: str | None
    model_version: str
    timestamp: int
    exposures: tuple[Exposure, ...]
    state: bytes = b""
    forgotten: int = field(default=0, compare=False)
    plain: Plain | None = None


@dataclass(frozen=True)
class ItemOverlay:
    """What the service was told about an item after the corpus was made; no record means withdrawn."""

    item_id: str
    record: Mapping[str, Any] | None


@dataclass(frozen=True)
class Logged:
    """Feedback as the log holds it.

    Attributes:
        sequence: its place in the log; numbers grow and are never used again.
        received: when it came, in seconds since 1970.
        slate: the slate that it is about, if it names one that was recorded.
    """

    sequence: int
    received: int
    feedback: Feedback
    slate: Slate | None


@dataclass(frozen=True)
class Judged:
    """A slate of a plain request, and which of its items its user said something good of."""

    slate: Slate
    good: frozenset[str]


@dataclass(frozen=True)
class Known:
    """All that the log holds of a user.

    Attributes:
        attributes: those that were put, or None.
        feedback: the newest on each item, in order of arrival.
        newest: number of the newest of it, 0 if there is none.
        forgotten: how often the user was deleted: after once what the corpus knows must not be used.
    """

    attributes: Mapping[str, Any] | None
    feedback: Sequence[Feedback]
    newest: int
    forgotten: int


@dataclass(frozen=True)
class Change:
    """An item that was put or withdrawn (`key` its id), or a user who was forgotten (`key` a hash)."""

    sequence: int
    kind: str
    key: str


@dataclass(frozen=True)
class LearnerState:
    """What a learner learnt.

    Attributes:
        sequence: of the last feedback it is made of.
        forgotten: how often users had been forgotten when it was made: it may hold nothing of them.
        contents: the parameters.
        sha256: of the contents.
    """

    sequence: int
    forgotten: int
    contents: bytes
    sha256: str
