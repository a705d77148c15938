"""Columns of records as catalogues need them: texts, numbers, categories and media, without their dirt."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from llm4rec.preprocess.clean import MISSING_NAMES, clean_text, is_missing_number, parse_price
from llm4rec.preprocess.config import ItemsFile
from llm4rec.preprocess.log import as_numbers, as_text
from llm4rec.preprocess.records import Records
from llm4rec.schema import BoolVector


def read_texts(records: Records, column: str | None, separator: str = "|") -> list[str | None]:
    """Cells, trimmed, lists joined with `separator`; None where empty, or where there is no column.

    Raises:
        DataError: the column holds neither text, whole numbers nor lists.
    """
    if column is None:
        return [None] * len(records.rows)
    array = records.columns[column]
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
        parts = array.to_pylist()
        cells = [
            None if part is None else separator.join(str(cell) for cell in part if cell is not None) for part in parts
        ]
    else:
        cells = as_text(array, column).to_pylist()
    return [cell.strip() or None if cell is not None else None for cell in cells]


def read_clean(records: Records, column: str | None, separator: str = "|") -> list[str | None]:
    """As `read_texts`, without HTML."""
    cells = read_texts(records, column, separator)
    return [None if cell is None else clean_text(cell) or None for cell in cells]


def read_numbers(records: Records, column: str, missing: Sequence[str] = ()) -> tuple[np.ndarray, BoolVector]:
    """Cells as float64 of shape (N,), NaN where missing; and a mask of those that hold no finite number.

    Args:
        records: N records.
        column: which column.
        missing: cells that stand for a missing number, as text.
    """
    array = records.columns[column]
    values = np.array(as_numbers(array))
    wrong = ~np.isfinite(values)
    for place, cell in zip(np.flatnonzero(wrong).tolist(), array.filter(pa.array(wrong)).to_pylist(), strict=True):
        # Parquet files say NaN where a number is missing; NaN is the one value unlike itself.
        if cell is None or cell != cell or str(cell).strip() in missing or is_missing_number(str(cell)):
            wrong[place], values[place] = False, np.nan
        elif isinstance(cell, str) and (price := parse_price(cell)) is not None:
            wrong[place], values[place] = False, price
    numbers_that_mean_missing = as_numbers(pa.array(list(missing), pa.string()))
    values[np.isin(values, numbers_that_mean_missing)] = np.nan
    return values, wrong


def read_categories(records: Records, mapping: ItemsFile) -> list[list[str]]:
    """The categories of each record, over all columns, each once."""
    columns = [read_texts(records, name, mapping.separator) for name in mapping.categories]
    found = []
    for cells in zip(*columns, strict=True) if columns else [()] * len(records.rows):
        parts = (clean_text(part) for cell in cells if cell for part in cell.split(mapping.separator))
        found.append(list(dict.fromkeys(part for part in parts if part not in MISSING_NAMES)))
    return found


def read_flags(records: Records, flags: Sequence[str]) -> list[list[str]]:
    """The names of the columns that hold 1, for each record."""
    rows = zip(*(records.columns[name].to_pylist() for name in flags), strict=True)
    return [[name for name, flag in zip(flags, row, strict=True) if flag == "1"] for row in rows]


def read_media(records: Records, column: str | None) -> pa.Array:
    """References to media: paths or URLs as text, or bytes."""
    if column is None:
        return pa.nulls(len(records.rows), pa.string())
    array = records.columns[column]
    is_bytes = pa.types.is_binary(array.type) or pa.types.is_large_binary(array.type)
    return array.cast(pa.binary()) if is_bytes else pa.array(read_texts(records, column), pa.string())
