"""Media by reference: files, bytes, and what a catalogue must not reach."""

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.download import download
from llm4rec.encode.encoder import UnreadableError
from llm4rec.encode.media import MediaLoader, shown


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """tmp/data/films is the source, tmp/data/posters its neighbour, tmp/secret out of reach."""
    for name in ("data/films/a.jpg", "data/films/sub/b c.jpg", "data/posters/1.jpg", "secret/key", "data-2/x.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path / "data/films"


def load(source: Path, reference: str | bytes, **settings: object) -> bytes:
    return MediaLoader(str(source), EncodeConfig.model_validate(settings)).load(reference)


def reason(source: Path, reference: str | bytes, **settings: object) -> str:
    with pytest.raises(UnreadableError) as caught:
        load(source, reference, **settings)
    return str(caught.value)


def test_paths_start_from_the_source_and_may_lead_to_its_neighbours(source):
    assert load(source, "a.jpg") == b"data/films/a.jpg"
    assert load(source, "sub/b c.jpg") == b"data/films/sub/b c.jpg"
    assert load(source, "../posters/1.jpg") == b"data/posters/1.jpg"
    assert load(source, str(source.parent / "posters/1.jpg")) == b"data/posters/1.jpg"
    assert load(source, f"file://{source}/sub/b%20c.jpg") == b"data/films/sub/b c.jpg"


def test_a_source_may_be_given_by_a_roundabout_path(source):
    roundabout = source / "../../data/./films"
    assert load(roundabout, "a.jpg") == b"data/films/a.jpg"
    assert load(roundabout, "../posters/1.jpg") == b"data/posters/1.jpg"
    assert "lies outside" in reason(roundabout, "../../secret/key")


@pytest.mark.parametrize(
    "reference",
    [
        "../../secret/key",
        "sub/../../../secret/key",
        "/etc/hostname",
        "file:///etc/hostname",
        "../../data-2/x.jpg",
        "//x",
    ],
)
def test_paths_lead_no_further(source, reference):
    assert "lies outside" in reason(source, reference)


def test_a_source_at_the_top_opens_nothing_beside_it():
    assert "lies outside '/proc'" in reason(Path("/proc"), "../etc/hostname")


def test_bytes_stand_for_themselves(source):
    assert load(source, b"abc") == b"abc"


def test_missing_files_and_folders_are_told_apart(source):
    assert reason(source, "b.jpg") == "there is no such file"
    assert reason(source, "sub") == "is no file"
    assert reason(source, "a\0b")


def test_sizes_are_limited(source):
    assert reason(source, "a.jpg", media_max_bytes=5) == "has 16 bytes; encode.media_max_bytes allows 5"
    assert reason(source, b"123456", media_max_bytes=5) == "has 6 bytes; encode.media_max_bytes allows 5"


def test_other_schemes_are_refused(source):
    assert "scheme 'ftp' is not one of http, https, s3, gs, file" in reason(source, "ftp://host/a.jpg")


@pytest.mark.parametrize("size", [1, 3, 100])
def test_batches_keep_the_order_and_hold_reasons(source, size):
    references = ["a.jpg", "none", b"x", "../posters/1.jpg", "sub", b"y", "a.jpg"]
    batches = list(MediaLoader(str(source), EncodeConfig()).load_batches(references, size))
    assert [len(batch) for batch in batches] == [len(references[n : n + size]) for n in range(0, 7, size)]
    found = [str(one) if isinstance(one, UnreadableError) else one for batch in batches for one in batch]
    expected = [b"data/films/a.jpg", "there is no such file", b"x", b"data/posters/1.jpg", "is no file"]
    assert found == [*expected, b"y", b"data/films/a.jpg"]
    assert list(MediaLoader(str(source), EncodeConfig()).load_batches([], size)) == []


def test_messages_show_no_secrets_and_no_novels():
    assert shown("https://user:word@host/a.jpg?signature=secret#x") == "https://host/a.jpg"
    assert len(shown("x" * 10_000)) < 300


class Answers(http.server.BaseHTTPRequestHandler):
    """A server with the habits of the web."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(self.path)
        path = self.path.partition("?")[0]
        if path == "/flaky" and self.asked.count("/flaky") < 3:
            self.send_error(503)
        elif path in {"/ok", "/flaky", "/a%20b/%C3%A9.jpg"}:
            self._send(b"picture")
        elif path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", path[3:] if path[3:] != "/round" else "/to/round")
            self.end_headers()
        elif path == "/away":
            self.send_response(301)
            self.send_header("Location", "http://169.254.169.254/latest/meta-data")
            self.end_headers()
        elif path == "/to-file":
            self.send_response(301)
            self.send_header("Location", "file:///etc/hostname")
            self.end_headers()
        elif path == "/short":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"half")
        elif path == "/drip":
            self.send_response(200)
            self.end_headers()
            for _ in range(100):
                self.wfile.write(b"x")
                self.wfile.flush()
                time.sleep(0.1)
        else:
            self.send_error(404)

    def _send(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a running server, and what it was asked for."""
    asked: list[str] = []
    handler = type("Handler", (Answers,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        running.daemon_threads = True
        threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}", asked
        running.shutdown()


fetch = partial(download, seconds=10, max_bytes=1000, private=True)


def refusal(url: str, **settings: object) -> str:
    with pytest.raises(UnreadableError) as caught:
        fetch(url, **settings)
    return str(caught.value)


def test_files_come_over_http_also_through_redirects(server, source):
    url, asked = server
    assert fetch(f"{url}/ok?size=1") == b"picture"
    assert fetch(f"{url}/to/to/ok") == b"picture"
    assert fetch(f"{url}/a b/é.jpg") == b"picture"
    assert asked[0] == "/ok?size=1"
    assert load(source, f"{url}/ok", allow_private_urls=True) == b"picture"


def test_what_http_answers_instead_is_the_reason(server, source):
    url, _ = server
    assert refusal(f"{url}/none") == "HTTP 404 Not Found"
    assert refusal(f"{url}/to/round") == "more than 5 redirects"
    assert refusal(f"{url}/ok", max_bytes=3) == "has more than 3 bytes (encode.media_max_bytes)"
    assert "IncompleteRead" in refusal(f"{url}/short")
    assert "not, or leads to what is not, an http or https URL" in refusal(f"{url}/to-file")
    assert reason(source, f"{url}/none?key=secret", allow_private_urls=True) == "HTTP 404 Not Found"


def test_a_server_that_is_busy_is_asked_again(server):
    url, asked = server
    assert fetch(f"{url}/flaky") == b"picture"
    assert asked == ["/flaky"] * 3


@pytest.mark.parametrize("path", ["/drip", "/silent"])
def test_a_slow_server_cannot_hold_anything_up(server, path):
    url, _ = server
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections and never answers
        target = f"{url}{path}" if path == "/drip" else f"http://127.0.0.1:{silent.getsockname()[1]}{path}"
        started = time.monotonic()
        assert refusal(target, seconds=0.7) == "no whole answer within 0.7 s (encode.media_timeout_s)"
        assert time.monotonic() - started < 3


def test_hosts_that_do_not_exist_or_answer(server):
    assert "host 'no-such-host.invalid' is not found" in refusal("http://no-such-host.invalid/a.jpg", seconds=1)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert "cannot be fetched: " in refusal(f"http://127.0.0.1:{port}/a.jpg", seconds=1)
    for url in ("http://", "http:///a.jpg", "http://host:port/", "http://[::1/x"):
        assert "URL of a host" in refusal(url)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "10.1.2.3",
        "192.168.0.1",
        "172.16.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::a9fe:a9fe]",
        "[::7f00:1]",
        "[fec0::1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fd00::1]",
        "2130706433",
    ],
)
def test_addresses_of_inner_networks_are_refused(host):
    assert "not of the open internet; set encode.allow_private_urls" in refusal(f"http://{host}/x", private=False)


def test_redirects_are_checked_too(server, monkeypatch):
    url, asked = server
    seen = []

    def open_to(text: str) -> bool:
        seen.append(text)
        return text == "127.0.0.1"

    monkeypatch.setattr("llm4rec.encode.download._is_public", open_to)
    assert "169.254.169.254, which is not of the open internet" in refusal(f"{url}/away", private=False)
    assert asked == ["/away"] and seen == ["127.0.0.1", "169.254.169.254"]
