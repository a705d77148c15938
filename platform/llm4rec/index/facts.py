"""What the catalogue says of each item, in the form that passages and filters need."""

import math
import re

import numpy as np
import pyarrow as pa

from llm4rec.schema import CATEGORIES, NUMBERS, TITLE, FloatVector

YEAR, PRICE = "year", "price"
TITLE_LIMIT = 120
LAST_YEAR = 9999
LARGEST = float(np.finfo(np.float32).max)
_YEAR_IN_TITLE = re.compile(r"\((1[89]\d\d|20\d\d)\)\s*$")


def item_years(items: pa.Table) -> FloatVector:
    """Year of each item, shape (I,): the number called "year", else a "(1979)" that ends the title, else NaN.

    A number that is no year, below 0 or above 9999, is none.
    """
    years = np.full(items.num_rows, np.nan, np.float32)
    for code, (numbers, title) in enumerate(zip(_column(items, NUMBERS), _column(items, TITLE), strict=True)):
        # `dict` reads a row of a struct column (a dict) and of a map column (a list of pairs) alike.
        year = dict(numbers or ()).get(YEAR)
        if year is not None and 0 <= year <= LAST_YEAR:
            years[code] = year
        elif found := _YEAR_IN_TITLE.search(title or ""):
            years[code] = int(found[1])
    return years


def item_prices(items: pa.Table) -> FloatVector:
    """What each item is sold for, shape (I,): the number called "price", NaN where there is none that float32 holds."""
    prices = [dict(numbers or ()).get(PRICE) for numbers in _column(items, NUMBERS)]
    known = [price is not None and abs(price) <= LARGEST for price in prices]
    return np.array([price if fits else np.nan for price, fits in zip(prices, known, strict=True)], np.float32)


def item_categories(items: pa.Table) -> list[tuple[str, ...]]:
    """Categories of each item, in the catalogue's order."""
    return [tuple(categories or ()) for categories in _column(items, CATEGORIES)]


def display_titles(items: pa.Table) -> list[str]:
    """Titles as a reader should see them: with the year in brackets where it is known, at most `TITLE_LIMIT` long."""
    titles = [_shortened(title or "") for title in _column(items, TITLE)]
    return [_with_year(title, year) for title, year in zip(titles, item_years(items), strict=True)]


def _shortened(title: str) -> str:
    longest = TITLE_LIMIT - len(" (1979)")
    return title if len(title) <= longest else title[: longest - 3].rstrip() + "..."


def _with_year(title: str, year: float) -> str:
    if math.isnan(year) or _YEAR_IN_TITLE.search(title):
        return title
    return f"{title} ({int(year)})"


def _column(items: pa.Table, name: str) -> list:
    return items[name].to_pylist() if name in items.column_names else [None] * items.num_rows
