"""Routes of slates: recommendations, feedback, explanations."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import Response, StreamingResponse

from llm4rec.errors import Llm4RecError
from llm4rec.serve.backend import Backend, BackendOfApp, ConfigOfApp
from llm4rec.serve.config import ServeConfig
from llm4rec.serve.contract import (
    Accepted,
    ExplanationEvent,
    FeedbackBatch,
    PathId,
    RecommendRequest,
    RecommendResponse,
    SlateOptions,
)
from llm4rec.serve.problems import PROBLEM_RESPONSES
from llm4rec.serve.strict_route import StrictRoute

logger = logging.getLogger(__name__)
router = APIRouter(prefix="/v1", tags=["slates"], route_class=StrictRoute, responses=PROBLEM_RESPONSES)


@router.get("/recommendations/{user_id}", response_model=RecommendResponse)
async def recommend_to_user(
    user_id: PathId, options: Annotated[SlateOptions, Query()], backend: BackendOfApp, config: ConfigOfApp
) -> Response:
    """A slate for a known user."""
    return await _recommend(RecommendRequest(user_id=user_id, **options.model_dump()), backend, config)


@router.post("/recommendations", response_model=RecommendResponse)
async def recommend(request: RecommendRequest, backend: BackendOfApp, config: ConfigOfApp) -> Response:
    """A slate for a user, a history, a wish in plain words, or several of these."""
    return await _recommend(request, backend, config)


@router.post("/feedback", status_code=202)
async def feedback(events: FeedbackBatch, backend: BackendOfApp) -> Accepted:
    """Store feedback; the 202 comes after all of it is durable."""
    return await backend.feedback(events)


EVENT_SCHEMA: dict[str, Any] = {
    "type": "object",
    "description": "One server-sent event; `data` is JSON with `text`, and at the end with `source` and `evidence`.",
    "properties": {"event": {"enum": ["token", "done", "error"]}, "data": {"type": "string"}},
    "required": ["event", "data"],
}


@router.get(
    "/explanations/{slate_id}/{item_id}",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {"schema": EVENT_SCHEMA}}}},
)
async def explanation(slate_id: PathId, item_id: PathId, backend: BackendOfApp) -> StreamingResponse:
    """Why the slate holds the item, as server-sent events: `token` ..., then `done` (with evidence) or `error`."""
    events = backend.explanation(slate_id, item_id)
    first = await anext(events, None)  # an unknown slate is a 404, not a stream that breaks
    return StreamingResponse(_frames(first, events), media_type="text/event-stream", headers=STREAM_HEADERS)


STREAM_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


async def _recommend(request: RecommendRequest, backend: Backend, config: ServeConfig) -> Response:
    slate = await backend.recommend(request.model_copy(update={"k": config.slate_size(request.k)}))
    # As it is: FastAPI would validate once more what was validated when it was made.
    return Response(slate.model_dump_json(), media_type="application/json")


async def _frames(first: ExplanationEvent | None, rest: AsyncIterator[ExplanationEvent]) -> AsyncIterator[bytes]:
    try:
        if first is not None:
            yield _frame(first)
            async for event in rest:
                yield _frame(event)
    except Exception as error:  # the status line is gone, so the stream itself must say it
        logger.exception("an explanation broke off")
        detail = error.told if isinstance(error, Llm4RecError) else "the explanation broke off; try again"
        yield _frame(ExplanationEvent(kind="error", text=detail))


def _frame(event: ExplanationEvent) -> bytes:
    # JSON has no raw line breaks, so one data line is enough.
    data = json.dumps(event.model_dump(exclude={"kind"}, exclude_none=True))
    return f"event: {event.kind}\ndata: {data}\n\n".encode("ascii")
