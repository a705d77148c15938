"""Every request as others should hear of it: by route, never by what stands in its place."""

import time
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llm4rec.serve.admission import SLATES

NO_ROUTE = "other"
CLOSED = 499
"""The status of a request whose sender went away before there was one."""


class Observer(Protocol):
    """Who hears of requests."""

    def __call__(self, method: str, route: str, status: int, seconds: float) -> None:
        """Hear of one request; `route` is a template, as /v1/items/{item_id}."""


class Observed:
    """ASGI middleware that tells an observer of every request when its answer has been sent."""

    def __init__(self, app: ASGIApp, observer: Observer) -> None:
        self._app, self._observer = app, observer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), CLOSED

        async def heard(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, heard)
        except Exception:  # what stands before this will answer with a 500
            status = 500 if status == CLOSED else status
            raise
        finally:
            # What is refused before it is routed has no route, and slates are what is refused most.
            usual = SLATES if scope["path"].startswith(SLATES) else NO_ROUTE
            route = getattr(scope.get("route"), "path", usual)
            self._observer(scope["method"], route, status, time.perf_counter() - began)
