"""Fetches one file from an http or https URL that a stranger may have written."""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from urllib.parse import SplitResult, quote, urljoin, urlsplit

from llm4rec import __version__
from llm4rec.encode.encoder import UnreadableError

_REDIRECTS = 5
_ATTEMPTS = 3
_PAUSE_SECONDS = 0.5
_WORTH_ANOTHER_TRY = frozenset({429, 500, 502, 503, 504})
_MOVED = frozenset({301, 302, 303, 307, 308})
_PORTS = {"http": 80, "https": 443}
_HEADERS = {"User-Agent": f"llm4rec/{__version__}", "Accept": "*/*", "Accept-Encoding": "identity"}


class _TryAgainError(Exception):
    """The server may have it a moment later; the message is the reason if it has not."""


def download(url: str, *, seconds: float, max_bytes: int, private: bool) -> bytes:
    """Fetch a file.

    The address that is checked is the one that is connected to, and every redirect is checked again, so that no name
    can lead inside after the check.

    Args:
        url: where it is.
        seconds: time for everything: names, redirects, retries, the slowest server.
        max_bytes: refuse more.
        private: whether private, loopback and other addresses that are not of the open internet are allowed.

    Raises:
        UnreadableError: it could not be fetched, for whatever reason.
    """
    deadline = time.monotonic() + seconds
    for attempt in range(_ATTEMPTS):
        try:
            return _follow(url, deadline, max_bytes, private)
        except _TryAgainError as error:
            pause = _PAUSE_SECONDS * 2**attempt
            if attempt == _ATTEMPTS - 1 or time.monotonic() + pause >= deadline:
                raise UnreadableError(str(error)) from None
            time.sleep(pause)
        except TimeoutError:
            break
    raise UnreadableError(f"no whole answer within {seconds:g} s (encode.media_timeout_s)")


def _follow(url: str, deadline: float, max_bytes: int, private: bool) -> bytes:
    for _ in range(_REDIRECTS + 1):
        parts = _split(url)
        try:
            with _answer(parts, deadline, private) as answer:
                if answer.status not in _MOVED:
                    data = _body(answer, max_bytes)
                    if time.monotonic() >= deadline:  # the connection was cut, and what came may be a part
                        raise TimeoutError
                    return data
                url = urljoin(url, answer.getheader("Location") or "")
        except (OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, TimeoutError) or time.monotonic() >= deadline:
                raise TimeoutError from None
            raise _TryAgainError(f"cannot be fetched: {' '.join(str(error).split()) or type(error).__name__}") from None
    raise UnreadableError(f"more than {_REDIRECTS} redirects")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        known = parts.scheme in _PORTS and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise UnreadableError("is not, or leads to what is not, an http or https URL of a host")
    return parts


@contextlib.contextmanager
def _answer(url: SplitResult, deadline: float, private: bool) -> Iterator[http.client.HTTPResponse]:
    """The head of the answer; the connection is cut at the deadline, even under a server that sends byte by byte."""
    host, port = str(url.hostname), url.port or _PORTS[url.scheme]
    address = _address(host, port, private)
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection = http.client.HTTPConnection(host, port)
    connection.sock = _connect(address, port, left, host if url.scheme == "https" else None)
    cut = threading.Timer(deadline - time.monotonic(), _shut, [connection.sock])
    cut.daemon = True
    cut.start()
    try:
        connection.request("GET", _target(url), headers={**_HEADERS, "Host": url.netloc.rpartition("@")[2]})
        yield connection.getresponse()
    finally:
        cut.cancel()
        connection.close()


def _target(url: SplitResult) -> str:
    """Path and query, with whatever a URL must not hold escaped: catalogues have spaces and accents in them."""
    target = f"{url.path or '/'}{'?' if url.query else ''}{url.query}"
    return quote(target, safe="/%:?#[]@!$&'()*+,;=~")


def _connect(address: str, port: int, seconds: float, tls_name: str | None) -> socket.socket:
    plain = socket.create_connection((address, port), timeout=seconds)
    if tls_name is None:
        return plain
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=tls_name)
    except BaseException:
        plain.close()
        raise


def _shut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)


def _address(host: str, port: int, private: bool) -> str:
    """The first address of a host; all of them must be allowed."""
    try:
        found = [str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError) as error:
        raise _TryAgainError(f"host {host!r} is not found: {error}") from None
    for address in found:
        if not private and not _is_public(address):
            raise UnreadableError(
                f"host {host!r} has the address {address}, which is not of the open internet; "
                "set encode.allow_private_urls for media of your own network"
            )
    return found[0]


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.is_site_local or any(address in network for network in _WITHIN):
            return False
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is not None or address in _TRANSLATED:
            return _is_public(str(inner or ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)))
    return address.is_global and not address.is_multicast


_WITHIN = (ipaddress.ip_network("64:ff9b:1::/48"), ipaddress.ip_network("::/96"))
"""IPv6 addresses of a network's own translation to IPv4 (RFC 8215), and those that only stand for an IPv4 address."""
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")
"""IPv6 addresses whose last 32 bits are an IPv4 address."""


def _body(answer: http.client.HTTPResponse, max_bytes: int) -> bytes:
    if answer.status in _WORTH_ANOTHER_TRY:
        raise _TryAgainError(f"HTTP {answer.status} {answer.reason}")
    if answer.status != http.HTTPStatus.OK:
        raise UnreadableError(f"HTTP {answer.status} {answer.reason}")
    data = answer.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise UnreadableError(f"has more than {max_bytes} bytes (encode.media_max_bytes)")
    if answer.length:
        raise http.client.IncompleteRead(data, answer.length)
    return data
