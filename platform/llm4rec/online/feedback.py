"""The records of the log: feedback (what followed an exposure), slates with their exposures, catalogue overlays."""

from collections.abc import Mapping
from dataclasses import dataclass
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
class Slate:
    """A slate as it was shown; exposures in order of position. `user_id` is None for an anonymous history."""

    slate_id: str
    user_id: str | None
    model_version: str
    timestamp: int
    exposures: tuple[Exposure, ...]


@dataclass(frozen=True)
class ItemOverlay:
    """What the service was told about an item after the corpus was made; no record means withdrawn."""

    item_id: str
    record: Mapping[str, Any] | None
