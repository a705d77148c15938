"""The service behind the HTTP routes: retrieval, ranking, the durable log and reasons, put together.

Scoring is one matrix product, so it runs in the replica that answers; only the language model lives elsewhere.
"""

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from llm4rec.cluster.catalogue import ContentEncoder, LiveCatalogue
from llm4rec.cluster.grounding import Grounding
from llm4rec.cluster.people import People, Person
from llm4rec.cluster.reasons import DeadlineReasons
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.snapshot import Snapshot, narrow_by
from llm4rec.encode.text import TextEncoder
from llm4rec.explain.grounds import Grounds
from llm4rec.explain.reason import Reason
from llm4rec.online.feedback import Exposure, Feedback
from llm4rec.online.feedback import Slate as LoggedSlate
from llm4rec.online.log import EventLog
from llm4rec.recommend.filters import Filters
from llm4rec.recommend.relevance import relevance
from llm4rec.recommend.request import Understood, as_words, follow, narrowed
from llm4rec.recommend.slate import Slate, Wish, draw_slate
from llm4rec.schema import FloatVector
from llm4rec.serve import contract
from llm4rec.serve.errors import NotFoundError

T = TypeVar("T")

WORDS_ALONE = 100.0
"""What words count against the taste of somebody without a history, of whom none is known."""
KEPT_ANONYMOUS = 1000
"""Slates of anonymous histories whose history is kept in memory, so that they can still be explained."""


