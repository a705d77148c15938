"""Checks every interaction of a chunk: what is good becomes typed columns, what is not gets a reason."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.errors import DataError
from llm4rec.preprocess.config import InteractionsFile
from llm4rec.preprocess.records import BadRow, Records, shorten
from llm4rec.schema import (
    EVENT,
    ITEM_ID,
    QUARANTINE_SCHEMA,
    REVIEW,
    TIMESTAMP,
    USER_ID,
    VALUE,
    BoolVector,
    LongVector,
)

ORDER, FRACTION = "order", "fraction"
LOG_SCHEMA = pa.schema(
    [
        (USER_ID, pa.string()),
        (ITEM_ID, pa.string()),
        (TIMESTAMP, pa.int64()),
        (FRACTION, pa.float32()),
        (VALUE, pa.float32()),
        (EVENT, pa.string()),
        (ORDER, pa.int64()),
        (REVIEW, pa.string()),
    ]
)

# 1e11 seconds is the year 5138, 1e11 milliseconds is 1973: above, a number counts milliseconds.
_MILLISECONDS_FROM = 1e11
_TOO_LATE = 1e14
_TICKS = {"s": 1, "ms": 1e3, "us": 1e6, "ns": 1e9}
_FIRST_DAY, _LAST_DAY = 19000101, 21001231


def check_interactions(records: Records, mapping: InteractionsFile) -> tuple[pa.Table, pa.Table]:
    """Split records into interactions and refused rows.

    Returns:
        `LOG_SCHEMA` (order = row of the record; timestamp in whole seconds, null where the source has no times;
        fraction = of the second that began then, 0 where nothing is known of it) and `QUARANTINE_SCHEMA`, sorted by
        row.

    Raises:
        DataError: a column has a type that cannot hold what it is mapped to.
    """
    count = len(records.rows)
    reasons = _Reasons(count)
    user = _ids(records.columns[mapping.user_id], "user_id", reasons)
    item = _ids(_item_ids(records, mapping), "item_id", reasons)
    if mapping.timestamp is None:
        timestamp, fraction = pa.nulls(count, pa.int64()), np.zeros(count, np.float32)
    else:
        seconds = _seconds(records.columns[mapping.timestamp], reasons)
        timestamp = pa.array(np.floor(seconds).astype(np.int64))
        fraction = (seconds - np.floor(seconds)).astype(np.float32)
    if mapping.value is None:
        value = pa.array(np.ones(count, np.float32))
    else:
        value = pa.array(_values(records.columns[mapping.value], reasons))
    if mapping.event is None:
        event = pa.array([mapping.default_event], pa.string()).take(pa.array(np.zeros(count, np.int64)))
    else:
        event = _ids(_events(records.columns[mapping.event], mapping), "event", reasons)
    review = pa.nulls(count, pa.string()) if mapping.text is None else as_text(records.columns[mapping.text], "text")
    columns = [user, item, timestamp, pa.array(fraction), value, event, pa.array(records.rows), review]
    good = pa.table(columns, schema=LOG_SCHEMA)
    bad = [*records.bad, *reasons.of(records.rows)]
    return good.filter(pa.array(reasons.good)), quarantine(bad, mapping.file)


def quarantine(bad: list[BadRow], source: str) -> pa.Table:
    """Refused rows of one file as a table, sorted by row."""
    ordered = sorted(bad)
    columns = [[row for row, _ in ordered], [source] * len(ordered), [reason for _, reason in ordered]]
    return pa.table(columns, schema=QUARANTINE_SCHEMA)


def as_text(array: pa.Array, role: str) -> pa.Array:
    """Text or whole numbers as text.

    Raises:
        DataError: any other type.
    """
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    kind = array.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)):
        raise DataError(f"the column mapped to {role} has type {kind}; it must hold text or whole numbers")
    return array.cast(pa.string())


def as_numbers(array: pa.Array) -> np.ndarray:
    """Numbers or text as float64 of shape (N,), NaN where a value is missing or is no number."""
    if isinstance(array, pa.DictionaryArray):
        array = array.dictionary_decode()
    try:
        return array.cast(pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return pd.to_numeric(pd.Series(array.to_pylist(), dtype=object), errors="coerce").to_numpy(np.float64)
    except pa.ArrowNotImplementedError:
        return np.full(len(array), np.nan)


class _Reasons:
    """Collects the first reason against each row."""

    def __init__(self, count: int) -> None:
        self.good: BoolVector = np.ones(count, bool)
        self._texts: dict[int, str] = {}

    def refuse(self, wrong: BoolVector, array: pa.Array, problem: str) -> None:
        places = np.flatnonzero(wrong & self.good)
        for place, value in zip(places.tolist(), array.take(pa.array(places)).to_pylist(), strict=True):
            self._texts[place] = f"{problem}: {shorten(value)}"
        self.good &= ~wrong

    def of(self, rows: LongVector) -> list[BadRow]:
        return [(int(rows[place]), text) for place, text in self._texts.items()]


def _ids(array: pa.Array, role: str, reasons: _Reasons) -> pa.Array:
    text = pc.utf8_trim_whitespace(as_text(array, role).fill_null(""))  # as cells of a catalogue are
    blank = pc.equal(pc.binary_length(text), 0)
    reasons.refuse(blank.to_numpy(zero_copy_only=False), text, f"empty {role}")
    return text


def _item_ids(records: Records, mapping: InteractionsFile) -> pa.Array:
    ids = records.columns[mapping.item_id]
    if mapping.other_item_id is None:
        return ids
    first, other = (as_text(records.columns[name], "item_id") for name in (mapping.item_id, mapping.other_item_id))
    empty = pc.equal(pc.binary_length(pc.utf8_trim_whitespace(first.fill_null(""))), 0)
    return pc.if_else(empty, other, first)


def _events(names: pa.Array, mapping: InteractionsFile) -> pa.Array:
    if not mapping.event_names:
        return names
    texts = names.cast(pa.string()) if pa.types.is_boolean(names.type) else as_text(names, "event")
    coded = texts.dictionary_encode()
    known = [mapping.event_names.get(name, name if name.strip() else None) for name in coded.dictionary.to_pylist()]
    return pa.array(known, pa.string()).take(coded.indices).fill_null(mapping.default_event)


def _values(array: pa.Array, reasons: _Reasons) -> np.ndarray:
    with np.errstate(over="ignore"):
        values = as_numbers(array).astype(np.float32)
    reasons.refuse(~np.isfinite(values), array, "value is not a finite number")
    return values


def _seconds(array: pa.Array, reasons: _Reasons) -> np.ndarray:
    """Times as float64 seconds, exact to a microsecond; 0 where they are refused."""
    seconds = _moments(array).copy()
    unknown = ~np.isfinite(seconds)
    reasons.refuse(unknown, array, "timestamp is neither seconds, milliseconds nor an ISO date")
    seconds[unknown] = 0
    reasons.refuse(np.abs(seconds) >= _TOO_LATE, array, "timestamp is out of range")
    return np.where(np.abs(seconds) >= _MILLISECONDS_FROM, seconds / 1000, seconds)


def _moments(array: pa.Array) -> np.ndarray:
    """Times as float64 seconds (or milliseconds, as they came), NaN where they cannot be read."""
    if pa.types.is_temporal(array.type):
        stamps = array if pa.types.is_timestamp(array.type) else array.cast(pa.timestamp("ms"), safe=False)
        ticks = pc.cast(stamps.cast(pa.int64()), pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        return ticks / _TICKS[stamps.type.unit]
    numbers = _as_days(as_numbers(array))
    unread = np.flatnonzero(np.isnan(numbers))
    cells = array.take(pa.array(unread)).to_pylist()
    if any(isinstance(cell, str) for cell in cells):
        texts = pd.Series([cell if isinstance(cell, str) else None for cell in cells], dtype=object)
        dates = pd.to_datetime(texts, format="ISO8601", utc=True, errors="coerce")
        numbers = numbers.copy()  # Arrow hands out read-only memory.
        since = dates.dt.as_unit("us").astype("int64").to_numpy(np.float64) / 1e6
        numbers[unread] = np.where(dates.isna(), np.nan, since)
    return numbers


def _as_days(numbers: np.ndarray) -> np.ndarray:
    """Seconds of dates such as 20240105 where most of the numbers are such, and NaN of the others there.

    As seconds they would all lie in one month of 1970, of which one number in thirty looks like a date.
    """
    known = np.flatnonzero(np.isfinite(numbers))
    plausible = known[(numbers[known] >= _FIRST_DAY) & (numbers[known] <= _LAST_DAY) & (numbers[known] % 1 == 0)]
    if not len(plausible) or 2 * len(plausible) <= len(known):
        return numbers
    texts = pd.Series(numbers[plausible].astype(np.int64).astype(str))
    dates = pd.to_datetime(texts, format="%Y%m%d", utc=True, errors="coerce")
    if 2 * dates.notna().sum() <= len(known):
        return numbers
    days = np.full(len(numbers), np.nan)
    days[plausible] = np.where(dates.isna(), np.nan, dates.dt.as_unit("s").astype("int64").to_numpy(np.float64))
    return days
