"""A small service for the tests of the routes: a real log on disk, six films, ranking by shared genres."""

import math
import time
import uuid
from collections.abc import AsyncIterator, Sequence

from llm4rec.online.errors import ConflictError, UnavailableError
from llm4rec.online.feedback import Exposure, Feedback, Slate
from llm4rec.online.log import EventLog
from llm4rec.serve.contract import (
    Accepted,
    ExplanationEvent,
    FeedbackEvent,
    HistoryItem,
    Item,
    ItemList,
    ItemRecord,
    ItemSummary,
    Models,
    ModelStatistics,
    RecommendedItem,
    RecommendRequest,
    RecommendResponse,
    Status,
    TrialResult,
    User,
    UserList,
    UserRecord,
    UserSummary,
)
from llm4rec.serve.errors import NotFoundError

FILMS = {
    "1": ItemRecord(title="Toy Story (1995)", categories=["animation", "comedy"], numbers={"year": 1995}),
    "2": ItemRecord(title="GoldenEye (1995)", categories=["action"], numbers={"year": 1995}),
    "a/b": ItemRecord(title="Slash & Burn", categories=["action", "comedy"]),
    "a/similar": ItemRecord(title="Similar <b>Tastes</b>", categories=["comedy"]),
    "50%": ItemRecord(title="Half", categories=["drama"]),
    "é": ItemRecord(title="Été", categories=["drama", "comedy"]),
}
USERS = {"7": {"age": 57, "occupation": "administrator"}, "8": {"age": 36, "occupation": "technician"}}


STATUSES = {ConflictError: 409, UnavailableError: 503}


