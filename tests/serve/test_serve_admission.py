import asyncio
import errno
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from small_service import STATUSES, SmallService
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from llm4rec.errors import ConfigError
from llm4rec.serve.admission import CALM_S, STANDING, STANDING_S, Queue
from llm4rec.serve.app import build_app
from llm4rec.serve.config import ServeConfig
from llm4rec.serve.errors import BusyError
from llm4rec.serve.http_server import HttpServer
from llm4rec.serve.keys import create_key
from llm4rec.serve.shared_port import claim
from tests.ports import free_port


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def come(queue: Queue, count: int) -> int:
    """So many come and stay; how many are refused."""
    refused = 0
    for _ in range(count):
        if queue.refuses():
            refused += 1
        else:
            queue.__enter__()
    return refused


def leave(queue: Queue, count: int) -> None:
    for _ in range(count):
        queue.__exit__(None, None, None)


def test_a_burst_may_wait_and_no_more() -> None:
    queue = Queue(10, Clock())
    assert come(queue, 10) == 0
    assert come(queue, 3) == 3


def test_while_many_are_refused_few_may_wait() -> None:
    clock = Clock()
    queue = Queue(10, clock)
    assert come(queue, 11) == 1
    leave(queue, 10)
    for _ in range(5):  # twice as many as can be answered, for longer than it takes to calm down
        assert come(queue, 2 * STANDING) == STANDING
        leave(queue, STANDING)
        clock.now += 0.9 * CALM_S


def test_when_few_are_refused_a_burst_may_wait_again_although_some_still_are() -> None:
    clock = Clock()
    queue = Queue(10, clock)
    come(queue, 11)
    leave(queue, 10)
    clock.now += CALM_S
    for _ in range(3):
        assert come(queue, STANDING) == 0
        leave(queue, STANDING)
    assert come(queue, STANDING + 2) == 2
    leave(queue, STANDING)
    clock.now += CALM_S
    assert come(queue, 10) == 0


def test_after_a_silence_a_burst_may_wait_again() -> None:
    clock = Clock()
    queue = Queue(10, clock)
    come(queue, 11)
    leave(queue, 10)
    clock.now += 2 * CALM_S
    assert come(queue, 10) == 0


def test_while_few_may_wait_nobody_waits_for_long() -> None:
    clock = Clock()
    queue = Queue(10, clock)
    assert come(queue, 10) == 0
    assert not queue.gives_up(60.0)
    assert come(queue, 1) == 1
    assert queue.gives_up(STANDING_S) and not queue.gives_up(0.9 * STANDING_S)
    leave(queue, 10)
    clock.now += 2 * CALM_S
    assert come(queue, 1) == 0
    assert not queue.gives_up(60.0)


def test_a_failure_leaves_the_queue_too() -> None:
    queue = Queue(1, Clock())
    with pytest.raises(RuntimeError), queue:
        raise RuntimeError
    assert not queue.refuses()


def test_who_may_not_ask_does_not_count_as_somebody_who_asks(service: SmallService, tmp_path: Path) -> None:
    asked = []
    service.refuses_slates = lambda: bool(asked.append(1))  # type: ignore[method-assign]
    create_key(tmp_path / "keys.json", "shop", ["read"])
    with TestClient(build_app(lambda: service, ServeConfig(keys=str(tmp_path / "keys.json")))) as client:
        assert client.get("/v1/recommendations/7").status_code == 401
    assert not asked


def test_requests_are_told_by_route_with_what_became_of_them(service: SmallService) -> None:
    heard: list[tuple[str, str, int]] = []

    def hear(method: str, route: str, status: int, seconds: float) -> None:
        assert seconds >= 0
        heard.append((method, route, status))

    app = build_app(lambda: service, ServeConfig(), statuses=STATUSES, observer=hear)
    with TestClient(app, raise_server_exceptions=False) as client:
        client.get("/v1/recommendations/7?k=2")
        client.get("/v1/recommendations/nobody")
        client.get("/nothing/at/all")
        service.breaks = True
        client.get("/v1/recommendations/7")
        service.busy = True
        client.get("/v1/recommendations/7")
    slates = "/v1/recommendations/{user_id}"
    assert heard == [
        ("GET", slates, 200),
        ("GET", slates, 404),
        ("GET", "other", 404),
        ("GET", slates, 500),
        ("GET", "/v1/recommendations", 429),
    ]


