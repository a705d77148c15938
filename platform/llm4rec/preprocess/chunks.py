"""The interactions file in pieces: each can be parsed anywhere, and together they give the same log."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from llm4rec.config import StrictModel
from llm4rec.errors import DataError
from llm4rec.preprocess.config import InteractionsFile, SourceConfig
from llm4rec.preprocess.folder import Folder
from llm4rec.preprocess.log import LOG_SCHEMA, ORDER, QUARANTINE_SCHEMA, check_interactions
from llm4rec.preprocess.records import FileForm, Records, read_delimited, read_jsonl, read_row_groups
from llm4rec.preprocess.sources import find_layout

LINE_BITS = 40


class Chunk(StrictModel):
    """A piece of the interactions file: the lines that start in bytes [start, stop), or Parquet's row groups."""

    folder: str
    form: FileForm
    mapping: InteractionsFile
    index: int
    start: int
    stop: int

    def to_row(self) -> dict[str, str]:
        """Plain values, for a Ray Data row."""
        return {"chunk": self.model_dump_json()}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Inverse of `to_row`."""
        return cls.model_validate_json(row["chunk"])


@dataclass(frozen=True)
class ParsedChunk:
    """What one chunk held.

    Attributes:
        index: the chunk's place in the file.
        source: name of the file.
        num_rows: lines (Parquet: rows) in the chunk, with header, blank and refused ones.
        good: interactions, `LOG_SCHEMA`; `order` is index << 40 | line in the chunk.
        bad: refused rows, `QUARANTINE_SCHEMA`; `row` is the 1-based line in the chunk.
    """

    index: int
    source: str
    num_rows: int
    good: pa.Table
    bad: pa.Table

    def to_row(self) -> dict[str, Any]:
        """Plain values, for a Ray Data row; the tables as Arrow streams."""
        head = {"index": self.index, "source": self.source, "num_rows": self.num_rows}
        return {"head": json.dumps(head), "good": _to_bytes(self.good), "bad": _to_bytes(self.bad)}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Self:
        """Inverse of `to_row`."""
        good, bad = (pa.ipc.open_stream(row[name]).read_all() for name in ("good", "bad"))
        return cls(**json.loads(row["head"]), good=good, bad=bad)


@dataclass(frozen=True)
class Log:
    """All interactions of a source: `LOG_SCHEMA` and `QUARANTINE_SCHEMA`, with `order` and `row` the line in the file.

    Rows are in file order, so `order` is strictly increasing.
    """

    source: str
    interactions: pa.Table
    quarantine: pa.Table


def list_chunks(source: SourceConfig, chunk_bytes: int) -> list[Chunk]:
    """Cut the interactions file into chunks of about `chunk_bytes`; a .gz file is one chunk.

    Raises:
        DataError: as `find_layout`.
    """
    layout = find_layout(source)
    form, mapping = layout.interactions
    return [
        Chunk(folder=source.path, form=form, mapping=mapping, index=index, start=start, stop=stop)
        for index, (start, stop) in enumerate(_ranges(layout.folder, form, chunk_bytes))
    ]


def parse_chunk(chunk: Chunk) -> ParsedChunk:
    """Read and check one chunk.

    Raises:
        DataError: the file has gone, or a Parquet column has a type that cannot hold what it is mapped to.
    """
    mapping = chunk.mapping
    optional = (mapping.timestamp, mapping.value, mapping.event)
    wanted = list(dict.fromkeys([mapping.user_id, mapping.item_id, *(name for name in optional if name)]))
    records = _read(Folder(chunk.folder), chunk, wanted)
    good, bad = check_interactions(records, mapping)
    order = pa.array((chunk.index << LINE_BITS) + good[ORDER].to_numpy())
    good = good.set_column(good.schema.get_field_index(ORDER), LOG_SCHEMA.field(ORDER), order)
    return ParsedChunk(chunk.index, chunk.form.file, records.num_rows, good, bad)


def gather(parsed: Iterable[ParsedChunk]) -> Log:
    """Join parsed chunks, in any order, into one log whose row numbers are those of the whole file.

    Raises:
        DataError: there is not a single good row; the message quotes the first reason.
    """
    chunks = sorted(parsed, key=lambda chunk: chunk.index)
    good, bad, before = [], [], 0
    for chunk in chunks:
        lines = chunk.good[ORDER].to_numpy() - (chunk.index << LINE_BITS)
        place = LOG_SCHEMA.get_field_index(ORDER)
        good.append(chunk.good.set_column(place, LOG_SCHEMA.field(ORDER), pa.array(lines + before)))
        rows = pa.array(chunk.bad["row"].to_numpy() + before)
        bad.append(chunk.bad.set_column(0, QUARANTINE_SCHEMA.field("row"), rows))
        before += chunk.num_rows
    source = chunks[0].source
    log = Log(source, pa.concat_tables(good), pa.concat_tables(bad))
    if not log.interactions.num_rows:
        raise DataError(f"{source}: {_nothing_good(log.quarantine)}")
    return log


def _nothing_good(quarantine: pa.Table) -> str:
    if not quarantine.num_rows:
        return "no interactions, only a header or blank lines"
    first = quarantine.slice(0, 1).to_pylist()[0]
    return f"all {quarantine.num_rows} rows were refused; the first, row {first['row']}: {first['reason']}"


def _ranges(folder: Folder, form: FileForm, chunk_bytes: int) -> Iterator[tuple[int, int]]:
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
    elif form.file.endswith(".gz"):
        yield 0, size
    else:
        for start in range(0, size, chunk_bytes):
            yield start, min(start + chunk_bytes, size)


def _read(folder: Folder, chunk: Chunk, wanted: list[str]) -> Records:
    form = chunk.form
    if form.kind == "parquet":
        return read_row_groups(folder, form.file, range(chunk.start, chunk.stop), wanted)
    if form.file.endswith(".gz"):
        data = folder.read(form.file)
    else:
        data = folder.read_lines(form.file, chunk.start, chunk.stop)
    if form.kind == "jsonl":
        return read_jsonl(data, wanted)
    return read_delimited(data, form, wanted, header=form.header and chunk.start == 0, multiline=False)


def _to_bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()
