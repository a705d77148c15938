"""Bytes into columns: delimited text, JSON lines and Parquet, with every refused row kept for the quarantine."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pajson
import pyarrow.parquet as pq

from llm4rec.config import StrictModel
from llm4rec.errors import DataError
from llm4rec.preprocess.folder import Folder
from llm4rec.preprocess.lines import BadRow, as_mask, join_quoted, refuse_lines, shorten, split_lines
from llm4rec.schema import BoolVector, LongVector

# Lines that the types of JSON columns are told from.
_SAMPLED = 64
_SURROGATE = re.compile("[\ud800-\udfff]")
_ARROW_TYPES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}


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
        columns: arrays of shape (N,) by name; null where a record lacks the value. Delimited text gives text, JSON
            lines give text or numbers (lists joined, objects as JSON), Parquet what the file holds.
        rows: shape (N,), where each record stood: 1-based line of a text, 1-based row of Parquet.
        num_rows: lines or rows read, with header, blank and refused ones.
        bad: refused rows, with the reason.
    """

    columns: dict[str, pa.Array]
    rows: LongVector
    num_rows: int
    bad: list[BadRow] = field(default_factory=list)

    def behind(self, num_rows: int) -> "Records":
        """The same records in a text that has so many rows before them."""
        bad = [(row + num_rows, reason) for row, reason in self.bad]
        return replace(self, rows=self.rows + num_rows, bad=bad)


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
    data = data.removeprefix(b"\xef\xbb\xbf")
    raw, rows = split_lines(data)
    num_rows = len(rows)
    if multiline and form.quote:
        raw, rows = join_quoted(data, raw, rows, re.compile(_record_pattern(form).encode()))
    if header:
        raw, rows = raw[1:], rows[1:]
    good, bad = refuse_lines(data, raw, rows)
    text, rows = pc.ascii_rtrim(raw.filter(pa.array(good)).cast(pa.large_string()), "\r\n"), rows[good]
    filled = as_mask(pc.greater(pc.binary_length(text), 0))
    text, rows = text.filter(pa.array(filled)), rows[filled]
    columns, fits, reasons = _split_fields(text, form, wanted)
    bad += list(zip(rows[~fits].tolist(), reasons, strict=True))
    return Records(columns, rows[fits], num_rows, bad)


def read_jsonl(data: bytes, wanted: Sequence[str], separator: str = "|") -> Records:
    """Parse JSON lines: lists are joined with `separator`, objects stay JSON, also inside lists.

    Columns of one plain type are read by Arrow; any other chunk is read line by line, which takes several times longer.
    """
    lines, rows = split_lines(data)
    num_rows = len(rows)
    good, bad = refuse_lines(data, lines, rows)
    whole = good & _look_whole(data, lines)
    odd = _read_json_lines(lines.filter(pa.array(good & ~whole)), rows[good & ~whole], wanted, separator)
    if not len(odd.rows):
        text = data if whole.all() else b"".join(lines.filter(pa.array(whole)).to_pylist())
        columns = _read_json_with_arrow(text, int(whole.sum()), wanted)
        if columns is not None:
            return Records(columns, rows[whole], num_rows, bad + odd.bad)
    read = _read_json_lines(lines.filter(pa.array(good)), rows[good], wanted, separator)
    return Records(read.columns, read.rows, num_rows, bad + read.bad)


def read_row_groups(folder: Folder, file: str, groups: Sequence[int], wanted: Sequence[str]) -> Records:
    """Read row groups of a Parquet file; rows whose text is not UTF-8 are refused.

    Raises:
        DataError: the file is missing, or no longer a whole Parquet file.
    """
    try:
        with folder.open(file) as stream:
            table = pq.ParquetFile(stream).read_row_groups(list(groups), columns=list(wanted), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} in {folder.location!r} cannot be read: {' '.join(str(error).split())}") from None
    columns = {name: table[name].combine_chunks() for name in wanted}
    rows = np.arange(1, table.num_rows + 1, dtype=np.int64)
    good, bad = np.ones(len(rows), bool), []
    for name, column in columns.items():
        for place in _places_without_utf8(column):
            if good[place]:
                good[place] = False
                bad.append((int(rows[place]), f"{name} is not valid UTF-8"))
    kept = columns if good.all() else {name: column.filter(pa.array(good)) for name, column in columns.items()}
    return Records(kept, rows[good], table.num_rows, bad)


def _places_without_utf8(column: pa.Array) -> list[int]:
    if isinstance(column, pa.DictionaryArray):
        wrong = _places_without_utf8(column.dictionary)
        return np.flatnonzero(np.isin(column.indices.fill_null(-1).to_numpy(), wrong)).tolist() if wrong else []
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return []
    cells = column.cast(pa.large_binary())
    try:
        cells.cast(pa.large_string())
    except pa.ArrowInvalid:
        return [place for place, cell in enumerate(cells.to_pylist()) if cell is not None and not _is_utf8(cell)]
    return []


def _is_utf8(cell: bytes) -> bool:
    try:
        cell.decode()
    except UnicodeDecodeError:
        return False
    return True


