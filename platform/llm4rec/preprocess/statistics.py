"""What the corpus report shows, made of sums: parts are measured anywhere, added up, and summarised at the end.

Nothing here grows with the corpus but the number of months it spans.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.config import StrictModel
from llm4rec.schema import (
    AUDIO,
    CATEGORIES,
    IMAGE,
    ITEM_ID,
    NUMBERS,
    TEXT,
    TITLE,
    BoolVector,
    FloatVector,
    IntVector,
    LongVector,
)

LENGTH_EDGES = tuple(sorted({round(10 ** (step / 6)) for step in range(43)}))
"""Lower edges of the bins of history lengths: 1, 2, 3, 5, 7, 10, 15, 22, 32, 46, 68, 100, ... to ten million."""
FIELDS = (TITLE, TEXT, CATEGORIES, NUMBERS, IMAGE, AUDIO)
SIGNIFICANT_DIGITS = 3
# What a message quotes, whole or cut short, and the numbers in it differ from row to row; the rest is its kind.
_QUOTED = r"""(^|[\s(\[,=])(?:'(?:[^'\\]|\\.)*(?:'|$)|"(?:[^"\\]|\\.)*(?:"|$))(?:\.\.\.)?"""
_KIND_LENGTH = 100


class PartStatistics(StrictModel):
    """Statistics of a part of a corpus; plain values, so that any process can hand them on.

    `+` adds parts. However the corpus is cut, if only between users, the sum is that of the whole.
    """

    interactions: int = 0
    users: int = 0
    lengths: tuple[int, ...] = (0,) * len(LENGTH_EDGES)
    """Users by the bin of their history length."""
    longest: int = 0
    """Length of the longest history."""
    months: dict[str, int] = {}
    """Interactions by month, such as 1997-09."""
    values: dict[str, int] = {}
    """Interactions by value, rounded to three digits."""
    events: dict[str, int] = {}
    """Interactions by event."""
    items: int = 0
    coverage: dict[str, int] = {}
    """Items that have each field."""
    quarantine: dict[str, dict[str, int]] = {}
    """Refused rows by source and kind of reason."""

    def __add__(self, other: "PartStatistics") -> "PartStatistics":
        """Both parts together."""
        sources = sorted({*self.quarantine, *other.quarantine})
        return PartStatistics(
            interactions=self.interactions + other.interactions,
            users=self.users + other.users,
            lengths=tuple(a + b for a, b in zip(self.lengths, other.lengths, strict=True)),
            longest=max(self.longest, other.longest),
            months=_sum(self.months, other.months),
            values=_sum(self.values, other.values),
            events=_sum(self.events, other.events),
            items=self.items + other.items,
            coverage=_sum(self.coverage, other.coverage),
            quarantine={s: _sum(self.quarantine.get(s, {}), other.quarantine.get(s, {})) for s in sources},
        )

    @classmethod
    def of_interactions(
        cls, lengths: IntVector, timestamps: LongVector | None, values: FloatVector, events: pa.ChunkedArray
    ) -> "PartStatistics":
        """Measure interactions.

        Args:
            lengths: interactions of each user of this part, none of whom is in another part.
            timestamps: seconds, shape (N,); None where the source has no times.
            values: shape (N,).
            events: names, shape (N,).
        """
        bins = np.searchsorted(LENGTH_EDGES, lengths[lengths > 0], side="right") - 1
        return cls(
            interactions=len(values),
            users=len(lengths),
            lengths=tuple(np.bincount(bins, minlength=len(LENGTH_EDGES)).tolist()),
            longest=int(lengths.max(initial=0)),
            months={} if timestamps is None else _months(timestamps),
            values=_rounded(values),
            events=_counted(events),
        )

    @classmethod
    def of_items(cls, items: pa.Table) -> "PartStatistics":
        """Measure which fields items have."""
        known = [name for name in FIELDS if name in items.column_names]
        return cls(items=items.num_rows, coverage={name: int(_has(items, name).sum()) for name in known})

    @classmethod
    def of_quarantine(cls, quarantine: pa.Table) -> "PartStatistics":
        """Measure refused rows: columns `source` and `reason`."""
        kinds = pc.replace_substring_regex(quarantine["reason"], _QUOTED, r"\1…")
        kinds = pc.utf8_slice_codeunits(pc.replace_substring_regex(kinds, r"\d+", "N"), 0, _KIND_LENGTH)
        table = pa.table({"source": quarantine["source"], "reason": kinds})
        found: dict[str, dict[str, int]] = {}
        for row in table.group_by(["source", "reason"]).aggregate([([], "count_all")]).to_pylist():
            found.setdefault(row["source"], {})[row["reason"]] = row["count_all"]
        return cls(quarantine={source: dict(sorted(found[source].items())) for source in sorted(found)})


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    total = Counter(one)
    total.update(other)
    return {name: total[name] for name in sorted(total)}


def _months(timestamps: LongVector) -> dict[str, int]:
    months, counts = np.unique(timestamps.astype("datetime64[s]").astype("datetime64[M]"), return_counts=True)
    return dict(zip(months.astype(str).tolist(), counts.tolist(), strict=True))


def _counted(names: pa.ChunkedArray) -> dict[str, int]:
    counts = pc.value_counts(names).to_pylist()
    return {row["values"]: row["counts"] for row in sorted(counts, key=lambda row: row["values"])}


def _rounded(values: FloatVector) -> dict[str, int]:
    """Interactions by value, as text: v = m 10^e, m a whole number of `SIGNIFICANT_DIGITS` digits."""
    distinct, counts = np.unique(values, return_counts=True)
    exact = distinct.astype(np.float64)
    size = np.abs(np.where(exact == 0, 1.0, exact))
    exponent = np.floor(np.log10(size)).astype(np.int64) - (SIGNIFICANT_DIGITS - 1)
    mantissa = np.rint(exact / 10.0**exponent).astype(np.int64)
    total: Counter[str] = Counter()
    for m, e, count in zip(mantissa.tolist(), exponent.tolist(), counts.tolist(), strict=True):
        total[str(float(f"{m}e{e}"))] += count  # 1000e-2 is 100e-1
    return {name: total[name] for name in sorted(total)}


def _has(items: pa.Table, name: str) -> BoolVector:
    column = items[name].combine_chunks()
    known = column.is_valid()
    if name == TITLE:  # where the source has none, the id stands for it
        known = pc.and_(known, pc.not_equal(column, items[ITEM_ID].combine_chunks()))
    elif pa.types.is_struct(column.type):
        fields = [field.is_valid() for field in column.flatten()]
        known = pc.and_(known, _any(fields)) if fields else pc.and_(known, False)
    elif not pa.types.is_null(column.type):
        is_list = pa.types.is_list(column.type)
        sizes = pc.list_value_length(column) if is_list else pc.binary_length(column)
        known = pc.greater(sizes, 0)
    has_it: BoolVector = pc.fill_null(known, False).to_numpy(zero_copy_only=False)
    return has_it


def _any(masks: list[pa.Array]) -> pa.Array:
    found = masks[0]
    for mask in masks[1:]:
        found = pc.or_(found, mask)
    return found
