"""Reads the catalogue and the users: one row an id, the rest to the quarantine."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llm4rec.preprocess.config import ItemsFile, SourceConfig, UsersFile
from llm4rec.preprocess.folder import Folder
from llm4rec.preprocess.log import QUARANTINE_SCHEMA, as_numbers, as_text, quarantine
from llm4rec.preprocess.records import BadRow, FileForm, Records, read_delimited, read_jsonl, read_row_groups, shorten
from llm4rec.preprocess.sources import Layout, find_layout
from llm4rec.preprocess.titles import display_title, split_year
from llm4rec.schema import AUDIO, CATEGORIES, IMAGE, ITEM_ID, NUMBERS, TEXT, TITLE, USER_ID

YEAR = "year"
# ML-100K and its RecBole copy spell one missing title, year and genre like this.
_MISSING_WORDS = frozenset({"", "unknown", "unkonwn", "(no genres listed)"})


@dataclass(frozen=True)
class Catalogue:
    """What is known of items and users before any interaction is looked at.

    Attributes:
        items: item_id, title, text, categories, numbers (a struct of float64; type null where the source has no
            numbers), image, audio; file order, ids unique. Empty without a catalogue file.
        users: user_id and attributes; file order, ids unique. Empty without a users file.
        quarantine: refused rows of both files.
    """

    items: pa.Table
    users: pa.Table
    quarantine: pa.Table


def read_catalogue(source: SourceConfig) -> Catalogue:
    """Read items and users.

    Raises:
        DataError: as `find_layout`, or a column has a type that cannot hold what it is mapped to.
    """
    layout = find_layout(source)
    items, bad_items = _read_items(layout)
    users, bad_users = _read_users(layout)
    return Catalogue(items, users, pa.concat_tables([QUARANTINE_SCHEMA.empty_table(), bad_items, bad_users]))


def item_table(columns: dict[str, Any], numbers: pa.Array) -> pa.Table:
    """Items as the corpus holds them; columns that are not given are null. The title falls back to the id."""
    ids = pa.array(columns[ITEM_ID], pa.string())
    count = len(ids)
    titles = columns.get(TITLE) or [None] * count
    return pa.table(
        {
            ITEM_ID: ids,
            TITLE: pa.array([title or key for title, key in zip(titles, columns[ITEM_ID], strict=True)], pa.string()),
            TEXT: pa.array(columns.get(TEXT) or [None] * count, pa.string()),
            CATEGORIES: pa.array(columns.get(CATEGORIES) or [[]] * count, pa.list_(pa.string())),
            NUMBERS: numbers,
            IMAGE: columns.get(IMAGE, pa.nulls(count, pa.string())),
            AUDIO: columns.get(AUDIO, pa.nulls(count, pa.string())),
        }
    )


def _read_items(layout: Layout) -> tuple[pa.Table, pa.Table]:
    if layout.items is None:
        return item_table({ITEM_ID: []}, pa.nulls(0)), QUARANTINE_SCHEMA.empty_table()
    form, mapping = layout.items
    wanted = [mapping.item_id, mapping.title, mapping.text, mapping.categories, *mapping.numbers, mapping.image]
    wanted += [mapping.audio, layout.year, *layout.flags]
    records = _read_whole(layout.folder, form, _distinct(wanted), mapping.separator)
    numbers = {name: as_numbers(records.columns[name]) for name in mapping.numbers}
    records, keep, bad = _refuse(records, mapping.item_id, numbers)
    columns: dict[str, Any] = {
        ITEM_ID: _texts(records, mapping.item_id),
        TITLE: _texts(records, mapping.title),
        TEXT: _texts(records, mapping.text),
        CATEGORIES: _categories(records, mapping, layout.flags),
        IMAGE: _media(records, mapping.image),
        AUDIO: _media(records, mapping.audio),
    }
    kept = {name: pa.array(values[keep], from_pandas=True) for name, values in numbers.items()}
    if layout.movies:
        columns[TITLE], kept[YEAR] = _movie_titles(columns[TITLE], _texts(records, layout.year))
    struct = pa.StructArray.from_arrays(list(kept.values()), names=list(kept)) if kept else pa.nulls(keep.sum())
    return item_table(columns, struct), quarantine(bad, form.file)


def _read_users(layout: Layout) -> tuple[pa.Table, pa.Table]:
    if layout.users is None:
        return pa.table({USER_ID: pa.array([], pa.string())}), QUARANTINE_SCHEMA.empty_table()
    form, mapping = layout.users
    wanted = [mapping.user_id, *mapping.attributes, *mapping.numbers]
    records = _read_whole(layout.folder, form, _distinct(wanted), "|")
    numbers = {name: as_numbers(records.columns[name]) for name in mapping.numbers}
    records, keep, bad = _refuse(records, mapping.user_id, numbers)
    columns = {USER_ID: pa.array(_texts(records, mapping.user_id), pa.string())}
    columns |= _user_columns(records, mapping, {name: values[keep] for name, values in numbers.items()})
    return pa.table(columns), quarantine(bad, form.file)


def _user_columns(records: Records, mapping: UsersFile, numbers: dict[str, np.ndarray]) -> dict[str, pa.Array]:
    whole = {name: pa.array(np.floor(values), from_pandas=True).cast(pa.int64()) for name, values in numbers.items()}
    return whole | {name: pa.array(_texts(records, name), pa.string()) for name in mapping.attributes}


def _read_whole(folder: Folder, form: FileForm, wanted: list[str], separator: str) -> Records:
    if form.kind == "parquet":
        with folder.open(form.file) as stream:
            groups = pq.read_metadata(stream).num_row_groups
        records = read_row_groups(folder, form.file, range(groups), wanted)
        return Records(
            {name: _joined(column, separator) for name, column in records.columns.items()},
            records.rows,
            records.num_rows,
        )
    data = folder.read(form.file)
    if form.kind == "jsonl":
        return read_jsonl(data, wanted, separator)
    return read_delimited(data, form, wanted, header=form.header, multiline=True)


def _joined(column: pa.Array, separator: str) -> pa.Array:
    """List columns as text, so that every file kind gives categories the same way."""
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        return column
    parts = column.to_pylist()
    return pa.array([None if part is None else separator.join(map(str, part)) for part in parts], pa.string())


def _refuse(
    records: Records, id_column: str, numbers: dict[str, np.ndarray]
) -> tuple[Records, np.ndarray, list[BadRow]]:
    """Drop rows without an id, with an id seen before, or with a number that is none."""
    bad = list(records.bad)
    keep = np.zeros(len(records.rows), bool)
    seen: dict[str, int] = {}
    texts = {name: records.columns[name].to_pylist() for name in numbers}
    for place, (row, key) in enumerate(zip(records.rows.tolist(), _texts(records, id_column), strict=True)):
        wrong = [name for name, cells in texts.items() if _wrong_number(cells[place], numbers[name][place])]
        if key is None:
            bad.append((row, f"empty {id_column}"))
        elif key in seen:
            bad.append((row, f"{id_column} {shorten(key)} was already in row {seen[key]}"))
        elif wrong:
            bad.append((row, f"{wrong[0]} is not a finite number: {shorten(texts[wrong[0]][place])}"))
        else:
            keep[place] = True
            seen[key] = row
    columns = {name: column.filter(pa.array(keep)) for name, column in records.columns.items()}
    return Records(columns, records.rows[keep], records.num_rows), keep, bad


def _wrong_number(cell: Any, number: float) -> bool:
    # Parquet files say NaN where a number is missing; NaN is the one value unlike itself.
    is_missing = cell is None or cell != cell or (isinstance(cell, str) and cell.strip() in _MISSING_WORDS)
    return not is_missing and not np.isfinite(number)


def _texts(records: Records, column: str | None) -> list[str | None]:
    """A column's cells, trimmed, None where empty."""
    if column is None:
        return [None] * len(records.rows)
    cells = as_text(records.columns[column], column).to_pylist()
    return [cell.strip() or None if cell is not None else None for cell in cells]


