"""One version of the model at work in one process: who asks, what is known of the items, retrieval and ranking.

Methods block; several threads may call them. Each request sees one consistent catalogue.
"""

import logging
import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llm4rec.cluster.candidates import Candidates, may_decide
from llm4rec.cluster.catalogue import LiveCatalogue
from llm4rec.cluster.entry import ContentEncoder, Entry, Record
from llm4rec.cluster.grounding import Grounding
from llm4rec.cluster.people import People, Person
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.snapshot import Snapshot, narrow_by
from llm4rec.cluster.states import States
from llm4rec.encode.text import TextEncoder
from llm4rec.explain.grounds import Grounds
from llm4rec.index.parts import SearchableIndex
from llm4rec.online.feedback import Exposure, Plain
from llm4rec.online.feedback import Slate as LoggedSlate
from llm4rec.online.log import EventLog
from llm4rec.online.parameters import Shift, Update
from llm4rec.recommend.config import RecommendConfig
from llm4rec.recommend.filters import Filters
from llm4rec.recommend.policy import chances_of
from llm4rec.recommend.relevance import relevance
from llm4rec.recommend.request import Understood, as_words, follow, narrowed
from llm4rec.recommend.slate import Contest, Slate, Wish, compete, draw_from
from llm4rec.schema import EMPTY_HISTORY, FloatVector, IntVector
from llm4rec.serve import contract

logger = logging.getLogger(__name__)

QUICK_ITEMS = 20_000
TIME_DIGITS = 12
"""Of an id of a slate: milliseconds since 1970, hexadecimal."""
ENTRIES_AT_ONCE = 256
NOTHING_KNOWN: Record = {"text": "", "categories": [], "numbers": {}}
WORDS_ALONE = 100.0
"""What words count against the taste of somebody without a history, of whom none is known."""


@dataclass(frozen=True)
class Retrieved:
    """What retrieval hands to ranking.

    Attributes:
        version: of the model.
        person: who asks.
        state: h_u, shape (D,), before what was learnt online.
        logits: of all items of the catalogue that retrieval saw, shape (I,); -inf of those that do not compete.
    """

    version: str
    person: Person
    state: FloatVector
    logits: FloatVector


@dataclass(frozen=True)
class Drawn:
    """A slate with what answering needs.

    Attributes:
        person: who asked.
        logged: the slate as the log keeps it.
        titles: of its items, in order.
        notice: why it is short; empty if it is not.
        filters: what every item meets.
    """

    person: Person
    logged: LoggedSlate
    titles: list[str]
    notice: str
    filters: Filters