def test_slates_are_refused_while_too_many_wait_and_nothing_else_is(service: SmallService) -> None:
    service.busy = True
    with TestClient(build_app(lambda: service, ServeConfig(retry_after_s=2), statuses=STATUSES)) as client:
        for answer in (client.get("/v1/recommendations/7"), client.post("/v1/recommendations", json={"history": []})):
            assert answer.status_code == 429
            assert answer.headers["retry-after"] == "2"
            assert answer.headers["content-type"] == "application/problem+json"
            assert "x-content-type-options" in answer.headers
        assert client.get("/v1/status").status_code == 200
        service.busy = False
        assert client.get("/v1/recommendations/7").status_code == 200


def test_a_slate_that_finds_the_queue_full_is_refused_the_same_way(service: SmallService) -> None:
    async def full(request: object) -> None:
        raise BusyError

    service.recommend = full  # type: ignore[assignment, method-assign]
    with TestClient(build_app(lambda: service, ServeConfig(), statuses=STATUSES)) as client:
        answer = client.get("/v1/recommendations/7")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")


@contextmanager
def listening(service: SmallService, port: int, config: ServeConfig) -> Iterator[HttpServer]:
    server = HttpServer(build_app(lambda: service, config, statuses=STATUSES), "127.0.0.1", port, "us")
    yield server
    server.stop()
    assert not server.alive


def status_of(port: int, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def slow(service: SmallService, seconds: float) -> threading.Event:
    """Make slates slow; the event is set when the first is being drawn."""
    begun, recommend = threading.Event(), service.recommend

    async def late(request: object) -> object:
        begun.set()
        await asyncio.sleep(seconds)
        return await recommend(request)  # type: ignore[arg-type]

    service.recommend = late  # type: ignore[assignment, method-assign]
    return begun


def asked_beside(port: int, path: str) -> tuple[threading.Thread, list[int]]:
    statuses: list[int] = []
    thread = threading.Thread(target=lambda: statuses.append(status_of(port, path)))
    thread.start()
    return thread, statuses


def test_no_more_than_so_many_requests_are_under_way(service: SmallService) -> None:
    port, begun = free_port(), slow(service, 1.0)
    with listening(service, port, ServeConfig(requests_at_once=1)):
        thread, statuses = asked_beside(port, "/v1/recommendations/7")
        assert begun.wait(10)
        assert status_of(port, "/v1/status") == 429
        thread.join()
        assert status_of(port, "/v1/status") == 200
    assert statuses == [200]


def test_a_server_that_stops_finishes_what_it_has_begun(service: SmallService) -> None:
    port, begun = free_port(), slow(service, 0.5)
    with listening(service, port, ServeConfig()):
        thread, statuses = asked_beside(port, "/v1/recommendations/7")
        assert begun.wait(10)
    thread.join()
    assert statuses == [200]
    with pytest.raises(urllib.error.URLError):
        status_of(port, "/v1/status")


def test_a_successor_shares_the_port_so_that_somebody_always_answers(service: SmallService) -> None:
    port, statuses, over = free_port(), [], threading.Event()

    def ask() -> None:
        while not over.is_set():
            try:
                statuses.append(status_of(port, "/v1/status"))
            except OSError:
                statuses.append(0)

    first = HttpServer(build_app(lambda: service, ServeConfig(), statuses=STATUSES), "127.0.0.1", port, "us")
    thread = threading.Thread(target=ask)
    thread.start()
    with listening(service, port, ServeConfig()):
        time.sleep(0.2)
        first.stop()
        time.sleep(0.2)
        over.set()
        thread.join()
    assert len(statuses) > 2
    assert set(statuses) == {200}


def test_another_service_may_not_share_the_port(service: SmallService) -> None:
    port, app = free_port(), build_app(lambda: service, ServeConfig(), statuses=STATUSES)
    ours = [HttpServer(app, "127.0.0.1", port, "us") for _ in range(2)]
    for host in ("127.0.0.1", "localhost"):
        with pytest.raises(ConfigError, match=f"{host}:{port}, where another service of LLM4Rec answers"):
            HttpServer(app, host, port, "them")
    assert status_of(port, "/v1/status") == 200
    for one in ours:
        one.stop()
    HttpServer(app, "127.0.0.1", port, "them").stop()


def test_a_port_that_another_program_has_is_named(service: SmallService) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}, where this process cannot listen .Address already"):
            HttpServer(build_app(lambda: service, ServeConfig()), "127.0.0.1", port, "us")


