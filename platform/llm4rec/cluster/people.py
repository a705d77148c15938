"""Users as the service sees them: the corpus's users with their feedback since, users put since, and strangers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.cluster.catalogue import LiveCatalogue
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.online.feedback import Feedback, Slate
from llm4rec.online.log import EventLog
from llm4rec.online.user_state import CorpusCodes, history_with_feedback
from llm4rec.schema import EMPTY_HISTORY, TEST, TRAIN, USER_ID, VALID, BoolVector, History, IntVector
from llm4rec.serve import contract
from llm4rec.serve.errors import NotFoundError

RECENT = 50


@dataclass(frozen=True)
class _Known:
    """What corpus and log hold of a user: the code, attributes if they were put, feedback, and how often deleted.

    Of feedback there is the newest on each item, and the number of the newest of all.
    """

    code: int | None
    put: Mapping[str, Any] | None
    events: Sequence[Feedback]
    newest: int
    forgotten: int


@dataclass(frozen=True)
class Person:
    """Who a slate is for.

    Attributes:
        history: interactions, oldest first; may hold items put since training.
        seen: codes of items not to show again.
        attributes: attribute codes, shape (A,).
        popularity_weight: how strongly popularity moves this user, as a multiple of the mean.
        unchanged: the user's code in the corpus, if nothing is known beyond it.
        forgotten: how often the user was deleted.
        heard: number of the newest feedback that is counted in, 0 if there is none.
    """

    history: History
    seen: IntVector
    attributes: npt.NDArray[np.int64]
    popularity_weight: float
    unchanged: int | None = None
    forgotten: int = 0
    heard: int = 0

    def readable(self, num_items: int) -> History:
        """The history as the model can read it: items it was not trained on have no place in its tables."""
        known = self.history.item < num_items
        h = self.history
        return History(h.item[known], h.timestamp[known], h.value[known], h.event[known])


class People:
    """Looks users up in the corpus and in the log, which is read at every request: a slate knows the last event."""

    def __init__(self, snapshot: Snapshot, log: EventLog) -> None:
        self._corpus = snapshot.corpus
        self._attributes, self._attribute_codes = snapshot.scorer.model.shape.attributes, snapshot.scorer.attributes
        self._log = log
        self._weights = snapshot.effects.user_weight
        self._mean_weight = float(self._weights.mean()) if len(self._weights) else 0.0
        self._histories = snapshot.corpus.histories(TRAIN, VALID, TEST)
        self._codes = CorpusCodes.of(snapshot.corpus, log.disliked_rating)

    def asking(self, request: contract.RecommendRequest, catalogue: LiveCatalogue) -> Person:
        """Who a request is for; a history sent along takes the place of the logged one.

        Raises:
            NotFoundError: the user, or an item of the history, is unknown.
        """
        person = self.stranger if request.user_id is None else self.find(request.user_id, catalogue)
        if request.history is None:
            return person
        events = [self._sent(place, entry, catalogue) for place, entry in enumerate(request.entries)]
        state = history_with_feedback(EMPTY_HISTORY, events, self._coding(catalogue))
        return replace(person, history=state.history, seen=state.seen, unchanged=None)

    @property
    def stranger(self) -> Person:
        """Somebody of whom nothing is known."""
        return Person(EMPTY_HISTORY, EMPTY_HISTORY.item, self._encoded({}), self._mean_weight)

    def find(self, user_id: str, catalogue: LiveCatalogue) -> Person:
        """A user of the corpus, or one who was put or gave feedback since.

        Raises:
            NotFoundError: nothing is known of this user.
        """
        return self._person(self._known(user_id), catalogue)

    def as_of(self, slate: Slate, catalogue: LiveCatalogue) -> Person:
        """The user of a plain slate, with the feedback that it was drawn after.

        Raises:
            NotFoundError: nothing is known of this user.
        """
        assert slate.user_id is not None
        known = replace(self._known(slate.user_id), events=self._log.feedback_before(slate))
        return self._person(known, catalogue)

    def describe(self, user_id: str, catalogue: LiveCatalogue) -> contract.User:
        """A user's attributes and recent history, newest first; negative feedback is shown too."""
        known = self._known(user_id)
        events = known.events
        logged = EMPTY_HISTORY if known.code is None else self._histories[known.code].last(RECENT)
        columns = zip(logged.item, logged.event, logged.value, logged.timestamp, strict=True)
        entries: list[tuple[str, str, float | None, int]] = [
            (catalogue.item_ids[item], self._corpus.events[event], float(value), int(timestamp))
            for item, event, value, timestamp in columns
        ]
        entries += [
            (e.item_id, e.event, e.value, int(e.timestamp or 0)) for e in events if e.item_id in catalogue.codes
        ]
        entries.sort(key=lambda entry: entry[3])
        history = [
            contract.HistoryItem(
                item_id=item_id, title=catalogue.titles[catalogue.codes[item_id]], event=event, value=value, timestamp=t
            )
            for item_id, event, value, t in reversed(entries[-RECENT:])
        ]
        return contract.User(user_id=user_id, attributes=self._attributes_of(known), history=history)

    def search(self, search: str, limit: int) -> list[contract.UserSummary]:
        """Users whose id begins with the search or who have it as an attribute."""
        wanted, put, found = search.casefold(), self._log.user_overlays(), []
        matches, codes = self._match(wanted), self._corpus.user_codes
        added = []
        for user_id, attributes in put.items():  # attributes that were put take the place of the corpus's
            answers = _answers(wanted, user_id, attributes.values())
            if user_id in codes:
                matches[codes[user_id]] = answers
            elif answers:
                added.append(user_id)
        for user_id in chain((self._corpus.user_ids[code] for code in np.flatnonzero(matches)), added):
            code = None if self._log.is_forgotten(user_id) else codes.get(user_id)
            if user_id in put or code is not None:  # who was forgotten may have come back
                own = put[user_id] if user_id in put else self._corpus_attributes(code)
                found.append(self._summary(user_id, own, code))
            if len(found) == limit:
                break
        return found

    def _match(self, wanted: str) -> BoolVector:
        """Which users of the corpus have ids that begin so, or such an attribute, a text or a number, shape (U,)."""
        matches = np.array([user_id.casefold().startswith(wanted) for user_id in self._corpus.user_ids], np.bool_)
        for column in self._corpus.users.drop_columns([USER_ID]).columns:
            distinct = column.combine_chunks().dictionary_encode()
            has = [value is not None and str(value).casefold() == wanted for value in distinct.dictionary.to_pylist()]
            places = pc.fill_null(distinct.indices.cast(pa.int64()), len(has)).to_numpy()
            matches |= np.array([*has, False])[places]
        return matches

    def past(self, code: int) -> IntVector:
        """Codes of the items of a user's history in the corpus."""
        return self._histories[code].item

    def _known(self, user_id: str) -> _Known:
        logged = self._log.known(user_id)
        code = None if logged.forgotten else self._corpus.user_codes.get(user_id)
        if code is None and logged.attributes is None and not logged.feedback:
            raise NotFoundError(
                f"unknown user {user_id!r}; GET /v1/users lists users, PUT /v1/users/{{id}} adds one, "
                "and POST /v1/recommendations takes a history without any user"
            )
        return _Known(code, logged.attributes, logged.feedback, logged.newest, logged.forgotten)

    def _person(self, known: _Known, catalogue: LiveCatalogue) -> Person:
        logged = EMPTY_HISTORY if known.code is None else self._histories[known.code]
        state = history_with_feedback(logged, known.events, self._coding(catalogue))
        weight = self._mean_weight if known.code is None else float(self._weights[known.code])
        unchanged = None if known.events or known.put is not None else known.code
        codes = self._codes_of(known)
        return Person(state.history, state.seen, codes, weight, unchanged, known.forgotten, known.newest)

    def _attributes_of(self, known: _Known) -> dict[str, Any]:
        return self._corpus_attributes(known.code) if known.put is None else dict(known.put)

    def _codes_of(self, known: _Known) -> npt.NDArray[np.int64]:
        if known.put is None and known.code is not None:
            return self._attribute_codes[known.code].astype(np.int64)
        return self._encoded(known.put or {})

    def _corpus_attributes(self, code: int | None) -> dict[str, Any]:
        row = {} if code is None else self._corpus.users.slice(code, 1).to_pylist()[0]
        return {name: value for name, value in row.items() if name != USER_ID and value is not None}

    def _summary(self, user_id: str, attributes: Mapping[str, Any], code: int | None) -> contract.UserSummary:
        count = 0 if code is None else len(self._histories[code])
        return contract.UserSummary(user_id=user_id, attributes=dict(attributes), num_interactions=count)

    def _encoded(self, attributes: Mapping[str, object]) -> npt.NDArray[np.int64]:
        return np.asarray(self._attributes.encode(attributes), np.int64)

    def _coding(self, catalogue: LiveCatalogue) -> CorpusCodes:
        return replace(self._codes, items=catalogue.codes)

    def _sent(self, place: int, entry: contract.HistoryEntry, catalogue: LiveCatalogue) -> Feedback:
        if entry.item_id not in catalogue.codes:
            raise NotFoundError(f"history: unknown item {entry.item_id!r}; GET /v1/items?search= finds items by title")
        # without timestamps the order given is the order in time
        timestamp = place if entry.timestamp is None else entry.timestamp
        event = entry.event or self._corpus.events[0]
        return Feedback(f"sent-{place}", "", entry.item_id, event, entry.value, None, timestamp)


def _answers(wanted: str, user_id: str, attributes: Iterable[object]) -> bool:
    return user_id.casefold().startswith(wanted) or wanted in {str(value).casefold() for value in attributes}
