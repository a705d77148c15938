"""How routes read requests: JSON strictly (UTF-8, no NaN, no key twice, no bottomless nesting), and not for ever."""

import asyncio
import json
import math
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response


def parse(body: bytes) -> Any:
    """A body's value.

    Raises:
        ValueError: it is not JSON as RFC 8259 has it, or one object has a key twice.
    """
    try:
        return json.loads(
            body.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class StrictJsonRequest(Request):
    """A request whose JSON is parsed by `parse`."""

    async def json(self) -> Any:
        """The body's value; 400 where it has none."""
        try:
            return parse(await self.body())
        except ValueError as error:
            raise HTTPException(400, f"the body is not valid JSON: {error}") from None


class StrictRoute(APIRoute):
    """A route that takes JSON bodies only, those strictly, and ends with TimeoutError when the time is over."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's hook for changing how a route reads its request."""
        handle = super().get_route_handler()
        takes_body = self.body_field is not None

        async def handle_strictly(request: Request) -> Response:
            if takes_body:
                _require_json(request)
            async with asyncio.timeout(request.app.state.config.request_timeout_s):
                return await handle(StrictJsonRequest(request.scope, request.receive))

        return handle_strictly


def _require_json(request: Request) -> None:
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, f"content-type is {kind[:100]!r}; send the body as application/json")
    if coding := request.headers.get("content-encoding"):
        raise HTTPException(415, f"content-encoding is {coding[:100]!r}; send the body without one")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key {twice[:100]!r} occurs twice in one object")
    return values


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON number")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:40]} is too large")
    return number
