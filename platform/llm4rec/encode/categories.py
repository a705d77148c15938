"""Categories as vectors."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import pyarrow as pa

from llm4rec.schema import CATEGORIES, Modality


@dataclass(frozen=True)
class CategoryColumns:
    """The categories of a catalogue that have a column, in alphabetical order.

    Attributes:
        names: category of each column.
        num_found: how many different ones the catalogue has.
    """

    names: list[str]
    num_found: int

    @classmethod
    def fit(cls, parts: Iterable[pa.Table], limit: int) -> Self:
        """The `limit` categories that most items have; among equals the alphabetically first."""
        counts: Counter[str] = Counter()
        for part in parts:
            for row in part[CATEGORIES].to_pylist():
                counts.update(set(row or ()))
        kept = sorted(counts, key=lambda name: (-counts[name], name))[:limit]
        return cls(sorted(kept), len(counts))

    def encode(self, items: pa.Table) -> Modality:
        """Multi-hot categories scaled to length 1: with k distinct ones that have a column, 1 / sqrt(k) in each.

        Returns:
            Aligned to the rows of `items`, one column a category; items without any of them are absent.
        """
        places = {name: place for place, name in enumerate(self.names)}
        rows = [sorted({places[name] for name in row or () if name in places}) for row in items[CATEGORIES].to_pylist()]
        vectors = np.zeros((len(rows), len(self.names)), np.float32)
        for vector, row in zip(vectors, rows, strict=True):
            if row:
                vector[row] = 1 / np.sqrt(len(row))
        return Modality(vectors, np.asarray([bool(row) for row in rows], bool))


def encode_categories(items: pa.Table, limit: int = 1000) -> Modality | None:
    """The categories of a whole catalogue, None where no item has any."""
    columns = CategoryColumns.fit([items], limit)
    return columns.encode(items) if columns.names else None
