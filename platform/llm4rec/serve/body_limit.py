"""A limit on request bodies, kept before they are read."""

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from llm4rec.serve.problems import problem_response


class BodyLimit:
    """ASGI middleware: a body over `max_bytes` is refused with 413, by its announced length or while it streams in."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if not (announced.isascii() and announced.isdigit()):
            await problem_response(400, "content-length is not a number")(scope, receive, send)
        elif len(announced) > 18 or int(announced) > self._max_bytes:
            await problem_response(413, self._too_large(), {"connection": "close"})(scope, receive, send)
        else:
            await self._app(scope, self._counting(receive), send)

    def _counting(self, receive: Receive) -> Receive:
        received = 0

        async def counting() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes:
                raise HTTPException(413, self._too_large(), {"connection": "close"})
            return message

        return counting

    def _too_large(self) -> str:
        return f"the body is larger than {self._max_bytes} bytes; send less at a time"
