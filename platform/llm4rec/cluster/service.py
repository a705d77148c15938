"""The service behind the HTTP routes: slates drawn here or elsewhere, the durable log, and reasons, put together."""

import asyncio
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Protocol, TypeVar

import numpy as np

from llm4rec.cluster.catalogue import LiveCatalogue
from llm4rec.cluster.engine import Drawn, Engine
from llm4rec.cluster.people import Person
from llm4rec.cluster.reasons import DeadlineReasons
from llm4rec.cluster.releases import Engines
from llm4rec.explain.grounds import Grounds
from llm4rec.explain.reason import Reason
from llm4rec.heaviest import heaviest
from llm4rec.online.feedback import Feedback
from llm4rec.online.group_commit import GroupCommit
from llm4rec.online.log import EventLog
from llm4rec.online.releases import Routing
from llm4rec.online.trial import OfUser, difference, rate_of
from llm4rec.recommend.filters import Filters
from llm4rec.serve import contract
from llm4rec.serve.admission import Queue
from llm4rec.serve.errors import BusyError, NotFoundError

T = TypeVar("T")

DRAWING_THREADS = 2
"""Only one at a time runs Python; another computes a state meanwhile. More take turns with each other, at a price."""
SLATES_A_ROUND = 4
"""Drawn in one round of the event loop: one alone makes groups of the log small, and a round of many is heard late."""
LOOK_S = 1.0
"""How long it counts that the log answered."""
KEPT_ANONYMOUS = 1000
"""Slates of anonymous histories whose history is kept in memory, so that they can still be explained."""


class Drawing(Protocol):
    """Who retrieves and ranks."""

    async def draw(self, request: contract.RecommendRequest) -> Drawn:
        """Draw a slate; it is not yet written down.

        Raises:
            BusyError: too many wait.
        """


class LocalDrawing:
    """Retrieval and ranking in this process."""

    def __init__(self, engines: Engines, queue: Queue) -> None:
        self._engines = engines
        self._queue = queue
        self._turn = asyncio.Semaphore(SLATES_A_ROUND)
        self._threads = ThreadPoolExecutor(DRAWING_THREADS, thread_name_prefix="drawing")

    async def draw(self, request: contract.RecommendRequest) -> Drawn:
        """Draw a slate; it is not yet written down.

        Raises:
            BusyError: this one waited for too long while others were refused.
        """
        engine, came = self._engines.of(request.user_id), time.monotonic()
        async with self._turn:
            # Between a few slates the loop reads who else has come, refuses them, and hears of slates that are written.
            await asyncio.sleep(0)
            if self._queue.gives_up(time.monotonic() - came):
                raise BusyError
            # Threads that take turns with this one wait for each other: what is quick is quicker here.
            drawn = engine.draw_quickly(request)
        if drawn is not None:
            return drawn
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, lambda: engine.rank(request, engine.retrieve(request)))


