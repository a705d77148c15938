"""Records of the catalogue into items."""

from typing import Any

import numpy as np
import pyarrow as pa

from llm4rec.preprocess.cells import read_categories, read_clean, read_flags, read_media, read_numbers, read_texts
from llm4rec.preprocess.clean import MISSING_NAMES, clean_text
from llm4rec.preprocess.config import ItemsFile
from llm4rec.preprocess.log import ORDER
from llm4rec.preprocess.records import BadRow, Records, shorten
from llm4rec.preprocess.sources.amazon import main_image
from llm4rec.preprocess.sources.layout import CatalogueFile, Layout
from llm4rec.preprocess.sources.yelp import PRICE_RANGE, describe, price_range, read_attributes
from llm4rec.preprocess.titles import display_title, split_year
from llm4rec.schema import AUDIO, CATEGORIES, IMAGE, ITEM_ID, NUMBERS, TEXT, TITLE, BoolVector

ITEM_COLUMNS = (ITEM_ID, TITLE, TEXT, CATEGORIES, NUMBERS, IMAGE, AUDIO)
YEAR = "year"
# Numbers that a reader finds elsewhere than in columns of numbers.
_FOUND_NUMBERS = {"movies": YEAR, "yelp": PRICE_RANGE}


def number_names(layout: Layout) -> tuple[str, ...]:
    """The numbers of items, in the order of the columns, files and details."""
    names = [name for file in layout.items for name in (*file.mapping.numbers, _FOUND_NUMBERS.get(file.reader))]
    names += [name for file in layout.details if file.kind == "items" for name in file.mapping.numbers]
    return tuple(dict.fromkeys(name for name in names if name))


def wanted_columns(file: CatalogueFile) -> list[str]:
    """The columns of a catalogue file to read, each once."""
    more = [file.year] if file.year else []
    return list(dict.fromkeys([*file.mapping.wanted, *more, *file.flags]))


def parse_items(records: Records, file: CatalogueFile, names: tuple[str, ...]) -> tuple[pa.Table, list[BadRow]]:
    """Make items of records; an id that occurs twice gives two items.

    Args:
        records: with the columns `wanted_columns`.
        file: what they mean.
        names: the numbers that items shall have; null where the file does not have them.

    Returns:
        `ITEM_COLUMNS` and `order`, the row of the record; and the refused rows: without an id, or with a number that is
        none.

    Raises:
        DataError: a column has a type that cannot hold what it is mapped to.
    """
    records, numbers, bad = check_items(records, file.mapping, is_lenient=file.reader == "amazon")
    mapping = file.mapping
    columns: dict[str, Any] = {
        ITEM_ID: read_texts(records, mapping.item_id),
        TITLE: read_clean(records, mapping.title),
        CATEGORIES: read_flags(records, file.flags) if file.flags else read_categories(records, mapping),
        AUDIO: read_media(records, mapping.audio),
    }
    columns[TEXT] = _business_texts(records, mapping) if file.reader == "yelp" else read_joined(records, mapping)
    columns[IMAGE] = _main_images(records, mapping) if file.reader == "amazon" else read_media(records, mapping.image)
    if file.reader == "movies":
        columns[TITLE], numbers[YEAR] = _movie_titles(columns[TITLE], read_texts(records, file.year))
    if file.reader == "yelp":
        cells = read_texts(records, mapping.text[-1])
        numbers[PRICE_RANGE] = np.array([price_range(read_attributes(cell)) for cell in cells], np.float64)
    items = item_table(columns, number_struct(numbers, names, len(records.rows)))
    return items.append_column(ORDER, pa.array(records.rows, pa.int64())), bad


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


def number_struct(numbers: dict[str, np.ndarray], names: tuple[str, ...], count: int) -> pa.Array:
    """One struct a row with the numbers `names`, null where NaN or not given; of type null where there are no names."""
    if not names:
        return pa.nulls(count)
    arrays = [
        pa.array(numbers[name], pa.float64(), from_pandas=True) if name in numbers else pa.nulls(count, pa.float64())
        for name in names
    ]
    return pa.StructArray.from_arrays(arrays, names=list(names))


def check_items(
    records: Records, mapping: ItemsFile, *, is_lenient: bool = False
) -> tuple[Records, dict[str, np.ndarray], list[BadRow]]:
    """The records that have an id and whose numbers are numbers, their numbers, and the refused rows.

    Args:
        records: any.
        mapping: of the id and the numbers.
        is_lenient: whether a number that cannot be read is unknown, instead of a reason to refuse the row.
    """
    reasons: dict[int, str] = {}
    read = {name: read_numbers(records, name, mapping.missing) for name in mapping.numbers}
    for name, (_, wrong) in read.items():
        for place in [] if is_lenient else np.flatnonzero(wrong).tolist():
            cell = records.columns[name][place].as_py()
            reasons.setdefault(place, f"{name} is not a finite number: {shorten(cell)}")
    for place, key in enumerate(read_texts(records, mapping.item_id)):
        if key is None:
            reasons[place] = f"empty {mapping.item_id}"
    keep: BoolVector = np.ones(len(records.rows), bool)
    keep[list(reasons)] = False
    bad = [*records.bad, *((int(records.rows[place]), reason) for place, reason in reasons.items())]
    numbers = {name: np.where(wrong, np.nan, values)[keep] for name, (values, wrong) in read.items()}
    return kept_records(records, keep), numbers, bad


def kept_records(records: Records, keep: BoolVector) -> Records:
    """The records that a mask of shape (N,) leaves."""
    if keep.all():
        return records
    columns = {name: column.filter(pa.array(keep)) for name, column in records.columns.items()}
    return Records(columns, records.rows[keep], records.num_rows)


def read_joined(records: Records, mapping: ItemsFile) -> list[str | None]:
    """The free text of each record, a column a paragraph; None where there is none."""
    columns = [read_clean(records, name, "\n") for name in mapping.text]
    rows = zip(*columns, strict=True) if columns else [()] * len(records.rows)
    return ["\n".join(cell for cell in cells if cell) or None for cells in rows]


def _business_texts(records: Records, mapping: ItemsFile) -> list[str | None]:
    cells = zip(*(read_texts(records, name) for name in mapping.text), strict=True)
    said = (describe(city, state, read_attributes(attributes)) for city, state, attributes in cells)
    return [None if text is None else clean_text(text) or None for text in said]


def _main_images(records: Records, mapping: ItemsFile) -> pa.Array:
    return pa.array([main_image(cell) for cell in read_texts(records, mapping.image, mapping.separator)], pa.string())


def _movie_titles(titles: list[str | None], years: list[str | None]) -> tuple[list[str | None], np.ndarray]:
    shown: list[str | None] = []
    numbers = np.full(len(titles), np.nan)
    for place, (title, released) in enumerate(zip(titles, years, strict=True)):
        name, year = split_year(title or "")
        if year is None and released is not None and released.isdecimal():
            year = int(released)
        shown.append(None if name in MISSING_NAMES else display_title(name, year))
        if year is not None:
            numbers[place] = year
    return shown, numbers
