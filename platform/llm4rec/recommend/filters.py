"""Structured constraints of a request, and the items that meet them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Self

import numpy as np
from pydantic import Field, NonNegativeFloat, model_validator

from llm4rec.config import StrictModel
from llm4rec.schema import BoolVector, FloatVector, IntVector

ItemsOf = Mapping[str, IntVector]
"""The codes of the items of each category, which is in lower case."""


class Filters(StrictModel):
    """What every item of a slate must meet. Categories may be written in upper or lower case."""

    categories: tuple[str, ...] = ()
    """At least one of these; empty for any."""

    all_categories: tuple[str, ...] = ()
    """All of these."""

    no_categories: tuple[str, ...] = ()
    """None of these."""

    year_min: int | None = Field(default=None, ge=0, le=9999)
    """First year allowed."""

    year_max: int | None = Field(default=None, ge=0, le=9999)
    """Last year allowed."""

    price_min: NonNegativeFloat | None = None
    """Lowest price allowed, in whatever currency the catalogue has."""

    price_max: NonNegativeFloat | None = None
    """Highest price allowed."""

    @model_validator(mode="after")
    def _bounds_in_order(self) -> Self:
        for name in ("year", "price"):
            low, high = getattr(self, f"{name}_min"), getattr(self, f"{name}_max")
            if low is not None and high is not None and low > high:
                raise ValueError(f"{name}_min {low:.15g} is above {name}_max {high:.15g}")
        return self

    def mask(self, items_of: ItemsOf, years: FloatVector, prices: FloatVector) -> BoolVector:
        """Which items meet the filters, shape (I,).

        Args:
            items_of: the items of each category.
            years: the year of each item, NaN where unknown; such items meet no bound on the year.
            prices: the price of each item, likewise.
        """
        allowed = np.ones(len(years), np.bool_)
        wanted = [self.categories] if self.categories else []
        for any_of in [*wanted, *((category,) for category in self.all_categories)]:
            allowed &= _has(any_of, items_of, len(years))
        allowed &= ~_has(self.no_categories, items_of, len(years))
        for values, low, high in ((years, self.year_min, self.year_max), (prices, self.price_min, self.price_max)):
            if low is not None:
                allowed &= values >= low
            if high is not None:
                allowed &= values <= high
        return allowed

    def describe(self) -> str:
        """The filters in words."""
        parts = []
        if self.categories:
            parts.append(f"category {' or '.join(self.categories)}")
        if self.all_categories:
            parts.append(f"category {' and '.join(self.all_categories)}")
        if self.no_categories:
            parts.append(f"not in category {' or '.join(self.no_categories)}")
        if self.year_min is not None:
            parts.append(f"year {self.year_min} or later")
        if self.year_max is not None:
            parts.append(f"year {self.year_max} or earlier")
        if self.price_min is not None:
            parts.append(f"price {self.price_min:.15g} or more")
        if self.price_max is not None:
            parts.append(f"price {self.price_max:.15g} or less")
        return ", ".join(parts) or "no filter"

    def __bool__(self) -> bool:
        return self != Filters()


def items_by_category(categories: Sequence[Sequence[str]]) -> ItemsOf:
    """The items of each category, from the categories of each item."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for item, own in enumerate(categories):
        for category in own:
            found[category.casefold()].append(item)
    return {category: np.array(items, np.int32) for category, items in found.items()}


def _has(any_of: Sequence[str], items_of: ItemsOf, num_items: int) -> BoolVector:
    """Which items have at least one of these categories."""
    has = np.zeros(num_items, np.bool_)
    for category in any_of:
        has[items_of.get(category.casefold(), [])] = True
    return has
