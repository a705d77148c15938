"""A user's state: the logged history with the feedback since, so that the next slate knows the last click."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llm4rec.online.feedback import Feedback
from llm4rec.schema import Corpus, History, IntVector

NEGATIVE_EVENTS = frozenset({"dislike", "skip"})
RATE = "rate"
DISLIKED_RATING = 2.0
"""The highest rating that is a dislike, of 5."""


@dataclass(frozen=True)
class CorpusCodes:
    """What is needed of a corpus to code feedback.

    Attributes:
        items: item codes by id.
        events: event codes by name.
        usual_value: stands in where an event has no value of its own.
        disliked_rating: the highest rating that is a dislike.
    """

    items: Mapping[str, int]
    events: Mapping[str, int]
    usual_value: float
    disliked_rating: float = DISLIKED_RATING

    @classmethod
    def of(cls, corpus: Corpus, disliked_rating: float = DISLIKED_RATING) -> "CorpusCodes":
        """The codes of a corpus; its usual value is the median of its interactions."""
        values = corpus.interactions.value
        return cls(
            items=corpus.item_codes,
            events={name: code for code, name in enumerate(corpus.events)},
            usual_value=float(np.median(values)) if len(values) else 1.0,
            disliked_rating=disliked_rating,
        )


@dataclass(frozen=True)
class UserState:
    """A history to recommend from, and the codes of all items the user is known to have seen, sorted, each once."""

    history: History
    seen: IntVector


def history_with_feedback(history: History, events: Sequence[Feedback], codes: CorpusCodes) -> UserState:
    """Merge a logged history with feedback as the log returns it, in order of time (on ties the logged comes first).

    An item's last feedback counts, so a dislike takes an earlier like back. Negative feedback (a dislike, a skip, a
    low rating) adds nothing to the history, but the item counts as seen. Items outside the corpus have no
    code and are left out. An event name the corpus does not know takes code 0, the corpus's first event.
    """
    if not events:
        return UserState(history, np.unique(history.item))
    known = {event.item_id: event for event in events if event.item_id in codes.items}
    seen = np.union1d(history.item, [codes.items[item_id] for item_id in known]).astype(np.int32)
    added = _coded([event for event in known.values() if not is_negative(event, codes.disliked_rating)], codes)
    order = np.argsort(np.concatenate([history.timestamp, added.timestamp]), kind="stable")
    merged = History(
        item=np.concatenate([history.item, added.item])[order],
        timestamp=np.concatenate([history.timestamp, added.timestamp])[order],
        value=np.concatenate([history.value, added.value])[order],
        event=np.concatenate([history.event, added.event])[order],
    )
    return UserState(merged, seen)


def is_negative(event: Feedback, disliked_rating: float = DISLIKED_RATING) -> bool:
    """Whether the user said no to the item: a dislike, a skip, or a rating not above `disliked_rating`."""
    if event.event == RATE and event.value is not None:
        return event.value <= disliked_rating
    return event.event in NEGATIVE_EVENTS


def _coded(events: Sequence[Feedback], codes: CorpusCodes) -> History:
    values = [codes.usual_value if event.value is None else event.value for event in events]
    return History(
        item=np.array([codes.items[event.item_id] for event in events], np.int32),
        timestamp=np.array([event.timestamp for event in events], np.int64),
        value=np.array(values, np.float32),
        event=np.array([codes.events.get(event.event, 0) for event in events], np.int32),
    )
