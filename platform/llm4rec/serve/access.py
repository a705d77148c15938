"""Who may do what, and how often: keys and rates, kept before a request is read."""

import logging
import math
import time
from collections import OrderedDict

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from llm4rec.serve import keys
from llm4rec.serve.problems import problem_response

logger = logging.getLogger(__name__)

OPEN = ("/healthz", "/readyz", "/docs", "/models", "/openapi.json")
"""What probes and browsers must see before anybody can show a key; the page asks for one."""
READS_BY_POST = ("/v1/recommendations",)
ADMIN = "/v1/models"
UNKNOWN = "no valid key was sent; send one as `Authorization: Bearer KEY`. Whoever runs the service gives them out"
BUCKETS = 10_000
"""Senders whose rate is remembered."""


def needed_scope(method: str, path: str) -> keys.Scope | None:
    """What a request needs a key for; None where it needs none."""
    if path in OPEN or path == "/" or path.startswith("/static/"):
        return None
    if path == ADMIN or path.startswith(ADMIN + "/"):
        return "admin"
    if method in {"GET", "HEAD"} or path in READS_BY_POST:
        return "read"
    return "write"


class Access:
    """ASGI middleware: 401 without a key that counts, 403 for one that may not, 429 for who asks too often.

    Without keys everybody may do everything, and rates are of addresses; the app then listens on loopback only.
    """

    def __init__(self, app: ASGIApp, known: keys.Keys | None, rate: float | None) -> None:
        """Stand before an app.

        Args:
            app: what is protected.
            known: the keys, None to ask for none.
            rate: requests a second of one key, or of one address, in the mean; ten times as many at once.
        """
        self._app = app
        self._known = known
        self._rates = None if rate is None else Rates(rate)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        needed = needed_scope(scope["method"], scope["path"])
        sender = (scope.get("client") or ("",))[0]
        if self._known is not None and needed is not None:
            key = self._known.find(_bearer(Headers(scope=scope)))
            if key is None:
                refused = problem_response(401, UNKNOWN, {"www-authenticate": 'Bearer realm="llm4rec"'})
                await refused(scope, receive, send)
                return
            if needed not in key.scopes:
                detail = f"the key may {' and '.join(key.scopes) or 'do nothing'}; this needs one that may {needed}"
                await problem_response(403, detail)(scope, receive, send)
                return
            sender = key.name
        if self._rates is not None and needed is not None and (wait := self._rates.wait(sender)):
            detail = f"more than {self._rates.rate:g} requests a second; try again in {wait:.1f} s"
            await problem_response(429, detail, {"retry-after": str(math.ceil(wait))})(scope, receive, send)
            return
        await self._app(scope, receive, send)


class Rates:
    """A token bucket for each sender."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._burst = max(1.0, 10 * rate)
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, sender: str) -> float:
        """Take a token; 0, or the seconds until there is one."""
        now = time.monotonic()
        tokens, at = self._buckets.pop(sender, (self._burst, now))
        tokens = min(self._burst, tokens + (now - at) * self.rate)
        granted = tokens >= 1
        self._buckets[sender] = (tokens - granted, now)
        while len(self._buckets) > BUCKETS:
            self._buckets.popitem(last=False)
        return 0.0 if granted else (1 - tokens) / self.rate


def _bearer(headers: Headers) -> str:
    kind, _, key = headers.get("authorization", "").partition(" ")
    return key.strip() if kind.lower() == "bearer" else ""
