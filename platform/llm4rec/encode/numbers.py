"""Numbers as vectors."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from llm4rec.schema import NUMBERS, FloatMatrix, Modality

# Prices and counts have long tails: beyond this many inter-quartile ranges only the side matters.
_LIMIT = 5.0


@dataclass(frozen=True)
class NumberScales:
    """Median and inter-quartile range of each number of a catalogue, in the order of the `numbers` struct.

    Attributes:
        medians: shape (numbers,).
        ranges: shape (numbers,), 1 where the inter-quartile range is 0.
    """

    medians: np.ndarray
    ranges: np.ndarray

    @classmethod
    def fit(cls, parts: Iterable[pa.Table]) -> Self | None:
        """The scales of a catalogue, over the items that have each number; None where no item has any."""
        found = [_values(part) for part in parts]
        values = np.concatenate([part for part in found if part.shape[1]] or [np.zeros((0, 0))])
        if not np.isfinite(values).any():
            return None
        known = [column[np.isfinite(column)] for column in values.T]
        low, medians, high = np.stack(
            [np.percentile(column, [25, 50, 75]) if len(column) else np.zeros(3) for column in known], axis=1
        )
        return cls(medians, np.where(high > low, high - low, 1.0))

    def encode(self, items: pa.Table) -> Modality:
        """Robustly scaled numbers and, behind them, one flag a number that says it is missing.

        A number x becomes (x - median) / IQR, cut at +-5; with an IQR of 0 it is only centred. A missing number is 0
        with flag 1.

        Returns:
            Aligned to the rows of `items`, D = 2 x numbers; items without any number are absent.
        """
        values = _values(items)
        if not values.shape[1]:  # a part whose items have no number at all
            values = np.full((items.num_rows, len(self.medians)), np.nan)
        missing = ~np.isfinite(values)
        present = ~missing.all(axis=1)
        scaled = np.clip((np.where(missing, self.medians, values) - self.medians) / self.ranges, -_LIMIT, _LIMIT)
        vectors: FloatMatrix = np.concatenate([scaled, missing], axis=1).astype(np.float32)
        vectors[~present] = 0
        return Modality(vectors, present)


def encode_numbers(items: pa.Table) -> Modality | None:
    """The numbers of a whole catalogue, None where no item has any."""
    scales = NumberScales.fit([items])
    return None if scales is None else scales.encode(items)


def _values(items: pa.Table) -> np.ndarray:
    """Shape (items, numbers), NaN where one is missing."""
    column = items[NUMBERS].combine_chunks()
    if not pa.types.is_struct(column.type):
        return np.zeros((items.num_rows, 0))
    # `flatten` carries the nulls of a whole struct into its fields.
    fields = [field.cast(pa.float64()).to_numpy(zero_copy_only=False) for field in column.flatten()]
    return np.stack(fields, axis=1) if fields else np.zeros((items.num_rows, 0))
