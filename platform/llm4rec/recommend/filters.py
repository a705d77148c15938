"""Structured constraints of a request, and the items that meet them."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from llm4rec.config import StrictModel
from llm4rec.schema import BoolVector, FloatVector


class Filters(StrictModel):
    """What every item of a slate must meet."""

    categories: tuple[str, ...] = ()
    """At least one of these, written in upper or lower case; empty for any."""

    year_min: int | None = Field(default=None, ge=0, le=9999)
    """First year allowed."""

    year_max: int | None = Field(default=None, ge=0, le=9999)
    """Last year allowed."""

    def mask(self, categories: Sequence[Sequence[str]], years: FloatVector) -> BoolVector:
        """Which items meet the filters, shape (I,).

        Args:
            categories: the categories of each item.
            years: the year of each item, NaN where unknown; such items meet no bound on the year.
        """
        allowed = np.ones(len(years), np.bool_)
        if self.categories:
            wanted = {category.casefold() for category in self.categories}
            allowed &= np.asarray([not wanted.isdisjoint(map(str.casefold, own)) for own in categories], np.bool_)
        if self.year_min is not None:
            allowed &= years >= self.year_min
        if self.year_max is not None:
            allowed &= years <= self.year_max
        return allowed

    def describe(self) -> str:
        """The filters in words."""
        parts = []
        if self.categories:
            parts.append(f"category {' or '.join(self.categories)}")
        if self.year_min is not None:
            parts.append(f"year {self.year_min} or later")
        if self.year_max is not None:
            parts.append(f"year {self.year_max} or earlier")
        return ", ".join(parts) or "no filter"
