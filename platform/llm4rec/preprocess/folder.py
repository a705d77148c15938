"""The folder that holds the raw files, local or remote."""

import gzip
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.fs as pafs

from llm4rec.errors import DataError

_BLOCK = 2**20


class Folder:
    """Read-only access to the files of a source.

    Raises:
        DataError: the folder does not exist, is a file, or the location cannot be understood.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        try:
            if "://" in location:
                self.fs, self.path = pafs.FileSystem.from_uri(location)
            else:
                self.fs, self.path = pafs.LocalFileSystem(), str(Path(location).expanduser().absolute())
            kind = self.fs.get_file_info(self.path).type
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"source.path {location!r} cannot be opened: {' '.join(str(error).split())}") from None
        if kind == pafs.FileType.NotFound:
            raise DataError(f"source.path {location!r} does not exist; it must be the folder of the raw files")
        if kind == pafs.FileType.File:
            raise DataError(f"source.path {location!r} is a file; give the folder that holds it")

    def names(self) -> list[str]:
        """Names of the files directly inside, sorted."""
        infos = self.fs.get_file_info(pafs.FileSelector(self.path))
        return sorted(info.base_name for info in infos if info.type == pafs.FileType.File)

    def size(self, name: str) -> int:
        """Bytes of a file.

        Raises:
            DataError: the file is missing or empty.
        """
        info = self.fs.get_file_info(f"{self.path}/{name}")
        if info.type != pafs.FileType.File:
            raise DataError(f"{name} not found in {self.location!r}; found: {', '.join(self.names()) or 'no files'}")
        if info.size == 0:
            raise DataError(f"{name} in {self.location!r} is empty")
        return int(info.size)

    def open(self, name: str) -> pa.NativeFile:
        """A file for random access."""
        self.size(name)
        return self.fs.open_input_file(f"{self.path}/{name}")

    def blocks(self, name: str) -> Iterator[bytes]:
        """The bytes of a file as stored, a mebibyte at a time."""
        with self.open(name) as stream:
            while block := stream.read(_BLOCK):
                yield block

    def read(self, name: str) -> bytes:
        """A whole file, decompressed if it is .gz.

        Raises:
            DataError: it is missing, empty or not the gzip file that its name says.
        """
        data = b"".join(self.blocks(name))
        if not name.endswith(".gz"):
            return data
        try:
            return gzip.decompress(data)
        except (OSError, EOFError) as error:
            raise DataError(f"{name} in {self.location!r} is not a whole gzip file: {error}") from None

    def first_line(self, name: str) -> str:
        """The first line of a text file, without byte-order mark and line end.

        Raises:
            DataError: it is missing, empty or not text in UTF-8.
        """
        try:
            with self.open(name) as raw:
                stream = gzip.GzipFile(fileobj=raw) if name.endswith(".gz") else raw
                line, _, _ = stream.read(_BLOCK).partition(b"\n")
            return line.decode("utf-8-sig").rstrip("\r\n")
        except (UnicodeDecodeError, OSError, EOFError) as error:
            raise DataError(f"{name} in {self.location!r}: the header line cannot be read: {error}") from None

    def read_lines(self, name: str, start: int, stop: int) -> bytes:
        """The lines that start inside the byte range [start, stop), each whole."""
        with self.open(name) as stream:
            stream.seek(max(start - 1, 0))
            data = stream.read(stop - max(start - 1, 0))
            if start:
                # A line starts inside the range only behind a newline that is not the range's own last byte.
                newline = data.find(b"\n", 0, len(data) - 1)
                if newline < 0:
                    return b""
                data = data[newline + 1 :]
            while not data.endswith(b"\n") and (rest := stream.read(_BLOCK)):
                head, newline_byte, _ = rest.partition(b"\n")
                data += head + newline_byte
        return data
