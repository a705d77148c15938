"""What one event teaches, made of the log alone, so that learning can be repeated exactly.

Shapes: I items of the corpus, D width of item vectors.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from llm4rec.online.feedback import Feedback, Logged
from llm4rec.online.user_state import is_negative
from llm4rec.schema import FloatVector, IntVector

SECONDS_A_DAY = 86_400


@dataclass(frozen=True)
class Example:
    """One event as the learner needs it.

    Attributes:
        item: code of the item.
        wanted: False for a dislike, a skip, a low rating.
        state: h_u without adapter when the item was chosen, shape (D,).
        propensity: with which the item was shown, None where it was not on a slate.
        known: codes of items that did not compete, since the user had them, sorted.
    """

    user_id: str
    item: int
    wanted: bool
    state: FloatVector
    propensity: float | None
    known: IntVector


@dataclass
class Progress:
    """What is remembered of a user while the log is read.

    Attributes:
        usual: the user's state for events that name no slate, shape (D,), None where it is not known.
        had: codes of items in the user's history.
        day: of the newest example, in days since 1970.
        today: examples of that day.
    """

    usual: FloatVector | None
    had: set[int]
    day: int = 0
    today: int = 0


@dataclass
class ExampleReader:
    """Makes examples of logged feedback, in the order of the log.

    Attributes:
        codes: of the corpus's items, by id.
        version: of the model whose states can be learnt from.
        past: what was known of a user before the log: codes of the items of the history, and the state after it.
        before: what the log holds of a user before a sequence number.
        daily: examples a day of one user.
        disliked_rating: the highest rating that is a dislike.
    """

    codes: Mapping[str, int]
    version: str
    past: Callable[[str], tuple[IntVector, FloatVector | None]]
    before: Callable[[str, int], Sequence[Logged]]
    daily: int
    disliked_rating: float
    users: dict[str, Progress] = field(default_factory=dict)

    def of(self, logged: Logged) -> Example | None:
        """The example of the next event, or None where there is none.

        None for an item outside the corpus, a pair of user and item that was there before, a user's events beyond the
        number of the day, on slates of other models, and where it is not known what the model took the user for.
        """
        event = logged.feedback
        item, progress = self.codes.get(event.item_id), self._progress(logged)
        if item is None or item in progress.had or not self._counted(progress, logged.received):
            return None
        known = np.array(sorted(progress.had), np.int32)
        progress.had.add(item)
        slate = logged.slate
        if slate is None or slate.user_id != event.user_id:
            state = progress.usual
        elif slate.model_version == self.version and slate.state:
            state = np.frombuffer(slate.state, "<f4")
        else:
            state = None  # another model chose what to show, for reasons that this one does not know
        if state is None:
            return None
        return Example(
            event.user_id, item, not is_negative(event, self.disliked_rating), state, _propensity(logged, event), known
        )

    def _progress(self, logged: Logged) -> Progress:
        user_id = logged.feedback.user_id
        if user_id not in self.users:
            items, usual = self.past(user_id)
            progress = Progress(usual, set(items.tolist()))
            for earlier in self.before(user_id, logged.sequence):
                item = self.codes.get(earlier.feedback.item_id)
                if item is not None and item not in progress.had and self._counted(progress, earlier.received):
                    progress.had.add(item)
            self.users[user_id] = progress  # only now: the log may have failed to answer half-way
        return self.users[user_id]

    def _counted(self, progress: Progress, received: int) -> bool:
        """Whether one more event may teach; it is counted if so."""
        day = received // SECONDS_A_DAY
        if day > progress.day:
            progress.day, progress.today = day, 0
        if progress.today >= self.daily:
            return False
        progress.today += 1
        return True


def _propensity(logged: Logged, event: Feedback) -> float | None:
    if logged.slate is None or logged.slate.user_id != event.user_id:
        return None
    return next((shown.propensity for shown in logged.slate.exposures if shown.item_id == event.item_id), None)