class Engine:
    """A snapshot of the model with the catalogue as it is now."""

    def __init__(
        self,
        snapshot: Snapshot,
        config: RunConfig,
        log: EventLog,
        text: TextEncoder,
        near: SearchableIndex | None = None,
    ) -> None:
        """Put a model to work.

        Args:
            snapshot: the model.
            config: of the service.
            log: what happened since.
            text: reads words.
            near: finds what competes in a large catalogue, where that is not the snapshot's own index.
        """
        self.snapshot = snapshot
        self.people = People(snapshot, log)
        self.shift = Shift.none(snapshot.index.vectors.shape[1])
        self._config = config
        self._log = log
        self._text = text
        self._content = ContentEncoder(snapshot, text, config.encode.max_categories)
        self._states = States(snapshot)
        self._catalogue = LiveCatalogue.of(snapshot)
        self._grounding = Grounding(snapshot.evidence, self._catalogue.described, config.explain)
        near = near or snapshot.near
        self._candidates = None if near is None else Candidates(near, config.run.seed)
        self._changed: frozenset[int] = frozenset()  # codes of the index's items that have another vector now
        self._changing = threading.Lock()
        self._change = 0
        overlays = log.item_overlays()  # read first: what is put meanwhile is among the changes, in its place
        known = {change.key for change in log.changes_after(0)}
        older = [overlay for overlay in overlays if overlay.item_id not in known]  # of a log that kept no changes
        self._take_over({overlay.item_id: overlay.record for overlay in older})
        self.follow()

    @property
    def version(self) -> str:
        """The model's, as answers tell it."""
        return self.snapshot.version

    @property
    def catalogue(self) -> LiveCatalogue:
        """All items as they are known here; `follow` takes over what other processes have changed."""
        return self._catalogue

    def follow(self) -> None:
        """Take over changes of items, in their order: so an added item has one code in all processes."""
        if not self._log.changes_after(self._change):
            return
        with self._changing:
            changes = self._log.changes_after(self._change)
            changed = list(dict.fromkeys(change.key for change in changes if change.kind == "item"))
            records = {overlay.item_id: overlay.record for overlay in self._log.item_overlays(changed)}
            self._take_over({item_id: records.get(item_id) for item_id in changed})
            if changes:
                self._change = changes[-1].sequence

    def retrieve(self, request: contract.RecommendRequest) -> Retrieved:
        """Find out who asks, and score every item for them, or of a large catalogue those that may compete."""
        if not all(entry.item_id in self._catalogue.codes for entry in request.entries):
            self.follow()  # an item may have been put elsewhere just now
        catalogue = self.catalogue
        return self._retrieved(request, self.people.asking(request, catalogue), catalogue)

    def _retrieved(self, request: contract.RecommendRequest, person: Person, catalogue: LiveCatalogue) -> Retrieved:
        state, shift = self._states.of(person), self.shift
        moved, vectors = shift.state(request.user_id, state), catalogue.ranking.vectors
        worded = request.query is not None or request.dialogue is not None or request.filters is not None
        if self._candidates and may_decide(self._settings(request), person.popularity_weight, worded=worded):
            return Retrieved(self.version, person, state, self._few_logits(request, person, moved, catalogue))
        products = shift.products(moved, vectors)
        return Retrieved(self.version, person, state, self.snapshot.logits_of(products[None], [person.history])[0])

    def _few_logits(
        self, request: contract.RecommendRequest, person: Person, state: FloatVector, catalogue: LiveCatalogue
    ) -> FloatVector:
        """Logits of the items that may compete; -inf of the rest of a large catalogue."""
        assert self._candidates is not None
        shift, settings, history = self.shift, self._config.recommend, [person.history]
        changed = np.array(sorted(self._changed), np.int32)
        others = np.concatenate([shift.items, changed, self.snapshot.gate.favourites(person.history)])

        def score(codes: IntVector) -> FloatVector:
            products = shift.products_of(codes, state, catalogue.ranking.vectors)
            return self.snapshot.logits_of(products[None], history)[0][codes]

        wanted = max(request.k or 1, settings.k, settings.candidates)
        return self._candidates.logits(score, state, wanted, catalogue.withdrawn, person.seen, others)

    def rank(self, request: contract.RecommendRequest, retrieved: Retrieved) -> Drawn:
        """Draw a slate from retrieved items; the caller writes it down before anybody sees it."""
        catalogue, slate_id = self.catalogue, new_slate_id()
        rng = np.random.default_rng(int(slate_id[TIME_DIGITS:], 16))
        understood = _understood(catalogue, request)
        settings = self._settings(request)
        contest = self._contest(catalogue, request, retrieved, understood, settings)
        slate = draw_from(contest, request.k or settings.k, settings.temperature, rng, understood.filters)
        plain = Plain(request.diversity, request.debias, retrieved.person.heard) if _is_plain(request) else None
        return Drawn(
            person=retrieved.person,
            logged=self._logged(slate, catalogue, slate_id, request.user_id, retrieved, plain),
            titles=[catalogue.titles[code] for code in slate.codes],
            notice=slate.notice,
            filters=understood.filters,
        )

    def draw_quickly(self, request: contract.RecommendRequest) -> Drawn | None:
        """A slate, where that takes a millisecond or two: no words, a state at hand, few items, a log in a file.

        Raises:
            NotFoundError: nothing is known of the user.
        """
        catalogue = self.catalogue
        worded = request.history is not None or request.query is not None or request.dialogue is not None
        if worded or catalogue.id_generator is not None or len(catalogue) > QUICK_ITEMS or not self._log.in_a_file:
            return None
        person = self.people.asking(request, catalogue)
        return self.rank(request, self._retrieved(request, person, catalogue)) if self._states.at_hand(person) else None

    def chances(self, slate: LoggedSlate) -> FloatVector:
        """With what chance this model, as it is set here, would have put each item of a plain slate in its place.

        Given the items above it, to the user as of then. Shape (S,).

        Raises:
            NotFoundError: nothing is known of the user.
        """
        assert slate.plain is not None
        catalogue, plain = self.catalogue, slate.plain
        person = self.people.as_of(slate, catalogue)
        request = contract.RecommendRequest(
            user_id=slate.user_id,
            k=len(slate.exposures),
            diversity=plain.diversity,
            debias=plain.debias,
        )
        retrieved, settings = self._retrieved(request, person, catalogue), self._settings(request)
        contest = self._contest(catalogue, request, retrieved, _understood(catalogue, request), settings)
        places = {int(code): place for place, code in enumerate(contest.codes)}
        chosen = [places.get(catalogue.codes.get(shown.item_id, -1), -1) for shown in slate.exposures]
        return chances_of(contest.scores, np.array(chosen, np.int64), settings.temperature).astype(np.float32)

    def grounds(self, catalogue: LiveCatalogue, item_ids: Sequence[str], person: Person) -> list[Grounds]:
        """What may be said of why items are for a person."""
        state, items = self._states.of(person), catalogue.described
        return [self._grounding.of(items, catalogue.codes[item_id], person.history, state) for item_id in item_ids]

    def with_items(self, item_ids: Iterable[str]) -> LiveCatalogue:
        """The catalogue, where it has some items; one that is not known here may have been put elsewhere just now.

        Raises:
            NotFoundError: there is no such item.
        """
        wanted = list(item_ids)
        if not all(map(self._catalogue.has, wanted)):
            self.follow()
        catalogue = self._catalogue
        for item_id in wanted:
            catalogue.require(item_id)
        return catalogue

    def put_item(self, item_id: str, record: dict[str, Any]) -> None:
        """Store an item, and recommend it from its content at once."""
        self._content.encode({item_id: record})  # what cannot be taken over is not stored
        self._log.put_item(item_id, record)
        self.follow()

    def delete_item(self, item_id: str) -> None:
        """Withdraw an item."""
        self.with_items([item_id])
        self._log.delete_item(item_id)
        self.follow()

    def take(self, shard: int, update: Update) -> None:
        """Score with what a learner has learnt since."""
        learner = self._config.online.learner
        assert learner is not None
        if self.shift.followed(shard) == (update.epoch, update.examples):
            return
        with self._changing:
            self.shift = self.shift.with_update(shard, update, learner.max_shift)

    def past(self, user_id: str) -> tuple[IntVector, FloatVector | None]:
        """Of a user of the corpus the items of the history there and h_u after it, shape (D,), if that is kept."""
        code = None if self._log.is_forgotten(user_id) else self.snapshot.corpus.user_codes.get(user_id)
        if code is None:
            return EMPTY_HISTORY.item, None
        return self.people.past(code), self.snapshot.states[code] if len(self.snapshot.states) else None

    def _settings(self, request: contract.RecommendRequest) -> RecommendConfig:
        asked = {"diversity": request.diversity, "debias": request.debias}
        update = {name: value for name, value in asked.items() if value is not None}
        return self._config.recommend.model_copy(update=update) if update else self._config.recommend

    def _contest(
        self,
        catalogue: LiveCatalogue,
        request: contract.RecommendRequest,
        retrieved: Retrieved,
        understood: Understood,
        settings: RecommendConfig,
    ) -> Contest:
        logits = _of_size(retrieved.logits, len(catalogue))
        scores = np.where(catalogue.withdrawn, -np.inf, logits).astype(np.float32)
        wish = self._wish(catalogue, understood, retrieved.person)
        narrow, k = narrow_by(catalogue.id_generator, retrieved.state, settings), request.k or settings.k
        # Retrieval may have seen items that came since; what has no place here cannot be shown.
        seen = retrieved.person.seen[retrieved.person.seen < len(catalogue)]
        return compete(scores, seen, settings, catalogue.ranking, wish, k=k, narrow=narrow)

    def _wish(self, catalogue: LiveCatalogue, understood: Understood, person: Person) -> Wish:
        settings = self._config.recommend.query
        return Wish(
            filters=understood.filters,
            relevance=relevance(understood, self._text.encode, catalogue.searchable, settings),
            weight=settings.weight if len(person.history) else WORDS_ALONE,
            popularity_weight=person.popularity_weight,
        )

    def _take_over(self, records: Mapping[str, Record | None]) -> None:
        """Change items all at once, in this order, and withdraw those without a record that can be used."""
        if not records:
            return
        catalogue, put = self._catalogue, {i: record for i, record in records.items() if record is not None}
        entries = self._entries(put)
        gone = [item_id for item_id in records if item_id not in entries]
        unknown = {i: {**NOTHING_KNOWN, "title": i} for i in gone if i not in catalogue.codes}
        entries |= self._entries(unknown)  # they keep the codes that they had elsewhere
        changed = [entries[item_id] for item_id in records if item_id in entries]
        of_index = self.snapshot.corpus.item_codes
        self._changed |= {of_index[entry.item_id] for entry in changed if entry.item_id in of_index}
        self._catalogue = catalogue.put(changed).withdraw(gone)

    def _entries(self, records: Mapping[str, Record]) -> dict[str, Entry]:
        """Items as they were put, but for those whose records cannot be used: the others must go on everywhere."""
        item_ids, found = list(records), []
        for start in range(0, len(item_ids), ENTRIES_AT_ONCE):
            part = {item_id: records[item_id] for item_id in item_ids[start : start + ENTRIES_AT_ONCE]}
            try:
                found += self._content.encode(part)
            except Exception:  # whatever a record may hold that was stored by another version, or by hand
                for item_id, record in part.items():
                    found += self._entry(item_id, record)
        return {entry.item_id: entry for entry in found}

    def _entry(self, item_id: str, record: Record) -> list[Entry]:
        try:
            return self._content.encode({item_id: record})
        except Exception:
            logger.exception("item %r cannot be taken over as it was put, and is withdrawn here", item_id)
            return []

    def _logged(
        self,
        slate: Slate,
        catalogue: LiveCatalogue,
        slate_id: str,
        user_id: str | None,
        retrieved: Retrieved,
        plain: Plain | None,
    ) -> LoggedSlate:
        exposures = tuple(
            Exposure(catalogue.item_ids[code], float(score), float(propensity))
            for code, score, propensity in zip(slate.codes, slate.scores, slate.propensity, strict=True)
        )
        kept = b"" if user_id is None else retrieved.state.astype("<f4").tobytes()
        now, forgotten = int(time.time()), retrieved.person.forgotten
        return LoggedSlate(slate_id, user_id, self.version, now, exposures, kept, forgotten, plain)


