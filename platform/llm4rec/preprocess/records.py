"""Bytes into columns: delimited text, JSON lines and Parquet, with every refused row kept for the quarantine."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson
import pyarrow.parquet as pq

from llm4rec.config import StrictModel
from llm4rec.preprocess.folder import Folder
from llm4rec.schema import BoolVector, LongVector

BadRow = tuple[int, str]
_SHOWN = 60


class FileForm(StrictModel):
    """How the bytes of one file become columns."""

    file: str
    kind: Literal["delimited", "jsonl", "parquet"]
    columns: tuple[str, ...] = ()
    """Names in file order; delimited only."""
    delimiter: str = ","
    quote: bool = False
    """Whether double quotes enclose values, doubled inside, as in CSV."""
    header: bool = False
    """Whether line 1 is a header."""
    encoding: Literal["utf-8", "latin-1"] = "utf-8"


@dataclass(frozen=True)
class Records:
    """Parsed rows.

    Attributes:
        columns: arrays of shape (N,) by name; text files give text, null where a record lacks the value.
        rows: shape (N,), where each record stood: 1-based line of a text, 1-based row of Parquet.
        num_rows: lines or rows read, with header, blank and refused ones.
        bad: refused rows, with the reason.
    """

    columns: dict[str, pa.Array]
    rows: LongVector
    num_rows: int
    bad: list[BadRow] = field(default_factory=list)


def shorten(value: object) -> str:
    """A value as an error message shows it."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def read_delimited(data: bytes, form: FileForm, wanted: Sequence[str], *, header: bool, multiline: bool) -> Records:
    """Parse delimited text.

    Args:
        data: whole lines.
        form: delimiter, quoting, columns and encoding.
        wanted: the columns to return.
        header: whether the first line is a header to skip.
        multiline: whether a quoted value may hold line ends; only possible for a whole file.
    """
    if form.encoding == "latin-1":
        data = data.decode("latin-1").encode()
    raw, rows, num_rows = _split_lines(data.removeprefix(b"\xef\xbb\xbf"), join_quoted=multiline and form.quote)
    if header:
        raw, rows = raw[1:], rows[1:]
    text, rows, bad = _decode(raw, rows)
    text = pc.ascii_rtrim(text, "\r\n")
    filled = _mask(pc.greater(pc.binary_length(text), 0))
    text, rows = text.filter(pa.array(filled)), rows[filled]
    columns, fits, reasons = _split_fields(text, form, wanted)
    bad += list(zip(rows[~fits].tolist(), reasons, strict=True))
    return Records(columns, rows[fits], num_rows, bad)


def read_jsonl(data: bytes, wanted: Sequence[str], separator: str = "|") -> Records:
    """Parse JSON lines; lists are joined with `separator`.

    Lines of one type a column are read by Arrow; any other chunk is read line by line, which finds the bad lines.
    """
    lines, rows, num_rows = _split_lines(data, join_quoted=False)
    schema = _json_schema(lines, wanted)
    if schema is not None:
        try:
            options = pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
            block = pajson.ReadOptions(block_size=max(len(data), 1), use_threads=False)
            table = pajson.read_json(pa.BufferReader(data), block, options)
        except pa.ArrowInvalid:
            table = None
        # Arrow skips blank lines, which would shift the row numbers.
        if table is not None and table.num_rows == len(lines):
            return Records({name: table[name].combine_chunks() for name in wanted}, rows, num_rows)
    return _read_json_lines(lines, rows, wanted, separator)


def read_row_groups(folder: Folder, file: str, groups: Sequence[int], wanted: Sequence[str]) -> Records:
    """Read row groups of a Parquet file."""
    with folder.open(file) as stream:
        table = pq.ParquetFile(stream).read_row_groups(list(groups), columns=list(wanted), use_threads=False)
    columns = {name: table[name].combine_chunks() for name in wanted}
    return Records(columns, np.arange(1, table.num_rows + 1, dtype=np.int64), table.num_rows)


