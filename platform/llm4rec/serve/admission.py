"""Which requests are taken at all: so few at once that those which are taken are answered in time.

A queue that stays long is no use: it makes everybody wait and answers no more requests. So a burst may wait, but once
somebody had to be refused only `STANDING` may, none for longer than `STANDING_S`, until in `CALM_S` nobody came or no
more than `CALM_SHARE` were refused (in the manner of Maurer, "Fail at Scale", ACM Queue 13(8), 2015).
"""

import time
from collections.abc import Callable
from types import TracebackType

from starlette.types import ASGIApp, Receive, Scope, Send

from llm4rec.serve.backend import Backend
from llm4rec.serve.errors import BusyError, NotReadyError
from llm4rec.serve.problems import problem_response

STANDING = 4
STANDING_S = 0.1
CALM_S = 1.0
CALM_SHARE = 0.3
"""Of requests refused; at nine tenths of what can be answered a queue of four refuses half as many."""
SLATES = "/v1/recommendations"
PROBES = ("/healthz", "/readyz")


class Queue:
    """Counts those who wait for slates; `with queue:` is to be one of them. For one event loop."""

    def __init__(self, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Nobody waits.

        Args:
            burst: how many may wait.
            clock: seconds.
        """
        self._burst, self._clock = burst, clock
        self._waiting = 0
        self._since: float | None = None  # few may wait, counted since then
        self._asked = self._refused = 0

    def refuses(self) -> bool:
        """Whether nobody more may wait; to be asked once for everybody who comes, who is refused then."""
        if self._since is not None and (past := self._clock() - self._since) >= CALM_S:
            calm = self._refused <= CALM_SHARE * self._asked or past >= 2 * CALM_S  # nobody for CALM_S
            self._since, self._asked, self._refused = None if calm else self._clock(), 0, 0
        self._asked += 1
        limit = self._burst if self._since is None else min(STANDING, self._burst)
        if self._waiting < limit:
            return False
        self._refused += 1
        if self._since is None:
            self._since, self._asked, self._refused = self._clock(), 1, 1
        return True

    def gives_up(self, waited_s: float) -> bool:
        """Whether somebody who may wait, and did for so long, is refused after all: while few may, for not so long."""
        if self._since is None or waited_s < STANDING_S:
            return False
        self._refused += 1
        return True

    def __enter__(self) -> None:
        self._waiting += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting -= 1


class Admission:
    """ASGI middleware: 429, before anything else is done, for more than can be answered."""

    def __init__(self, app: ASGIApp, get_backend: Callable[[], Backend], most: int, retry_after_s: int) -> None:
        """Stand before an app.

        Args:
            app: what is protected.
            get_backend: whose slates are asked for; may raise NotReadyError.
            most: requests under way at once, streams that are being sent included.
            retry_after_s: what is told to those who are refused.
        """
        self._app, self._get_backend, self._most = app, get_backend, most
        self._headers = {"retry-after": str(retry_after_s)}
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
        elif self._under_way >= self._most or (scope["path"].startswith(SLATES) and self._busy()):
            await problem_response(429, str(BusyError()), self._headers)(scope, receive, send)
        else:
            self._under_way += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._under_way -= 1

    def _busy(self) -> bool:
        try:
            return self._get_backend().refuses_slates()
        except NotReadyError:
            return False