class StandsStill:
    """An app whose first request stops the event loop, as too much to do would, until `go_on` is set."""

    def __init__(self) -> None:
        self.stands, self.go_on = threading.Event(), threading.Event()
        self.rounds = 0
        self.came_in_round: list[int] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self.stands.is_set():
            self._count_rounds()
            self.stands.set()
            self.go_on.wait(20)
        else:
            self.came_in_round.append(self.rounds)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    def _count_rounds(self) -> None:
        self.rounds += 1
        asyncio.get_running_loop().call_soon(self._count_rounds)

    @contextmanager
    def asked(self, port: int, count: int) -> Iterator[list[socket.socket]]:
        """Connections which have asked and which the loop has not seen; it goes on afterwards at the latest."""
        with ExitStack() as stack:
            stack.callback(self.go_on.set)
            connections = []
            for place in range(count + 1):
                connections.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)))
                connections[-1].sendall(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
                assert place or self.stands.wait(20)
            yield connections[1:]


def test_connections_that_wait_together_are_taken_together() -> None:
    app, port, together = StandsStill(), free_port(), 40
    server = HttpServer(app, "127.0.0.1", port, "us")
    try:
        with app.asked(port, together) as connections:
            app.go_on.set()
            assert all(one.recv(100).startswith(b"HTTP/1.1 200") for one in connections)
    finally:
        server.stop()
    assert len(app.came_in_round) == together
    assert max(app.came_in_round) - min(app.came_in_round) < together / 4


def test_connections_that_nobody_has_taken_yet_are_answered_by_a_server_that_stops() -> None:
    app, port = StandsStill(), free_port()
    server = HttpServer(app, "127.0.0.1", port, "us")
    stopping = threading.Thread(target=server.stop)
    with app.asked(port, 40) as connections:
        stopping.start()
        time.sleep(0.2)
        app.go_on.set()
        assert all(one.recv(100).startswith(b"HTTP/1.1 200") for one in connections)
    stopping.join()


def test_without_descriptors_for_its_copies_a_server_says_so_and_leaves_the_port(
    service: SmallService, monkeypatch: pytest.MonkeyPatch
) -> None:
    port, dup = free_port(), socket.socket.dup
    copies: list[socket.socket] = []

    def dup_five_times(one: socket.socket) -> socket.socket:
        if len(copies) == 5:
            raise OSError(errno.EMFILE, "Too many open files")
        copies.append(dup(one))
        return copies[-1]

    app = build_app(lambda: service, ServeConfig())
    with monkeypatch.context() as patch:
        patch.setattr(socket.socket, "dup", dup_five_times)
        with pytest.raises(ConfigError, match="32 copies of its socket, and the system gives 6 .Too many open files"):
            HttpServer(app, "127.0.0.1", port, "us")
    assert [one.fileno() for one in copies] == [-1] * 5
    claim("127.0.0.1", port, "them").close()  # which could not beside one that still claims it
    with socket.socket() as other:  # which could not listen there beside one that still does
        other.bind(("127.0.0.1", port))
        other.listen()