def _split_lines(data: bytes, *, join_quoted: bool) -> tuple[pa.LargeBinaryArray, LongVector, int]:
    """Lines with their ends, their 1-based numbers, and how many lines there are."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw == ord("\n"))
    if data and not data.endswith(b"\n"):
        ends = np.append(ends, len(data) - 1)
    rows = np.arange(1, len(ends) + 1, dtype=np.int64)
    num_rows = len(ends)
    if join_quoted and len(ends):
        # A line end is inside a quoted value where the number of quotes before it is odd.
        closed = np.searchsorted(np.flatnonzero(raw == ord('"')), ends, side="right") % 2 == 0
        closed[-1] = True
        rows = rows[np.append(True, closed[:-1])]
        ends = ends[closed]
    offsets = np.concatenate([[0], ends + 1]).astype(np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(ends), buffers), rows, num_rows


def _decode(raw: pa.LargeBinaryArray, rows: LongVector) -> tuple[pa.LargeStringArray, LongVector, list[BadRow]]:
    try:
        return raw.cast(pa.large_string()), rows, []
    except pa.ArrowInvalid:
        valid = np.fromiter((_is_utf8(line) for line in raw.to_pylist()), bool, len(raw))
        lines = raw.filter(pa.array(~valid)).to_pylist()
        bad = [
            (row, f"not valid UTF-8: {shorten(line.rstrip())}")
            for row, line in zip(rows[~valid].tolist(), lines, strict=True)
        ]
        return raw.filter(pa.array(valid)).cast(pa.large_string()), rows[valid], bad


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _split_fields(
    text: pa.LargeStringArray, form: FileForm, wanted: Sequence[str]
) -> tuple[dict[str, pa.Array], BoolVector, list[str]]:
    """Columns of the lines that fit, which lines fit, and a reason for each that does not."""
    quoted = _mask(pc.match_substring(text, '"')) if form.quote else np.zeros(len(text), bool)
    plain, plain_fits = _split_plain(text.filter(pa.array(~quoted)), form, wanted)
    if not quoted.any():
        columns, fits = plain, plain_fits
    else:
        others, other_fits = _split_quoted(text.filter(pa.array(quoted)), form, wanted)
        fits = np.empty(len(text), bool)
        fits[~quoted], fits[quoted] = plain_fits, other_fits
        # Both kinds back into the order of the file.
        order = np.argsort(np.concatenate([np.flatnonzero(~quoted & fits), np.flatnonzero(quoted & fits)]))
        columns = {name: pa.concat_arrays([plain[name], others[name]]).take(pa.array(order)) for name in wanted}
    return columns, fits, [_misfit(line, form) for line in text.filter(pa.array(~fits)).to_pylist()]


def _split_plain(text: pa.Array, form: FileForm, wanted: Sequence[str]) -> tuple[dict[str, pa.Array], BoolVector]:
    width = len(form.columns)
    fits = _mask(pc.equal(pc.count_substring(text, form.delimiter), width - 1))
    fields = pc.split_pattern(text.filter(pa.array(fits)), form.delimiter).flatten()
    count = len(fields) // width
    return {name: fields.take(pa.array(np.arange(count) * width + form.columns.index(name))) for name in wanted}, fits


def _split_quoted(text: pa.Array, form: FileForm, wanted: Sequence[str]) -> tuple[dict[str, pa.Array], BoolVector]:
    delimiter = f"\\x{ord(form.delimiter):02x}"
    fields = [f'(?:"(?P<q{place}>(?:[^"]|"")*)"|(?P<p{place}>[^"{delimiter}]*))' for place in range(len(form.columns))]
    matched = pc.extract_regex(text, f"^{delimiter.join(fields)}$")
    fits = _mask(matched.is_valid())
    matched = matched.filter(pa.array(fits))
    columns = {}
    for name in wanted:
        place = form.columns.index(name)
        inside, outside = matched.field(f"q{place}"), matched.field(f"p{place}")
        unescaped = pc.replace_substring(inside, '""', '"')
        columns[name] = pc.if_else(pc.equal(pc.binary_length(inside), 0), outside, unescaped)
    return columns, fits


def _misfit(line: str, form: FileForm) -> str:
    if form.quote and '"' in line:
        return f"not {len(form.columns)} columns, or quotes are not closed: {shorten(line)}"
    return f"expected {len(form.columns)} columns, found {line.count(form.delimiter) + 1}: {shorten(line)}"


def _json_schema(lines: pa.LargeBinaryArray, wanted: Sequence[str]) -> pa.Schema | None:
    """Column types as the first line has them; None where they are not plain text or numbers."""
    types = {str: pa.string(), int: pa.int64(), float: pa.float64()}
    try:
        first = json.loads(lines[0].as_py())
        return pa.schema([(name, types[type(first[name])]) for name in wanted])
    except (ValueError, LookupError, TypeError):
        return None


def _read_json_lines(lines: pa.LargeBinaryArray, rows: LongVector, wanted: Sequence[str], separator: str) -> Records:
    found: list[list[str | None]] = []
    kept: list[int] = []
    bad: list[BadRow] = []
    for row, line in zip(rows.tolist(), lines.to_pylist(), strict=True):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except UnicodeDecodeError:
            bad.append((row, f"not valid UTF-8: {shorten(line.rstrip())}"))
            continue
        except (ValueError, RecursionError):
            record = None
        values = [_json_text(record.get(name), separator) for name in wanted] if isinstance(record, dict) else None
        if values is None or not all(_is_text(value) for value in values):
            bad.append((row, f"not a JSON object in UTF-8: {shorten(line.decode().rstrip())}"))
            continue
        found.append(values)
        kept.append(row)
    columns = {name: pa.array([values[place] for values in found], pa.string()) for place, name in enumerate(wanted)}
    return Records(columns, np.asarray(kept, np.int64), len(lines), bad)


def _json_text(value: Any, separator: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, list):
        return separator.join(_json_text(part, separator) or "" for part in value)
    return json.dumps(value, ensure_ascii=False)


def _is_text(value: str | None) -> bool:
    """Whether a value can be stored: JSON may escape half a surrogate pair, which no UTF-8 can hold."""
    return value is None or not any("\ud800" <= letter <= "\udfff" for letter in value)


def _mask(values: pa.Array) -> BoolVector:
    return values.to_numpy(zero_copy_only=False).astype(bool)