def _split_fields(
    text: pa.LargeStringArray, form: FileForm, wanted: Sequence[str]
) -> tuple[dict[str, pa.Array], BoolVector, list[str]]:
    """Columns of the lines that fit, which lines fit, and a reason for each that does not."""
    quoted = as_mask(pc.match_substring(text, '"')) if form.quote else np.zeros(len(text), bool)
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
    fits = as_mask(pc.equal(pc.count_substring(text, form.delimiter), width - 1))
    fields = pc.split_pattern(text.filter(pa.array(fits)), form.delimiter).flatten()
    count = len(fields) // width
    return {name: fields.take(pa.array(np.arange(count) * width + form.columns.index(name))) for name in wanted}, fits


def _split_quoted(text: pa.Array, form: FileForm, wanted: Sequence[str]) -> tuple[dict[str, pa.Array], BoolVector]:
    matched = pc.extract_regex(text, f"^{_record_pattern(form)}$")
    fits = as_mask(matched.is_valid())
    matched = matched.filter(pa.array(fits))
    columns = {}
    for name in wanted:
        place = form.columns.index(name)
        inside, outside = matched.field(f"q{place}"), matched.field(f"p{place}")
        unescaped = pc.replace_substring(inside, '""', '"')
        columns[name] = pc.if_else(pc.equal(pc.binary_length(inside), 0), outside, unescaped)
    return columns, fits


def _record_pattern(form: FileForm) -> str:
    """What a record with quotes looks like; field n is in the group qn where it is quoted, in pn otherwise."""
    delimiter = f"\\x{ord(form.delimiter):02x}"
    fields = (f'(?:"(?P<q{place}>(?:[^"]|"")*)"|(?P<p{place}>[^"{delimiter}]*))' for place in range(len(form.columns)))
    return delimiter.join(fields)


def _misfit(line: str, form: FileForm) -> str:
    if form.quote and '"' in line:
        return f"not {len(form.columns)} columns, or quotes are not closed: {shorten(line)}"
    return f"expected {len(form.columns)} columns, found {line.count(form.delimiter) + 1}: {shorten(line)}"


def _look_whole(data: bytes, lines: pa.LargeBinaryArray) -> BoolVector:
    """Which lines begin and end as a JSON object does."""
    raw = np.frombuffer(data, np.uint8)
    lengths = pc.binary_length(lines).to_numpy(zero_copy_only=False)
    stops = np.cumsum(lengths)
    starts = stops - lengths
    for end in b"\n\r":
        stops = stops - ((stops > starts) & (raw[stops - 1] == end))
    return (stops > starts) & (raw[np.minimum(starts, len(raw) - 1)] == ord("{")) & (raw[stops - 1] == ord("}"))


def _read_json_with_arrow(text: bytes, count: int, wanted: Sequence[str]) -> dict[str, pa.Array] | None:
    """Columns of `count` lines; None where Arrow cannot read them, or takes them for other lines than they are."""
    schema = _json_schema(text, wanted)
    if schema is None:
        return None
    try:
        options = pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
        block = pajson.ReadOptions(block_size=max(len(text), 1), use_threads=False)
        table = pajson.read_json(pa.BufferReader(text), block, options)
    except pa.ArrowInvalid:
        return None
    if table.num_rows != count:
        return None
    columns = {name: table[name].combine_chunks() for name in wanted}
    return {name: array.cast(pa.string()) if array.type == pa.bool_() else array for name, array in columns.items()}


def _json_schema(text: bytes, wanted: Sequence[str]) -> pa.Schema | None:
    """Column types as the first lines have them; None where one has no plain type, or several."""
    types: dict[str, set[type]] = {name: set() for name in wanted}
    for line in text.split(b"\n", _SAMPLED)[:_SAMPLED]:
        try:
            record = json.loads(line or b"{}")
        except (ValueError, RecursionError):
            return None
        for name in wanted:
            if record.get(name) is not None:
                types[name].add(type(record[name]))
    if any(len(found) > 1 or not found <= set(_ARROW_TYPES) for found in types.values()):
        return None
    return pa.schema([(name, _ARROW_TYPES[next(iter(found), str)]) for name, found in types.items()])


def _read_json_lines(lines: pa.LargeBinaryArray, rows: LongVector, wanted: Sequence[str], separator: str) -> Records:
    cells: list[list[str | None]] = [[] for _ in wanted]
    kept: list[int] = []
    bad: list[BadRow] = []
    for row, line in zip(rows.tolist(), lines.to_pylist(), strict=True):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
        if not isinstance(record, dict):
            if line.strip():
                bad.append((row, f"not a JSON object: {shorten(line.decode().rstrip())}"))
            continue
        values = [_json_text(record.get(name), separator) for name in wanted]
        # JSON may escape half a surrogate pair, which no UTF-8 can hold.
        if b"\\ud" in line.lower() and any(_SURROGATE.search(value) for value in values if value):
            bad.append((row, f"half a surrogate pair, which is no text: {shorten(line.decode().rstrip())}"))
            continue
        kept.append(row)
        for column, value in zip(cells, values, strict=True):
            column.append(value)
    columns = {name: pa.array(column, pa.string()) for name, column in zip(wanted, cells, strict=True)}
    return Records(columns, np.asarray(kept, np.int64), len(lines), bad)


def _json_text(value: Any, separator: str) -> str | None:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):  # how pandas writes what is missing
        return None
    if isinstance(value, list):
        return separator.join(_json_text(part, separator) or "" for part in value)
    return json.dumps(value, ensure_ascii=False)
