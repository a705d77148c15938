"""Reads the users file: one row an id, the rest to the quarantine."""

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.preprocess.cells import read_numbers, read_texts
from llm4rec.preprocess.config import UsersFile
from llm4rec.preprocess.items import kept_records
from llm4rec.preprocess.log import as_numbers, quarantine
from llm4rec.preprocess.records import BadRow, Records, shorten
from llm4rec.preprocess.small_files import SeenIds, read_file
from llm4rec.preprocess.sources.layout import Layout
from llm4rec.schema import QUARANTINE_SCHEMA, USER_ID, BoolVector

WIDEST = 2.0**63
"""Whole numbers are kept in 64 bits."""
_YEAR = re.compile(r"([0-9]{4})(?:-[0-9]{1,2}(?:-[0-9]{1,2}(?:[T ].*)?)?)?")


def read_users(layout: Layout) -> tuple[pa.Table, pa.Table]:
    """The users of a source, in file order, ids unique; and the refused rows.

    Returns:
        user_id, numbers and years as int64, attributes as text; and `QUARANTINE_SCHEMA`. Both empty without a file.

    Raises:
        DataError: a column has a type that cannot hold what it is mapped to.
    """
    if layout.users is None:
        return pa.table({USER_ID: pa.array([], pa.string())}), QUARANTINE_SCHEMA.empty_table()
    form, mapping = layout.users
    seen, tables, bad = SeenIds(mapping.user_id), [_table(_nobody(mapping), mapping)], []
    for piece in read_file(layout.folder, form, mapping.wanted):
        records, wrong = _check(piece, mapping)
        keep, repeated = seen.new([key or "" for key in read_texts(records, mapping.user_id)], records.rows.tolist())
        tables.append(_table(kept_records(records, keep), mapping))
        bad += [*piece.bad, *wrong, *repeated]
    return pa.concat_tables(tables).combine_chunks(), quarantine(bad, form.file)


def _check(records: Records, mapping: UsersFile) -> tuple[Records, list[BadRow]]:
    reasons: dict[int, str] = {}
    for name in mapping.numbers:
        numbers, wrong = read_numbers(records, name)
        _refuse(reasons, records, name, wrong, "is not a finite number")
        _refuse(reasons, records, name, np.abs(numbers) >= WIDEST, "is too large")
    for name in mapping.years:
        _refuse(reasons, records, name, np.isinf(_years(records.columns[name])), "is not a date")
    reasons |= {
        place: f"empty {mapping.user_id}"
        for place, key in enumerate(read_texts(records, mapping.user_id))
        if key is None
    }
    keep: BoolVector = np.ones(len(records.rows), bool)
    keep[list(reasons)] = False
    return kept_records(records, keep), [(int(records.rows[place]), reason) for place, reason in reasons.items()]


def _refuse(reasons: dict[int, str], records: Records, name: str, wrong: BoolVector, problem: str) -> None:
    for place in np.flatnonzero(wrong).tolist():
        reasons.setdefault(place, f"{name} {problem}: {shorten(records.columns[name][place].as_py())}")


def _table(records: Records, mapping: UsersFile) -> pa.Table:
    whole = {name: np.floor(read_numbers(records, name)[0]) for name in mapping.numbers}
    whole |= {name: _years(records.columns[name]) for name in mapping.years}
    columns = {USER_ID: pa.array(read_texts(records, mapping.user_id), pa.string())}
    columns |= {name: pa.array(values, from_pandas=True).cast(pa.int64()) for name, values in whole.items()}
    columns |= {name: pa.array(read_texts(records, name), pa.string()) for name in mapping.attributes}
    return pa.table(columns)


def _nobody(mapping: UsersFile) -> Records:
    return Records({name: pa.array([], pa.string()) for name in mapping.wanted}, np.empty(0, np.int64), 0)


def _years(array: pa.Array) -> np.ndarray:
    """The year of each date as float64, NaN where empty, infinity where there is no date."""
    if pa.types.is_temporal(array.type):
        return as_numbers(pc.year(array))
    cells = ((cell or "").strip() for cell in array.cast(pa.string()).to_pylist())
    found = (np.nan if not cell else float(year[1]) if (year := _YEAR.fullmatch(cell)) else np.inf for cell in cells)
    return np.fromiter(found, np.float64, len(array))
