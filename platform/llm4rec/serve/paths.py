"""Ids in paths may hold any character, "/" too: the encoded form is kept until after routing."""

from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Receive, Scope, Send


class EncodedPath:
    """ASGI middleware that routes on the path as the client encoded it.

    Servers decode the path first, which makes `/v1/items/a%2Fb` two segments and `/v1/items/a%2Fsimilar` another
    route. Here every segment is encoded again, in one normal form; the type PathId decodes it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        if scope["type"] == "http":
            raw = scope.get("raw_path") or quote(scope["path"]).encode()
            segments = raw.decode("ascii", "replace").split("/")
            scope["path"] = "/".join(quote(unquote(segment), safe="") for segment in segments)
        await self._app(scope, receive, send)