class Service:
    """The `Backend` of the HTTP app. Blocking work runs in threads; each request sees one consistent catalogue."""

    def __init__(
        self, snapshot: Snapshot, config: RunConfig, log: EventLog, text: TextEncoder, reasons: DeadlineReasons
    ) -> None:
        self._snapshot = snapshot
        self._config = config
        self._log = log
        self._text = text
        self._reasons = reasons
        self._content = ContentEncoder(snapshot, text, config.encode.max_categories)
        self._catalogue = LiveCatalogue.of(snapshot)
        self._grounding = Grounding(snapshot.evidence, self._catalogue.described, config.explain)
        self._change = asyncio.Lock()
        for overlay in log.item_overlays():
            self._catalogue = self._overlaid(overlay.item_id, overlay.record)
        self._people = People(snapshot, log)
        self._anonymous: OrderedDict[str, Person] = OrderedDict()

    async def recommend(self, request: contract.RecommendRequest) -> contract.RecommendResponse:
        """Draw a slate, write its exposures down, and give its reasons."""
        came = time.monotonic()
        catalogue, slate_id = self._catalogue, uuid.uuid4().hex
        person, slate, understood = await _in_thread(lambda: self._draw(catalogue, request, slate_id))
        if request.user_id is None:
            self._keep(slate_id, person)
        reasons: list[Reason] = []
        if request.explain:
            grounds = await _in_thread(lambda: self._grounds(catalogue, slate.codes.tolist(), person))
            reasons = await self._reasons.write(grounds, came)
        items = [_shown(catalogue, slate, place, reasons) for place in range(len(slate.codes))]
        source = _source({reason.source for reason in reasons})
        return contract.RecommendResponse(
            slate_id=slate_id,
            model_version=self._snapshot.version,
            source=source,
            items=items,
            notice=slate.notice,
            filters=_filters_shown(understood.filters),
        )

    async def feedback(self, events: Sequence[contract.FeedbackEvent]) -> contract.Accepted:
        """Store a batch; it is on the disk when this returns, and the next slate reads it from there."""
        for event in events:
            self._code(event.item_id)
        batch = [Feedback(**event.model_dump()) for event in events]
        appended = await _in_thread(lambda: self._log.append_feedback(batch))
        return contract.Accepted(accepted=appended.accepted, duplicates=appended.duplicates)

    async def explanation(self, slate_id: str, item_id: str) -> AsyncIterator[contract.ExplanationEvent]:
        """Stream why a slate holds an item: unchecked tokens, then the checked text that replaces them."""
        came, catalogue = time.monotonic(), self._catalogue
        grounds = await _in_thread(lambda: self._grounds_of(catalogue, slate_id, item_id))
        async for part in self._reasons.stream(grounds, came):
            if isinstance(part, Reason):
                yield contract.ExplanationEvent(
                    kind="done", text=part.text, source=part.source, evidence=list(part.evidence)
                )
            else:
                yield contract.ExplanationEvent(kind="token", text=part)

    async def item(self, item_id: str) -> contract.Item:
        """One item."""
        code = self._code(item_id)
        return contract.Item(item_id=item_id, **self._catalogue.records[code])

    async def items(self, search: str, limit: int) -> contract.ItemList:
        """Items whose id or title matches, in catalogue order."""
        catalogue, wanted = self._catalogue, search.casefold()
        found = [
            _summary(catalogue, code)
            for code, item_id in enumerate(catalogue.item_ids)
            if not catalogue.withdrawn[code] and (item_id == search or wanted in catalogue.titles[code].casefold())
        ]
        return contract.ItemList(items=found[:limit])

    async def similar(self, item_id: str, k: int) -> contract.ItemList:
        """The nearest items by cosine of item vectors."""
        catalogue, code = self._catalogue, self._code(item_id)
        cosine = catalogue.ranking.vectors @ catalogue.ranking.vectors[code]
        order = [int(c) for c in np.argsort(-cosine, kind="stable") if c != code and not catalogue.withdrawn[c]]
        return contract.ItemList(items=[_summary(catalogue, c, float(cosine[c])) for c in order[:k]])

    async def put_item(self, item_id: str, record: contract.ItemRecord) -> contract.Item:
        """Add or replace an item: durable, and recommendable from its content at once."""
        values = record.model_dump()
        async with self._change:
            self._catalogue = await _in_thread(lambda: self._stored(item_id, values))
        return contract.Item(item_id=item_id, **values)

    async def delete_item(self, item_id: str) -> None:
        """Withdraw an item."""
        self._code(item_id)
        async with self._change:
            await _in_thread(lambda: self._log.delete_item(item_id))
            self._catalogue = self._catalogue.withdraw(item_id)

    async def user(self, user_id: str) -> contract.User:
        """One user with recent history."""
        catalogue = self._catalogue
        return await _in_thread(lambda: self._people.describe(user_id, catalogue))

    async def users(self, search: str, limit: int) -> contract.UserList:
        """Users whose id or attributes match."""
        return contract.UserList(users=await _in_thread(lambda: self._people.search(search, limit)))

    async def put_user(self, user_id: str, record: contract.UserRecord) -> contract.User:
        """Add a user or replace the attributes."""
        await _in_thread(lambda: self._log.put_user(user_id, record.attributes))
        return await self.user(user_id)

    async def delete_user(self, user_id: str) -> None:
        """Forget a user."""
        await _in_thread(lambda: self._people.find(user_id, self._catalogue))
        await _in_thread(lambda: self._log.delete_user(user_id))

    async def status(self) -> contract.Status:
        """Version and counts."""
        counts = await _in_thread(self._log.counts)
        return contract.Status(
            model_version=self._snapshot.version,
            users=self._snapshot.corpus.num_users,
            items=int((~self._catalogue.withdrawn).sum()),
            feedback_events=counts["feedback"],
            exposures=counts["exposures"],
        )

    async def ready(self) -> bool:
        """Whether requests can be answered: the log answers."""
        await _in_thread(self._log.counts)
        return True

    def _draw(
        self, catalogue: LiveCatalogue, request: contract.RecommendRequest, slate_id: str
    ) -> tuple[Person, Slate, Understood]:
        person = self._people.asking(request, catalogue)
        state = self._state(person)
        logits = self._snapshot.logits(state[None], catalogue.ranking.vectors, [person.history])[0]
        scores = np.where(catalogue.withdrawn, -np.inf, logits).astype(np.float32)
        asked = {"diversity": request.diversity, "debias": request.debias}
        settings = self._config.recommend.model_copy(update={k: v for k, v in asked.items() if v is not None})
        rng = np.random.default_rng(int(slate_id[:16], 16))
        understood = _understood(catalogue, request)
        wish = self._wish(catalogue, understood, person)
        narrow = narrow_by(catalogue.id_generator, state, settings)
        slate = draw_slate(scores, person.seen, settings, catalogue.ranking, rng, wish, k=request.k, narrow=narrow)
        self._log.record_exposures(_logged(slate, catalogue, slate_id, request.user_id, self._snapshot.version))
        return person, slate, understood

    def _wish(self, catalogue: LiveCatalogue, understood: Understood, person: Person) -> Wish:
        settings = self._config.recommend.query
        return Wish(
            filters=understood.filters,
            relevance=relevance(understood, self._text.encode, catalogue.searchable, settings),
            weight=settings.weight if len(person.history) else WORDS_ALONE,
            popularity_weight=person.popularity_weight,
        )

    def _grounds_of(self, catalogue: LiveCatalogue, slate_id: str, item_id: str) -> Grounds:
        slate = self._log.slate(slate_id)
        if slate is None:
            raise NotFoundError(f"unknown slate {slate_id!r}; take a slate_id from a recommendation")
        if item_id not in {exposure.item_id for exposure in slate.exposures}:
            raise NotFoundError(f"slate {slate_id!r} does not hold item {item_id!r}")
        if item_id not in catalogue.codes:
            raise NotFoundError(f"item {item_id!r} of slate {slate_id!r} is no longer in the catalogue")
        if slate.user_id is None:
            person = self._anonymous.get(slate_id, self._people.stranger)
        else:
            person = self._people.find(slate.user_id, catalogue)
        return self._grounds(catalogue, [catalogue.codes[item_id]], person)[0]

    def _grounds(self, catalogue: LiveCatalogue, codes: Sequence[int], person: Person) -> list[Grounds]:
        state, items = self._state(person), catalogue.described
        return [self._grounding.of(items, code, person.history, state) for code in codes]

    def _state(self, person: Person) -> FloatVector:
        """h_u, shape (D,)."""
        history = person.readable(self._snapshot.corpus.num_items)
        state: FloatVector = self._snapshot.scorer.states([history], person.attributes[None])[0]
        return state

    def _stored(self, item_id: str, record: dict[str, Any]) -> LiveCatalogue:
        changed = self._overlaid(item_id, record)  # before the write: a record that cannot be encoded is not stored
        self._log.put_item(item_id, record)
        return changed

    def _overlaid(self, item_id: str, record: Any) -> LiveCatalogue:
        if record is None:
            return self._catalogue.withdraw(item_id) if item_id in self._catalogue.codes else self._catalogue
        return self._catalogue.put(item_id, record, *self._content.encode(item_id, record))

    def _code(self, item_id: str) -> int:
        if not self._catalogue.has(item_id):
            raise NotFoundError(f"unknown item {item_id!r}; GET /v1/items?search= finds items by title")
        return self._catalogue.codes[item_id]

    def _keep(self, slate_id: str, person: Person) -> None:
        self._anonymous[slate_id] = person
        while len(self._anonymous) > KEPT_ANONYMOUS:
            self._anonymous.popitem(last=False)


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