def new_slate_id() -> str:
    """An id that nobody guesses and that begins with the time, as UUIDs of version 7 do (RFC 9562).

    So new rows of the log stand together, not each on another page that has to be brought to the disk for it. The order
    is of milliseconds of this machine's clock.
    """
    return f"{time.time_ns() // 1_000_000:0{TIME_DIGITS}x}{secrets.token_hex(10)}"


def _of_size(logits: FloatVector, size: int) -> FloatVector:
    """Scores of `size` items: those that were added since retrieval have none, and are not shown."""
    if len(logits) >= size:
        return logits[:size]
    return np.concatenate([logits, np.full(size - len(logits), -np.inf, np.float32)])


def _is_plain(request: contract.RecommendRequest) -> bool:
    own = (request.history, request.query, request.dialogue, request.filters)
    return request.user_id is not None and not any(value is not None for value in own)


def _understood(catalogue: LiveCatalogue, request: contract.RecommendRequest) -> Understood:
    """What the words of a request and its filters come to together."""
    turns = [*(request.dialogue or []), *([request.query] if request.query else [])]
    if not turns and request.filters is None:
        return Understood()
    given = request.filters.model_dump(exclude_none=True) if request.filters else {}
    read = follow([catalogue.read(turn) if request.read_filters else as_words(turn) for turn in turns])
    return narrowed(read, Filters(**given))
