"""From histories and user attributes to the integer arrays the network reads.

Shapes: B users, L history, A attributes.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeGuard

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from llm4rec.errors import ConfigError
from llm4rec.schema import USER_ID, Corpus, FloatVector, History, IntVector, LongVector

IntMatrix = npt.NDArray[np.int64]

NUM_GAPS = 32
MAX_NUMERIC_BINS = 8
PADDING = -1
MISSING = 0
"""Code of an attribute whose value is missing or was never seen."""


@dataclass(frozen=True)
class AttributeCodec:
    """Turns user attributes into small codes; 0 stands for missing or never seen.

    Attributes:
        vocabularies: by attribute, the known values in code order (from 1).
        edges: by numeric attribute, the bin edges; bins are coded from 1.
    """

    vocabularies: dict[str, list[str]]
    edges: dict[str, list[float]]

    @classmethod
    def fit(cls, users: pa.Table) -> "AttributeCodec":
        """Learn values and bins from the corpus's users table."""
        vocabularies: dict[str, list[str]] = {}
        edges: dict[str, list[float]] = {}
        for name in users.column_names:
            if name == USER_ID:
                continue
            column = users[name].drop_null()
            if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
                quantiles = np.linspace(0, 1, MAX_NUMERIC_BINS + 1)[1:-1]
                edges[name] = (
                    sorted({float(edge) for edge in np.quantile(column.to_numpy(), quantiles)}) if len(column) else []
                )
            else:
                vocabularies[name] = sorted({str(value) for value in column.to_pylist()})
        return cls(vocabularies, edges)

    @property
    def sizes(self) -> list[int]:
        """The number of codes of each attribute, in the order of `names`."""
        return [self._size(name) for name in self.names]

    @property
    def names(self) -> list[str]:
        """The attributes, sorted."""
        return sorted({*self.vocabularies, *self.edges})

    def places(self, names: Sequence[str], setting: str) -> list[int]:
        """Where attributes stand among `names`.

        Raises:
            ConfigError: one of them is no user attribute.
        """
        if unknown := sorted(set(names) - set(self.names)):
            raise ConfigError(
                f"{setting}: no user attribute {', '.join(map(repr, unknown))}; "
                f"the corpus has {', '.join(self.names) or 'none'}"
            )
        return [self.names.index(name) for name in names]

    def encode(self, attributes: Mapping[str, object]) -> list[int]:
        """The codes of one user's attributes, in the order of `names`."""
        return [self._code(name, attributes.get(name)) for name in self.names]

    def encode_table(self, users: pa.Table) -> IntMatrix:
        """The codes of a whole users table, shape (U, A)."""
        rows = users.select([name for name in self.names if name in users.column_names]).to_pylist()
        return np.asarray([self.encode(row) for row in rows], np.int64).reshape(users.num_rows, len(self.names))

    def _size(self, name: str) -> int:
        return len(self.vocabularies[name]) + 1 if name in self.vocabularies else len(self.edges[name]) + 2

    def _code(self, name: str, value: object) -> int:
        if value is None:
            return 0
        if name in self.edges:
            bin_code = np.searchsorted(self.edges[name], value, side="right") if _is_number(value) else PADDING
            return 1 + int(bin_code)
        known = self.vocabularies[name]  # in order
        place = bisect_left(known, str(value))
        return place + 1 if known[place : place + 1] == [str(value)] else 0


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class HistoryCodec:
    """Turns a history into arrays: item codes, events, value bins and time gaps.

    Attributes:
        num_events: how many event codes there are.
        value_edges: bin edges of interaction values.
        history_length: how many of the newest interactions are kept.
    """

    num_events: int
    value_edges: list[float]
    history_length: int

    @classmethod
    def fit(cls, corpus: Corpus, values: FloatVector, history_length: int) -> "HistoryCodec":
        """Learn value bins from training interactions."""
        inner = np.linspace(0, 1, MAX_NUMERIC_BINS + 1)[1:-1]
        quantiles = np.quantile(values, inner).tolist() if len(values) else []
        return cls(len(corpus.events), sorted({float(edge) for edge in quantiles}), history_length)

    @property
    def num_values(self) -> int:
        """The number of value bins."""
        return len(self.value_edges) + 1

    def encode(self, histories: Sequence[History]) -> "HistoryBatch":
        """Arrays of the newest interactions, left-aligned, shape (B, L) with L the longest of them (at least 1)."""
        kept = [history.last(self.history_length) for history in histories]
        length = max([1, *(len(history) for history in kept)])
        item = np.full((len(kept), length), PADDING, np.int64)
        event, value, gap = (np.zeros((len(kept), length), np.int64) for _ in range(3))
        for row, history in enumerate(kept):
            count = len(history)
            item[row, :count] = history.item
            event[row, :count] = history.event
            value[row, :count] = np.searchsorted(self.value_edges, history.value, side="right")
            gap[row, :count] = time_gaps(history.timestamp)
        return HistoryBatch(item, event, value, gap)


@dataclass(frozen=True)
class HistoryBatch:
    """Arrays of shape (B, L); `item` is PADDING after a history's end."""

    item: IntMatrix
    event: IntMatrix
    value: IntMatrix
    gap: IntMatrix

    def rows(self, rows: IntVector | LongVector | slice) -> "HistoryBatch":
        """The chosen rows."""
        return HistoryBatch(self.item[rows], self.event[rows], self.value[rows], self.gap[rows])


def time_gaps(timestamps: npt.NDArray[np.int64]) -> IntMatrix:
    """For each interaction the time since the one before it, in bins of 1 + log2(1 + seconds); 0 for the first."""
    gaps = np.zeros(len(timestamps), np.int64)
    seconds = np.maximum(np.diff(timestamps), 0)
    gaps[1:] = np.minimum(1 + np.log2(1 + seconds).astype(np.int64), NUM_GAPS - 1)
    return gaps
