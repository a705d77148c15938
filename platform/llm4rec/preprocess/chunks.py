"""Files in pieces: each piece can be read anywhere, in bounded memory, and together they give every row once."""

import gzip
import zlib
from collections.abc import Iterator, Sequence

import pyarrow.parquet as pq

from llm4rec.config import StrictModel
from llm4rec.errors import DataError
from llm4rec.preprocess.folder import Folder
from llm4rec.preprocess.records import FileForm, Records, read_delimited, read_jsonl, read_row_groups


class Chunk(StrictModel):
    """A piece of one file.

    Bytes [start, stop) of a text, which stand for the lines that start there; row groups [start, stop) of Parquet;
    or a whole file: a .gz, which can only be read from its start, and text whose quoted values may hold line ends.
    """

    folder: str
    form: FileForm
    index: int
    """Place among the chunks of all files that were listed together."""
    start: int
    stop: int
    multiline: bool = False
    """Whether quoted values may hold line ends."""
    piece_bytes: int
    """How much of a .gz is held at once."""


def list_chunks(folder: Folder, forms: Sequence[FileForm], chunk_bytes: int, *, multiline: bool = False) -> list[Chunk]:
    """Cut files into chunks of about `chunk_bytes`, in the order given.

    Raises:
        DataError: a file is missing, empty or no Parquet file.
    """
    found = [
        (form, start, stop, multiline and form.quote)
        for form in forms
        for start, stop in _ranges(folder, form, chunk_bytes, whole=multiline and form.quote)
    ]
    return [
        Chunk(
            folder=folder.location,
            form=form,
            index=index,
            start=start,
            stop=stop,
            multiline=whole,
            piece_bytes=chunk_bytes,
        )
        for index, (form, start, stop, whole) in enumerate(found)
    ]


def read_chunk(chunk: Chunk, wanted: Sequence[str], separator: str = "|") -> Iterator[Records]:
    """The records of a chunk, in pieces of bounded size; `rows` counts on from piece to piece.

    Raises:
        DataError: the file has gone, or is not the gzip or Parquet file that its name says.
    """
    before = 0
    for records in _read(chunk, wanted, separator):
        yield records.behind(before)
        before += records.num_rows


def _ranges(folder: Folder, form: FileForm, chunk_bytes: int, *, whole: bool) -> Iterator[tuple[int, int]]:
    size = folder.size(form.file)
    if form.kind == "parquet":
        with folder.open(form.file) as stream:
            footer = pq.read_metadata(stream)
        start, held = 0, 0
        for group in range(footer.num_row_groups):
            held += footer.row_group(group).total_byte_size
            if held >= chunk_bytes or group == footer.num_row_groups - 1:
                yield start, group + 1
                start, held = group + 1, 0
    elif whole or form.file.endswith(".gz"):
        yield 0, size
    else:
        for start in range(0, size, chunk_bytes):
            yield start, min(start + chunk_bytes, size)


def _read(chunk: Chunk, wanted: Sequence[str], separator: str) -> Iterator[Records]:
    folder, form = Folder(chunk.folder), chunk.form
    if form.kind == "parquet":
        for group in range(chunk.start, chunk.stop):
            yield read_row_groups(folder, form.file, [group], wanted)
        return
    for number, data in enumerate(_texts(folder, chunk)):
        if form.kind == "jsonl":
            yield read_jsonl(data, wanted, separator)
        else:
            header = form.header and chunk.start == 0 and number == 0
            yield read_delimited(data, form, wanted, header=header, multiline=chunk.multiline)


def _texts(folder: Folder, chunk: Chunk) -> Iterator[bytes]:
    """Whole lines, piece by piece."""
    name = chunk.form.file
    if chunk.multiline:
        yield folder.read(name)
    elif name.endswith(".gz"):
        yield from _unzipped(folder, name, chunk.piece_bytes)
    else:
        yield folder.read_lines(name, chunk.start, chunk.stop)


def _unzipped(folder: Folder, name: str, piece_bytes: int) -> Iterator[bytes]:
    rest, nothing = b"", True
    try:
        with folder.open(name) as raw, gzip.GzipFile(fileobj=raw) as stream:
            while block := stream.read(piece_bytes):
                lines, newline, tail = block.rpartition(b"\n")
                if newline:
                    yield rest + lines + newline
                    rest, nothing = tail, False
                else:
                    rest += block
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} in {folder.location!r} is not a whole gzip file: {error}") from None
    if rest or nothing:  # of an empty file too there is one piece
        yield rest
