"""The folder that holds the raw files, local or remote."""

import fnmatch
import gzip
import posixpath
import zlib
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.fs as pafs

from llm4rec.artifacts import open_location
from llm4rec.errors import DataError

_BLOCK = 2**20
_NAMES_SHOWN = 8


class Folder:
    """Read-only access to the files of a source; their names may hold folders, and `../` leads out of it.

    Raises:
        DataError: the folder does not exist, is a file, or the location cannot be understood.
    """

    def __init__(self, location: str) -> None:
        self.location = location
        try:
            self.fs, self.path = open_location(location)
            kind = self.fs.get_file_info(self.path).type
        except (pa.ArrowInvalid, OSError) as error:
            raise DataError(f"source.path {location!r} cannot be opened: {' '.join(str(error).split())}") from None
        if kind == pafs.FileType.NotFound:
            raise DataError(f"source.path {location!r} does not exist; it must be the folder of the raw files")
        if kind == pafs.FileType.File:
            raise DataError(f"source.path {location!r} is a file; give the folder that holds it")

    def names(self, under: str = "") -> list[str]:
        """Names of the files directly inside, or directly inside the folder `under`, sorted; none if it is missing."""
        selector = pafs.FileSelector(self._at(under), allow_not_found=True)
        return sorted(info.base_name for info in self.fs.get_file_info(selector) if info.type == pafs.FileType.File)

    def matching(self, name: str) -> list[str]:
        """The files that a name stands for, sorted: the file itself, those in the folder, or those a pattern fits.

        Wildcards may stand behind the last slash. Of a folder or a pattern, empty files and those whose names start
        with a dot or an underscore do not count.

        Raises:
            DataError: there is no such file.
        """
        parent, _, pattern = name.rstrip("/").rpartition("/")
        if any(sign in parent for sign in "*?["):
            raise DataError(f"{name!r}: wildcards may only stand behind the last slash")
        if self.fs.get_file_info(self._at(name)).type == pafs.FileType.Directory:
            parent, pattern = name.rstrip("/"), "*"
        elif not any(sign in pattern for sign in "*?["):
            self.size(name)
            return [name]
        found = [file for file in fnmatch.filter(self.names(parent), pattern) if file[0] not in "._"]
        paths = [f"{parent}/{file}" if parent else file for file in found]
        filled = [path for path in paths if self.fs.get_file_info(self._at(path)).size]
        if not filled:
            raise DataError(f"no file fits {name!r} in {self.location!r}; found: {shown(self.names(parent))}")
        return filled

    def size(self, name: str) -> int:
        """Bytes of a file.

        Raises:
            DataError: the file is missing or empty.
        """
        info = self.fs.get_file_info(self._at(name))
        if info.type != pafs.FileType.File:
            raise DataError(
                f"{name} not found in {self.location!r}; found: {shown(self.names(posixpath.dirname(name)))}"
            )
        if info.size == 0:
            raise DataError(f"{name} in {self.location!r} is empty")
        return int(info.size)

    def open(self, name: str) -> pa.NativeFile:
        """A file for random access."""
        self.size(name)
        return self.fs.open_input_file(self._at(name))

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
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{name} in {self.location!r} is not a whole gzip file: {error}") from None

    def first_line(self, name: str, encoding: str = "utf-8") -> str:
        """The first line of a text file, without byte-order mark and line end.

        Raises:
            DataError: it is missing, empty or not text in that encoding.
        """
        line, _, _ = self._beginning(name).partition(b"\n")
        try:
            return line.removeprefix(b"\xef\xbb\xbf").decode(encoding).rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(f"{name} in {self.location!r}: the header line cannot be read: {error}") from None

    def first_lines(self, name: str) -> tuple[list[bytes], bool]:
        """The whole lines of a file's first mebibyte, decompressed, and whether the file has no others.

        Raises:
            DataError: it is missing, empty or cannot be read.
        """
        data = self._beginning(name)
        lines = data.split(b"\n")
        return (lines, True) if len(data) < _BLOCK else (lines[:-1], False)

    def _beginning(self, name: str) -> bytes:
        try:
            with self.open(name) as raw:
                stream = gzip.GzipFile(fileobj=raw) if name.endswith(".gz") else raw
                return bytes(stream.read(_BLOCK))
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{name} in {self.location!r}: its beginning cannot be read: {error}") from None

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

    def _at(self, name: str) -> str:
        path = posixpath.normpath(f"{self.path}/{name}")
        if path.startswith(".."):
            raise DataError(f"{name!r} leads out of the store that {self.location!r} is in")
        return path


def shown(names: list[str]) -> str:
    """The first names, as an error message shows them."""
    rest = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
    return ", ".join(names[:_NAMES_SHOWN]) + rest or "no files"
