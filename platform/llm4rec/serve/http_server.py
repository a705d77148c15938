"""An HTTP server in a thread, with an event loop of its own."""

import asyncio
import contextlib
import socket
import threading
import time
from functools import partial
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp

from llm4rec.errors import ConfigError
from llm4rec.serve.http_heads import BoundedHeads
from llm4rec.serve.shared_port import claim

START_S = 30.0
DRAIN_S = 10
SOON_S = 0.01
LINGER_S = 1.0
"""Between the last connection that is taken and the end: time for requests to come, and for clients to go elsewhere."""
BACKLOG = 2048
TAKEN_AT_ONCE = 32
"""New connections: uvloop takes one from each socket in each of its rounds, which are long when there is much to do.
With 32, five times what can be answered is refused in .01 s (p50) from the first second on (docs/log.md)."""
KEEP_ALIVE_S = 90
"""Longer than gateways keep idle connections, so that none uses one that is being closed."""
ALIVE_S = 2.0


class HttpServer:
    """uvicorn, answering in this process beside whatever else it does.

    Processes of one service may share the port: the kernel gives every new connection to one of them, so a successor
    can listen before its predecessor has ended, and nobody is left without an answer.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, owner: str) -> None:
        """Listen, and return when requests are answered.

        Args:
            app: answers them.
            host: address.
            port: TCP port.
            owner: the service, which may listen there in several processes.

        Raises:
            ConfigError: somebody else listens there.
        """
        self._claim = claim(host, port, owner)
        try:
            self._start(app, host, port)
        except ConfigError:
            self._claim.close()
            raise

    def _start(self, app: ASGIApp, host: str, port: int) -> None:
        listening = _listen(host, port)
        self._server = _Server(
            uvicorn.Config(
                app,
                loop="uvloop",
                http=BoundedHeads,
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,  # whoever asks could claim any address
                server_header=False,
                ws="none",
                timeout_keep_alive=KEEP_ALIVE_S,
                backlog=BACKLOG,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )
        sockets = _copies(listening)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": sockets}, daemon=True, name="http")
        self._thread.start()
        deadline = time.monotonic() + START_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self._server.should_exit = True
                raise ConfigError(f"nothing answers on {host}:{port}; the log says why")
            time.sleep(0.01)

    @property
    def alive(self) -> bool:
        """Whether it still answers; waits for `ALIVE_S` at most."""
        if not self._thread.is_alive() or self._server.loop is None:
            return False
        turn = asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._server.loop)
        try:
            turn.result(ALIVE_S)
        except TimeoutError:
            return False
        return True

    def stop(self) -> None:
        """Take no more connections, finish what was begun, and end."""
        self._server.should_exit = True
        self._thread.join(LINGER_S + DRAIN_S + 5)
        self._claim.close()


class _Server(uvicorn.Server):
    """uvicorn, which when it ends would reset connections that nobody has looked at yet."""

    loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer."""
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take what has been waiting, let all that is open hear of the end, then end."""
        # Connections wait at them, and would end with the last.
        kept = next((copy.dup() for copy in sockets or [] if copy.fileno() != -1), None)
        for server in self.servers:
            server.close()
        await asyncio.sleep(SOON_S)  # the loop closes them in its next round
        waiting = [] if kept is None else _accepted(kept)
        protocol: Any = partial(
            cast(Any, self.config.http_protocol_class),
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        for connection in waiting:
            with contextlib.suppress(OSError):  # its other end may be gone
                await asyncio.get_running_loop().connect_accepted_socket(protocol, connection)
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        await asyncio.sleep(LINGER_S)
        await super().shutdown(sockets)


def _accepted(listening: socket.socket) -> list[socket.socket]:
    """All connections that wait; after that none is taken any more."""
    found = []
    listening.setblocking(False)
    try:
        while True:
            found.append(listening.accept()[0])
    except OSError:  # no more, or no more that could be taken
        pass
    finally:
        listening.close()
    return found


def _copies(listening: socket.socket) -> list[socket.socket]:
    """A socket that listens and copies of it, which have one queue, and one share of the port, together."""
    found = [listening]
    try:
        while len(found) < TAKEN_AT_ONCE:
            found.append(listening.dup())
    except OSError as error:
        for one in found:
            one.close()
        raise ConfigError(
            f"the service listens at {TAKEN_AT_ONCE} copies of its socket, and the system gives {len(found)} "
            f"({error.strerror}); allow more open files (ulimit -n)"
        ) from None
    return found


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"serve.host:serve.port is {host}:{port}, where this process cannot listen ({error.strerror}); end what "
            "listens there, or choose another port"
        ) from None
    listening.listen(BACKLOG)
    return listening
