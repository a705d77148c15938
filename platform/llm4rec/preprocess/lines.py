"""The lines of a text, with those that no reader could use taken out."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.schema import BoolVector, LongVector

BadRow = tuple[int, str]
LONGEST = 4 * 2**20
"""Bytes of the longest line, and of the longest record of several lines, that is read."""
_SHOWN = 60


def shorten(value: object) -> str:
    """A value as an error message shows it."""
    is_long = isinstance(value, (str, bytes)) and len(value) > _SHOWN
    text = repr(value[: _SHOWN + 1]) if is_long else repr(value)  # type: ignore[index]
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def split_lines(data: bytes) -> tuple[pa.LargeBinaryArray, LongVector]:
    """Lines with their ends, and their 1-based numbers."""
    raw = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(raw == ord("\n"))
    if data and not data.endswith(b"\n"):
        ends = np.append(ends, len(data) - 1)
    return _cut(data, ends), np.arange(1, len(ends) + 1, dtype=np.int64)


def join_quoted(
    data: bytes, lines: pa.LargeBinaryArray, rows: LongVector, record: re.Pattern[bytes]
) -> tuple[pa.LargeBinaryArray, LongVector]:
    """Join the lines that a quoted value with line ends in it was cut into.

    A line that opens a quote is joined up to the next one that could close it, if a whole record comes of it;
    otherwise it stands alone, so that a stray quote costs one line and not the rest of the file.

    Args:
        data: the text that the lines are of.
        lines: all of its lines.
        rows: shape (N,), their numbers.
        record: what the bytes of a record look like, without its line end.

    Returns:
        The lines left, and for each the number of its first line.
    """
    ends = _ends(lines)
    starts = np.concatenate([[0], ends[:-1] + 1]) if len(ends) else ends
    quotes = np.flatnonzero(np.frombuffer(data, np.uint8) == ord('"'))
    counts = np.diff(np.searchsorted(quotes, ends, side="right"), prepend=0)
    odd = np.flatnonzero(counts % 2)
    inside = np.zeros(len(ends), bool)  # whether a line's end is inside a quoted value
    place = 0
    while place + 1 < len(odd):
        first, last = odd[place], odd[place + 1]
        start, stop = int(starts[first]), int(ends[last]) + 1
        if stop - start <= LONGEST and record.fullmatch(data[start:stop].rstrip(b"\r\n")):
            inside[first:last] = True
            place += 2
        else:
            place += 1
    if not inside.any():
        return lines, rows
    return _cut(data, ends[~inside]), rows[np.append(True, ~inside[:-1])]


def refuse_lines(data: bytes, raw: pa.LargeBinaryArray, rows: LongVector) -> tuple[BoolVector, list[BadRow]]:
    """Which lines can be read, and why the others cannot: too long, NUL bytes, no UTF-8.

    Args:
        data: the text that the lines are of.
        raw: N lines.
        rows: shape (N,), their numbers.

    Returns:
        A mask of shape (N,), and a reason for each line that it leaves out.
    """
    good: BoolVector = as_mask(pc.less_equal(pc.binary_length(raw), LONGEST))
    lengths = pc.binary_length(raw.filter(pa.array(~good))).to_pylist()
    bad = [
        (row, f"{length} bytes, more than the {LONGEST} that a line may have")
        for row, length in zip(rows[~good].tolist(), lengths, strict=True)
    ]
    wrong = [(b"\0" in data, _has_nul, "holds a NUL byte"), (not _is_utf8(raw), _is_no_utf8, "not valid UTF-8")]
    for is_found, test, problem in wrong:
        for place, line in enumerate(raw.to_pylist()) if is_found else []:
            if good[place] and test(line):
                good[place] = False
                bad.append((int(rows[place]), f"{problem}: {shorten(line.rstrip())}"))
    return good, bad


def as_mask(values: pa.Array) -> BoolVector:
    """Booleans without nulls as a writable array."""
    return np.array(values.to_numpy(zero_copy_only=False), bool)


def _cut(data: bytes, ends: np.ndarray) -> pa.LargeBinaryArray:
    offsets = np.concatenate([[0], ends + 1]).astype(np.int64)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(ends), buffers)


def _ends(lines: pa.LargeBinaryArray) -> np.ndarray:
    """Where each line's last byte is."""
    return np.cumsum(pc.binary_length(lines).to_numpy(zero_copy_only=False)) - 1


def _is_utf8(raw: pa.LargeBinaryArray) -> bool:
    try:
        raw.cast(pa.large_string())
    except pa.ArrowInvalid:
        return False
    return True


def _has_nul(line: bytes) -> bool:
    return b"\0" in line


def _is_no_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return True
    return False