def _media(records: Records, column: str | None) -> pa.Array:
    if column is None:
        return pa.nulls(len(records.rows), pa.string())
    array = records.columns[column]
    is_bytes = pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)
    return array.cast(pa.binary()) if is_bytes else pa.array(_texts(records, column), pa.string())


def _categories(records: Records, mapping: ItemsFile, flags: tuple[str, ...]) -> list[list[str]]:
    if flags:
        cells = zip(*(records.columns[name].to_pylist() for name in flags), strict=True)
        return [[name for name, flag in zip(flags, row, strict=True) if flag == "1"] for row in cells]
    found = [(cell or "").split(mapping.separator) for cell in _texts(records, mapping.categories)]
    return [[part.strip() for part in parts if part.strip() not in _MISSING_WORDS] for parts in found]


def _movie_titles(titles: list[str | None], years: list[str | None]) -> tuple[list[str | None], pa.DoubleArray]:
    shown: list[str | None] = []
    numbers: list[float | None] = []
    for title, released in zip(titles, years, strict=True):
        name, year = split_year(title or "")
        if year is None and released is not None and released.isdecimal():
            year = int(released)
        shown.append(None if name in _MISSING_WORDS else display_title(name, year))
        numbers.append(None if year is None else float(year))
    return shown, pa.array(numbers, pa.float64())


def _distinct(names: Sequence[str | None]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name is not None]