class SmallService:
    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.is_ready = True
        self.breaks = False
        self.busy = False

    def refuses_slates(self) -> bool:
        return self.busy

    async def recommend(self, request: RecommendRequest) -> RecommendResponse:
        if self.breaks:
            raise RuntimeError("secret detail")
        seen = [entry.item_id for entry in request.entries]
        if request.user_id is not None:
            self._require_user(request.user_id)
            seen += [event.item_id for event in self.log.feedback_of(request.user_id)]
        liked = {genre for item_id in seen if item_id in self._films() for genre in self._films()[item_id].categories}
        scores = {key: float(len(liked & set(film.categories))) for key, film in self._films().items()}
        ranked = sorted((key for key in scores if key not in seen), key=lambda key: -scores[key])[: request.k]
        total = sum(math.exp(score) for score in scores.values())
        shown = tuple(Exposure(key, scores[key], math.exp(scores[key]) / total) for key in ranked)
        slate = Slate(uuid.uuid4().hex, request.user_id, "small-1", int(time.time()), shown)
        self.log.record_exposures(slate)
        items = [
            RecommendedItem(
                **vars(exposure),
                title=self._films()[exposure.item_id].title,
                reason="It shares a genre." if request.explain else None,
                reason_source="template" if request.explain else None,
            )
            for exposure in shown
        ]
        source = "template" if request.explain else "none"
        return RecommendResponse(slate_id=slate.slate_id, model_version="small-1", source=source, items=items)

    async def feedback(self, events: Sequence[FeedbackEvent]) -> Accepted:
        for event in events:
            self._require_item(event.item_id)
        done = self.log.append_feedback([Feedback(**event.model_dump()) for event in events])
        return Accepted(accepted=done.accepted, duplicates=done.duplicates)

    async def explanation(self, slate_id: str, item_id: str) -> AsyncIterator[ExplanationEvent]:
        slate = self.log.slate(slate_id)
        if slate is None or item_id not in [exposure.item_id for exposure in slate.exposures]:
            raise NotFoundError(f"no slate {slate_id!r} with item {item_id!r}")
        yield ExplanationEvent(kind="token", text="Because of\n\n")
        if self.breaks:
            raise RuntimeError("secret detail")
        yield ExplanationEvent(kind="token", text="genres é.")
        evidence = self._films()[item_id].categories
        yield ExplanationEvent(kind="done", text="Because of\n\ngenres é.", source="template", evidence=evidence)

    async def item(self, item_id: str) -> Item:
        return Item(item_id=item_id, **self._require_item(item_id).model_dump())

    async def items(self, search: str, limit: int) -> ItemList:
        found = [(key, film) for key, film in self._films().items() if search.lower() in film.title.lower()]
        return ItemList(items=[_summary(key, film) for key, film in found[:limit]])

    async def similar(self, item_id: str, k: int) -> ItemList:
        genres = set(self._require_item(item_id).categories)
        others = [(key, film) for key, film in self._films().items() if key != item_id]
        others.sort(key=lambda pair: -len(genres & set(pair[1].categories)))
        return ItemList(items=[_summary(key, film, len(genres & set(film.categories))) for key, film in others[:k]])

    async def put_item(self, item_id: str, record: ItemRecord) -> Item:
        self.log.put_item(item_id, record.model_dump())
        return await self.item(item_id)

    async def delete_item(self, item_id: str) -> None:
        self._require_item(item_id)
        self.log.delete_item(item_id)

    async def user(self, user_id: str) -> User:
        attributes = self._require_user(user_id)
        films = self._films()
        history = [
            HistoryItem(
                item_id=event.item_id,
                title=films[event.item_id].title,
                event=event.event,
                value=event.value,
                timestamp=event.timestamp or 0,
            )
            for event in reversed(self.log.feedback_of(user_id))
        ]
        return User(user_id=user_id, attributes=attributes, history=history)

    async def users(self, search: str, limit: int) -> UserList:
        found = [(key, values) for key, values in self._users().items() if search in f"{key} {values}"]
        return UserList(
            users=[
                UserSummary(user_id=key, attributes=values, num_interactions=len(self.log.feedback_of(key)))
                for key, values in found[:limit]
            ]
        )

    async def put_user(self, user_id: str, record: UserRecord) -> User:
        self.log.put_user(user_id, record.attributes)
        return await self.user(user_id)

    async def delete_user(self, user_id: str) -> None:
        self._require_user(user_id)
        self.log.delete_user(user_id)

    async def status(self) -> Status:
        counts = self.log.counts()
        return Status(
            model_version="small-1",
            users=len(self._users()),
            items=len(self._films()),
            feedback_events=counts["feedback"],
            exposures=counts["exposures"],
        )

    async def models(self) -> Models:
        return Models(
            main="small-1",
            candidate="small-2",
            share=0.25,
            trial=TrialResult(difference=0.1, low=0.02, high=0.18),
            statistics=[
                ModelStatistics(version="small-1", users=75, slates=1200, rate=0.2, low=0.17, high=0.23),
                ModelStatistics(version="small-2", users=25, slates=400, rate=0.3, low=0.23, high=0.37),
            ],
            failed={"small-3": "a file is <damaged>"},
        )

    async def ready(self) -> bool:
        return self.is_ready

    def _films(self) -> dict[str, ItemRecord]:
        films = dict(FILMS)
        for overlay in self.log.item_overlays():
            films.pop(overlay.item_id, None)
            if overlay.record is not None:
                films[overlay.item_id] = ItemRecord(**overlay.record)
        return films

    def _users(self) -> dict[str, dict]:
        logged = {key: values for key, values in USERS.items() if not self.log.is_forgotten(key)}
        return logged | self.log.user_overlays()

    def _require_item(self, item_id: str) -> ItemRecord:
        if item_id not in self._films():
            raise NotFoundError(f"unknown item {item_id!r}")
        return self._films()[item_id]

    def _require_user(self, user_id: str) -> dict:
        if user_id not in self._users():
            raise NotFoundError(f"unknown user {user_id!r}")
        return self._users()[user_id]


def _summary(item_id: str, film: ItemRecord, score: float | None = None) -> ItemSummary:
    return ItemSummary(item_id=item_id, title=film.title, categories=film.categories, score=score)
