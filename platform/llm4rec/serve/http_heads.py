"""HTTP requests whose heads, and what frames their bodies, are not endless; no head, and no reader, takes for ever."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 64 * 1024
"""Far more than browsers and gateways send."""
HEAD_S = 30.0
"""From the first byte, or the connection, to the end of a head."""
SEND_S = 30.0
"""That a reader may leave as much of an answer unread as the transport takes; nobody else has its place meanwhile."""
TOO_LARGE = (b"431 Request Header Fields Too Large", b"request line and headers may have 64 KiB")
TOO_SLOW = (b"408 Request Timeout", b"the head of a request may take 30 s")
BYTES_PER_BODY_BYTE = 16
"""What frames a body in chunks may take, besides as much as a head: a chunk of one byte has six."""


class BoundedHeads(HttpToolsProtocol):
    """uvicorn's protocol, which by itself keeps a head of any size, and waits for it for ever."""

    _late: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    _in_head, _size, _too_large = True, 0, False
    _framing = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head."""
        super().connection_made(transport)
        self._begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._end()
        self._read_on()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Let the reader catch up, though not for ever."""
        super().pause_writing()
        self._read_on()
        self._unread = self.loop.call_later(SEND_S, self.transport.abort)

    def resume_writing(self) -> None:
        """Send on."""
        self._read_on()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Read on, unless the head is too large; what ends a head may hold a body as well, and is not counted here."""
        self._framing += len(data)
        super().data_received(data)
        self._framing = max(self._framing, 0)  # what a body leaves over does not add up
        if self._in_head:
            self._size += len(data)
            if self._size > HEAD_BYTES:
                self._refuse(*TOO_LARGE)
        elif self._framing > HEAD_BYTES:  # extensions of chunks, or trailers
            self.transport.close()

    def on_message_begin(self) -> None:
        """Another head begins."""
        self._begin()
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; trailers, which come behind a body in chunks, nobody reads."""
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, which is not what frames it."""
        self._framing -= BYTES_PER_BODY_BYTE * len(body)
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """Answer the request, unless its head came too large in few pieces.

        Raises:
            ValueError: it did, which ends the parsing.
        """
        self._end()
        self._framing = 0
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > HEAD_BYTES:
            self._too_large = True
            raise ValueError("a head of a request is too large")
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Say what was wrong."""
        if self._too_large:
            self._refuse(*TOO_LARGE)
        else:
            super().send_400_response(msg)

    def _begin(self) -> None:
        self._end()
        self._in_head, self._size = True, 0
        self._late = self.loop.call_later(HEAD_S, self._refuse, *TOO_SLOW)

    def _end(self) -> None:
        self._in_head = False
        if self._late is not None:
            self._late.cancel()

    def _read_on(self) -> None:
        if self._unread is not None:
            self._unread.cancel()

    def _refuse(self, status: bytes, why: bytes) -> None:
        self._end()
        if not self.transport.is_closing():
            head = [b"HTTP/1.1 " + status, b"content-type: text/plain", b"content-length: %d" % len(why)]
            self.transport.write(b"\r\n".join([*head, b"connection: close", b"", why]))
            self.transport.close()
