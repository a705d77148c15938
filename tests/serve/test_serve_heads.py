"""Heads of requests that are too large or too slow, sent to a real server byte by byte."""

import socket
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from small_service import STATUSES, SmallService

from llm4rec.serve import http_heads
from llm4rec.serve.app import build_app
from llm4rec.serve.config import ServeConfig
from llm4rec.serve.http_server import HttpServer
from tests.ports import free_port

GOOD = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
LONG = b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: "


@pytest.fixture
def port(service: SmallService, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    monkeypatch.setattr(http_heads, "HEAD_S", 0.5)
    port = free_port()
    server = HttpServer(build_app(lambda: service, ServeConfig(), statuses=STATUSES), "127.0.0.1", port, "us")
    yield port
    server.stop()


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def status(connection: socket.socket) -> int:
    answer = connection.recv(65536)
    return int(answer.split(b" ")[1]) if answer else 0


def sent(port: int, *pieces: bytes) -> int:
    """The status of what is sent in pieces; 0 where the connection is reset while more is being sent."""
    with connected(port) as connection:
        try:
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.01)
            return status(connection)
        except OSError:
            return 0


def test_a_head_of_common_size_is_read(port: int) -> None:
    assert sent(port, LONG, b"a" * 8000, b"\r\n\r\n") == 200
    assert sent(port, GOOD) == 200


@pytest.mark.parametrize(
    "pieces",
    [
        [LONG + b"a" * 70_000 + b"\r\n\r\n"],
        [LONG, *[b"a" * 10_000] * 8],
        [b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n"],
        [b"GET /healthz HTTP/1.1\r\n" + b"".join(b"x-%d: 1\r\n" % n for n in range(12_000)) + b"\r\n"],
    ],
    ids=["at once", "without end", "request line", "many headers"],
)
def test_a_head_that_is_too_large_is_431(port: int, pieces: list[bytes]) -> None:
    assert sent(port, *pieces) in (431, 0)
    assert sent(port, GOOD) == 200


def test_a_large_head_says_what_is_allowed(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(LONG + b"a" * 66_000 + b"\r\n\r\n")
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 431 ") and answer.endswith(b"may have 64 KiB")
        assert connection.recv(100) == b""  # it is closed


def test_the_second_request_of_a_connection_is_bounded_too(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(GOOD)
        assert status(connection) == 200
        connection.sendall(GOOD + LONG)
        assert status(connection) == 200
        connection.sendall(b"a" * 66_000)
        assert status(connection) == 431


def test_bodies_are_no_heads(port: int) -> None:
    head = b"POST /v1/feedback HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n"
    with connected(port) as connection:
        connection.sendall(head + b"[" * 50_000)
        time.sleep(1.0)  # a slow body is not a slow head
        connection.sendall(b"[" * 50_000)
        assert status(connection) == 400


@pytest.mark.parametrize("begun", [b"", b"GET", LONG])
def test_a_head_that_does_not_come_ends_the_connection(port: int, begun: bytes) -> None:
    with connected(port) as connection:
        began = time.monotonic()
        connection.sendall(begun)
        assert status(connection) == 408
        assert time.monotonic() - began >= 0.4
        assert connection.recv(100) == b""


def test_who_does_not_read_the_answers_is_cut_off_and_leaves_the_place_to_others(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_heads, "SEND_S", 0.5)
    many = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 500
    with connected(port) as connection:
        connection.sendall(many)
        time.sleep(3.0)
        received = b""
        with suppress(ConnectionResetError):
            while piece := connection.recv(2**20):  # what the kernel holds
                received += piece
    assert 0 < received.count(b"HTTP/1.1 200") < 500


def test_who_has_caught_up_may_go_on(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_heads, "SEND_S", 1.0)
    with connected(port) as connection:
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 300)
        time.sleep(0.5)
        received = b""
        while received.count(b"HTTP/1.1 200") < 300:
            received += connection.recv(2**20)
        time.sleep(1.5)
        connection.sendall(GOOD)
        answer = b""
        while b"HTTP/1.1 200" not in answer:
            answer += (piece := connection.recv(65536))
            assert piece
    assert sent(port, GOOD) == 200


def test_a_connection_between_requests_may_wait_longer(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(GOOD)
        assert status(connection) == 200
        time.sleep(1.0)
        connection.sendall(GOOD)
        assert status(connection) == 200


CHUNKED = b"POST /v1/feedback HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "piece",
    [b"x-%d: %s\r\n" % (1, b"a" * 8000), b"a" * 8000, b""],
    ids=["trailers", "one trailer", "extensions of chunks"],
)
def test_what_frames_a_body_is_not_endless(port: int, piece: bytes) -> None:
    with connected(port) as connection:
        connection.sendall(CHUNKED + (b"0\r\nx: " if piece else b""))
        with pytest.raises(OSError):
            for _ in range(2000):
                connection.sendall(piece or b"1;" + b"e" * 8000 + b"\r\nx\r\n")
                time.sleep(0.001)
    assert sent(port, GOOD) == 200


def test_a_body_in_small_chunks_and_its_trailers_are_read(port: int) -> None:
    body = b'{"events": []}' + b" " * 40_000
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    assert (
        sent(
            port,
            CHUNKED.replace(b"\r\n\r\n", b"\r\ncontent-type: application/json\r\n\r\n"),
            chunks,
            b"0\r\nx: 1\r\n\r\n",
        )
        == 422
    )
    assert sent(port, GOOD) == 200


def test_a_request_behind_trailers_is_answered(port: int) -> None:
    with connected(port) as connection:
        connection.sendall(CHUNKED + b"0\r\nx: 7\r\n\r\n" + GOOD)
        answers = b""
        while answers.count(b"HTTP/1.1 ") < 2 and (piece := connection.recv(65536)):
            answers += piece
    assert b"HTTP/1.1 200 " in answers