def _shown(catalogue: LiveCatalogue, slate: Slate, place: int, reasons: Sequence[Reason]) -> contract.RecommendedItem:
    code = int(slate.codes[place])
    return contract.RecommendedItem(
        item_id=catalogue.item_ids[code],
        title=catalogue.titles[code],
        score=float(slate.scores[place]),
        propensity=float(slate.propensity[place]),
        reason=reasons[place].text if reasons else None,
        reason_source=reasons[place].source if reasons else None,
    )


def _understood(catalogue: LiveCatalogue, request: contract.RecommendRequest) -> Understood:
    """What the words of a request and its filters come to together."""
    turns = [*(request.dialogue or []), *([request.query] if request.query else [])]
    given = request.filters.model_dump(exclude_none=True) if request.filters else {}
    read = follow([catalogue.read(turn) if request.read_filters else as_words(turn) for turn in turns])
    return narrowed(read, Filters(**given))


def _filters_shown(filters: Filters) -> contract.ShownFilters | None:
    asked = {name: value for name, value in filters.model_dump().items() if value not in (None, ())}
    return contract.ShownFilters.model_validate(asked) if asked else None


def _source(sources: set[str]) -> Any:
    return "mixed" if len(sources) > 1 else next(iter(sources), "none")


def _summary(catalogue: LiveCatalogue, code: int, score: float | None = None) -> contract.ItemSummary:
    return contract.ItemSummary(
        item_id=catalogue.item_ids[code],
        title=catalogue.titles[code],
        categories=list(catalogue.ranking.categories[code]),
        score=score,
    )


def _logged(slate: Slate, catalogue: LiveCatalogue, slate_id: str, user_id: str | None, version: str) -> LoggedSlate:
    exposures = tuple(
        Exposure(catalogue.item_ids[code], float(score), float(propensity))
        for code, score, propensity in zip(slate.codes, slate.scores, slate.propensity, strict=True)
    )
    return LoggedSlate(slate_id, user_id, version, int(time.time()), exposures)
