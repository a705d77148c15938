"""Fetches the bytes of images and sounds, from wherever the catalogue says they are."""

import posixpath
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.fs as pafs

from llm4rec.artifacts import open_location
from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.download import download
from llm4rec.encode.encoder import UnreadableError

Reference = str | bytes
Loaded = bytes | UnreadableError

_THREADS = 16  # files fetched at once: most of the time is waiting
_STORES = ("s3", "gs")
_LONGEST_SHOWN = 200


class MediaLoader:
    """Reads media by reference.

    A reference is the bytes themselves, a path relative to the source's folder, an absolute path, or an s3://, gs://,
    file://, http:// or https:// URL. Paths may lead from the source's folder to its neighbours but no further up: a
    catalogue from outside must not read any file of this machine.
    """

    def __init__(self, source: str, config: EncodeConfig) -> None:
        """Read for a source.

        Args:
            source: the folder of the raw files: a path or URI.
            config: limits of size and time.
        """
        self._config = config
        self._fs, folder = open_location(source)
        self._folder = posixpath.normpath(folder)  # a path that was given as "../data" must not look like an escape
        parent = posixpath.dirname(self._folder)
        self._allowed = self._folder if parent in {"", "/"} else parent

    def load(self, reference: Reference) -> bytes:
        """The bytes that a reference stands for.

        Raises:
            UnreadableError: there is no such file, it is too large, or it lies where it must not.
        """
        if isinstance(reference, bytes):
            return self._within_limit(reference)
        try:
            return self._load(reference)
        except (OSError, ValueError, pa.ArrowException) as error:
            raise UnreadableError(f"cannot be read: {' '.join(str(error).split())[:_LONGEST_SHOWN]}") from None

    def load_batches(self, references: Sequence[Reference], size: int) -> Iterator[list[Loaded]]:
        """Batches of what references stand for, in their order, or why there is nothing.

        While the caller works on a batch the next one is fetched.
        """
        batches: deque[list[Future[Loaded]]] = deque()
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="media") as pool:
            for start in range(0, len(references), size):
                batches.append([pool.submit(self._try, reference) for reference in references[start : start + size]])
                if len(batches) == 2:
                    yield [future.result() for future in batches.popleft()]
            if batches:
                yield [future.result() for future in batches.popleft()]

    def _try(self, reference: Reference) -> Loaded:
        try:
            return self.load(reference)
        except UnreadableError as error:
            return error

    def _load(self, reference: str) -> bytes:
        scheme = reference.partition("://")[0].lower() if "://" in reference else ""
        if scheme in {"http", "https"}:
            return download(
                reference,
                seconds=self._config.media_timeout_s,
                max_bytes=self._config.media_max_bytes,
                private=self._config.allow_private_urls,
            )
        if scheme in _STORES:
            url = urlsplit(reference)
            return self._read(_store(f"{scheme}://{url.netloc}"), f"{url.netloc}{url.path}")
        if scheme not in {"", "file"}:
            raise UnreadableError(f"scheme {scheme!r} is not one of http, https, {', '.join(_STORES)}, file")
        return self._read(self._fs, self._inside(unquote(urlsplit(reference).path) if scheme else reference))

    def _inside(self, path: str) -> str:
        found = posixpath.normpath(posixpath.join(self._folder, path))
        if path.startswith("/") and not isinstance(self._fs, pafs.LocalFileSystem):
            raise UnreadableError("is a path of one machine, but the source is not on it")
        if posixpath.commonpath([found, self._allowed]) != self._allowed:
            raise UnreadableError(f"lies outside {self._allowed!r}, the folder that the source is in")
        return found

    def _read(self, fs: pafs.FileSystem, path: str) -> bytes:
        info = fs.get_file_info(path)
        if info.type == pafs.FileType.NotFound:
            raise UnreadableError("there is no such file")
        if info.type != pafs.FileType.File:
            raise UnreadableError("is no file")
        if info.size > self._config.media_max_bytes:
            raise UnreadableError(self._too_large(info.size))
        with fs.open_input_stream(path) as stream:
            return stream.read()

    def _within_limit(self, media: bytes) -> bytes:
        if len(media) > self._config.media_max_bytes:
            raise UnreadableError(self._too_large(len(media)))
        return media

    def _too_large(self, size: int) -> str:
        return f"has {size} bytes; encode.media_max_bytes allows {self._config.media_max_bytes}"


@lru_cache(maxsize=32)
def _store(location: str) -> pafs.FileSystem:
    return pafs.FileSystem.from_uri(location)[0]


def first_bytes(media: bytes) -> str:
    """The start of a file as messages show it."""
    return repr(media[:24].decode("ascii", "replace").replace("\ufffd", "?"))


def shown(reference: Reference) -> str:
    """A reference as messages show it: short, and a URL without what may be secret in it."""
    if isinstance(reference, bytes):
        return f"{len(reference)} bytes"
    if "://" in reference:
        try:
            url = urlsplit(reference)
            reference = f"{url.scheme}://{url.hostname or ''}{url.path}"
        except ValueError:  # such as a bad IPv6 address
            reference = reference.partition("?")[0].rpartition("@")[2]
    return reference if len(reference) <= _LONGEST_SHOWN else f"{reference[:_LONGEST_SHOWN]}..."