class Service:
    """The `Backend` of the HTTP app. Blocking work runs in threads; each request sees one consistent catalogue."""

    def __init__(
        self,
        engines: Engines,
        log: EventLog,
        reasons: DeadlineReasons,
        drawing: Drawing,
        queue: Queue,
        learners: Callable[[], list[contract.LearnerStatus]] = list,
    ) -> None:
        """Put together.

        Args:
            engines: the models.
            log: the durable log.
            reasons: who writes reasons.
            drawing: who draws slates.
            queue: of those who wait for a slate, until it is written down.
            learners: tells how far those are who learn from the log.
        """
        self._engines = engines
        self._log = log
        self._commit = GroupCommit(log)
        self._reasons = reasons
        self._drawing = drawing
        self._queue = queue
        self._learners = learners
        self._replica = uuid.uuid4().hex[:8]
        self._anonymous: OrderedDict[str, Person] = OrderedDict()
        self._look: asyncio.Future[bool] | None = None
        self._forgetting: dict[str, asyncio.Future[None]] = {}
        self._looked = 0.0

    def refuses_slates(self) -> bool:
        """Whether another slate would have to wait for too long."""
        return self._queue.refuses()

    async def recommend(self, request: contract.RecommendRequest) -> contract.RecommendResponse:
        """Draw a slate, write its exposures down, and give its reasons."""
        came = time.monotonic()
        with self._queue:
            drawn = await self._drawing.draw(request)
            await self._commit.record_exposures(drawn.logged)
        if request.user_id is None:
            self._keep(drawn)
        reasons: list[Reason] = []
        if request.explain:
            grounds = await _in_thread(lambda: self._grounds(drawn))
            reasons = await self._reasons.write(grounds, came)
        # What was made here need not be checked: `model_construct` takes a tenth of the time.
        return contract.RecommendResponse.model_construct(
            slate_id=drawn.logged.slate_id,
            model_version=drawn.logged.model_version,
            source=_source({reason.source for reason in reasons}),
            items=[_shown(drawn, place, reasons) for place in range(len(drawn.titles))],
            notice=drawn.notice,
            filters=_filters_shown(drawn.filters),
        )

    async def feedback(self, events: Sequence[contract.FeedbackEvent]) -> contract.Accepted:
        """Store a batch; it is on the disk when this returns, and the next slate reads it from there."""
        catalogues = [engine.catalogue for engine in self._engines.all()]  # a model that is tried may know more
        item_ids = {event.item_id for event in events}
        # Also of withdrawn items: what was sold out a second ago was bought from a slate before.
        unknown = [i for i in item_ids if not any(i in catalogue.codes for catalogue in catalogues)]
        if unknown:
            await _in_thread(lambda: self._require_items(unknown))
        appended = await self._commit.append_feedback([Feedback(**event.model_dump()) for event in events])
        return contract.Accepted(accepted=appended.accepted, duplicates=appended.duplicates)

    async def explanation(self, slate_id: str, item_id: str) -> AsyncIterator[contract.ExplanationEvent]:
        """Stream why a slate holds an item: unchecked tokens, then the checked text that replaces them."""
        came = time.monotonic()
        grounds = await _in_thread(lambda: self._grounds_of(slate_id, item_id))
        async for part in self._reasons.stream(grounds, came):
            if isinstance(part, Reason):
                yield contract.ExplanationEvent(
                    kind="done", text=part.text, source=part.source, evidence=list(part.evidence)
                )
            else:
                yield contract.ExplanationEvent(kind="token", text=part)

    async def item(self, item_id: str) -> contract.Item:
        """One item."""
        catalogue = await _in_thread(lambda: self._catalogue_with(item_id))
        return contract.Item(item_id=item_id, **catalogue.records[catalogue.codes[item_id]])

    async def items(self, search: str, limit: int) -> contract.ItemList:
        """Items whose id or title matches, in catalogue order."""
        catalogue, wanted = self._engine.catalogue, search.casefold()
        matching = (
            code
            for code, item_id in enumerate(catalogue.item_ids)
            if not catalogue.withdrawn[code] and (item_id == search or wanted in catalogue.titles[code].casefold())
        )
        found = await _in_thread(lambda: list(islice(matching, limit)))
        return contract.ItemList(items=[_summary(catalogue, code) for code in found])

    async def similar(self, item_id: str, k: int) -> contract.ItemList:
        """The nearest items by cosine of item vectors."""
        return contract.ItemList(items=await _in_thread(lambda: self._similar(item_id, k)))

    async def put_item(self, item_id: str, record: contract.ItemRecord) -> contract.Item:
        """Add or replace an item: durable, and recommendable from its content at once."""
        values = record.model_dump()
        await _in_thread(lambda: self._engine.put_item(item_id, values))
        return contract.Item(item_id=item_id, **values)

    async def delete_item(self, item_id: str) -> None:
        """Withdraw an item."""
        await _in_thread(lambda: self._engine.delete_item(item_id))

    async def user(self, user_id: str) -> contract.User:
        """One user with recent history."""
        return await _in_thread(lambda: self._engine.people.describe(user_id, self._engine.catalogue))

    async def users(self, search: str, limit: int) -> contract.UserList:
        """Users whose id or attributes match."""
        return contract.UserList(users=await _in_thread(lambda: self._engine.people.search(search, limit)))

    async def put_user(self, user_id: str, record: contract.UserRecord) -> contract.User:
        """Add a user or replace the attributes."""
        await _in_thread(lambda: self._log.put_user(user_id, record.attributes))
        return await self.user(user_id)

    async def delete_user(self, user_id: str) -> None:
        """Forget a user."""
        while (under_way := self._forgetting.get(user_id)) is not None:  # who asks again, since it took long
            await asyncio.wait([under_way])
        begun = asyncio.ensure_future(_in_thread(lambda: self._forget(user_id)))  # what has come since goes, too
        self._forgetting[user_id] = begun
        begun.add_done_callback(lambda _: self._forgetting.pop(user_id))
        await asyncio.shield(begun)

    async def status(self) -> contract.Status:
        """Version and counts."""
        counts = await _in_thread(lambda: self._log.counts("feedback", "exposures"))
        return contract.Status(
            model_version=self._engine.version,
            replica=self._replica,
            users=self._engine.snapshot.corpus.num_users,
            items=int((~self._engine.catalogue.withdrawn).sum()),
            feedback_events=counts["feedback"],
            exposures=counts["exposures"],
            learners=self._learners(),
        )

    async def models(self) -> contract.Models:
        """Which models answer, and how they do."""
        routing = self._engines.routing
        since = routing.candidate.published if routing.candidate else 0  # a trial compares what was at the same time
        by_version = await _in_thread(lambda: _dealt_out(self._log.rewards(since), routing))
        candidate = routing.candidate
        trial = None
        if candidate is not None and {candidate.version, routing.main.version} <= by_version.keys():
            found, low, high = difference(by_version[candidate.version], by_version[routing.main.version])
            trial = contract.TrialResult(difference=found, low=low, high=high)
        return contract.Models(
            main=routing.main.version,
            candidate=candidate and candidate.version,
            share=candidate.share if candidate else 0.0,
            trial=trial,
            statistics=[
                contract.ModelStatistics(version=version, **vars(rate_of(own))) for version, own in by_version.items()
            ],
            failed=self._engines.failed,
        )

    @property
    def _engine(self) -> Engine:
        return self._engines.main

    async def ready(self) -> bool:
        """Whether requests can be answered: the log answers. All who ask within a second share one look."""
        if self._look is None or (self._look.done() and time.monotonic() - self._looked > LOOK_S):
            self._look, self._looked = asyncio.ensure_future(_in_thread(self._log.answers)), time.monotonic()
        return await asyncio.shield(self._look)

    def _forget(self, user_id: str) -> None:
        if not self._log.is_forgotten(user_id):  # else remains may be left that could not be erased the first time
            self._require_user(user_id)
        self._log.delete_user(user_id)

    def _require_user(self, user_id: str) -> None:
        """Make sure that some model at hand, or the log, knows a user."""
        engines = self._engines.all()
        if not any(user_id in engine.snapshot.corpus.user_codes for engine in engines):
            self._engine.people.find(user_id, self._engine.catalogue)

    def _require_items(self, item_ids: Sequence[str]) -> None:
        """Make sure that the main model knows items, of which some may have been put elsewhere just now."""
        self._engine.follow()
        catalogue = self._engine.catalogue
        for item_id in item_ids:
            if item_id not in catalogue.codes:
                catalogue.require(item_id)

    def _catalogue_with(self, item_id: str) -> LiveCatalogue:
        """The catalogue of the main model, or of another at hand where only that has an item."""
        catalogues = (engine.catalogue for engine in (self._engine, *self._engines.all()))
        known = next((catalogue for catalogue in catalogues if catalogue.has(item_id)), None)
        return known or self._engine.with_items([item_id])

    def _similar(self, item_id: str, k: int) -> list[contract.ItemSummary]:
        catalogue = self._catalogue_with(item_id)
        code, vectors = catalogue.codes[item_id], catalogue.ranking.vectors
        cosine = np.where(catalogue.withdrawn, -np.inf, vectors @ vectors[code])
        cosine[code] = -np.inf
        nearest = heaviest(cosine, k)
        return [_summary(catalogue, int(c), float(cosine[c])) for c in nearest if cosine[c] > -np.inf]

    def _grounds(self, drawn: Drawn) -> list[Grounds]:
        engine = self._engines.of_version(drawn.logged.model_version)
        item_ids = [shown.item_id for shown in drawn.logged.exposures]
        if not all(item_id in engine.catalogue.codes for item_id in item_ids):
            engine.follow()  # one that was put elsewhere just now
        return engine.grounds(engine.catalogue, item_ids, drawn.person)

    def _grounds_of(self, slate_id: str, item_id: str) -> Grounds:
        slate = self._log.slate(slate_id)
        if slate is None:
            raise NotFoundError(f"unknown slate {slate_id!r}; take a slate_id from a recommendation")
        engine = self._of_slate(slate.model_version)
        catalogue = engine.catalogue
        if item_id not in {exposure.item_id for exposure in slate.exposures}:
            raise NotFoundError(f"slate {slate_id!r} does not hold item {item_id!r}")
        if item_id not in catalogue.codes:
            raise NotFoundError(f"item {item_id!r} of slate {slate_id!r} is no longer in the catalogue")
        if slate.user_id is None:
            person = self._anonymous.get(slate_id, engine.people.stranger)
        else:
            person = engine.people.find(slate.user_id, catalogue)
        return engine.grounds(catalogue, [item_id], person)[0]

    def _of_slate(self, version: str) -> Engine:
        """The model that drew a slate, or the main one where that is no longer at hand."""
        return next((engine for engine in self._engines.all() if engine.version == version), self._engine)

    def _keep(self, drawn: Drawn) -> None:
        self._anonymous[drawn.logged.slate_id] = drawn.person
        while len(self._anonymous) > KEPT_ANONYMOUS:
            self._anonymous.popitem(last=False)


def _dealt_out(rows: Sequence[OfUser], routing: Routing) -> dict[str, list[OfUser]]:
    """What slates of each model earned, by model; during a trial of the users alone who get that model now."""
    by_version: dict[str, list[OfUser]] = {}
    for row in rows:
        if routing.candidate is None or routing.of(row.user_id).version == row.version:
            by_version.setdefault(row.version, []).append(row)
    return by_version


async def _in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


def _shown(drawn: Drawn, place: int, reasons: Sequence[Reason]) -> contract.RecommendedItem:
    return contract.RecommendedItem.model_construct(
        **vars(drawn.logged.exposures[place]),
        title=drawn.titles[place],
        reason=reasons[place].text if reasons else None,
        reason_source=reasons[place].source if reasons else None,
    )


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
