"""From the sum of all parts to the few numbers that the corpus report shows."""

from collections.abc import Sequence

import numpy as np

from llm4rec.config import StrictModel
from llm4rec.preprocess.statistics import FIELDS, LENGTH_EDGES, PartStatistics
from llm4rec.schema import IntVector, LongVector

TAIL_POINTS = 200
MAX_PERIODS = 240
MAX_BARS = 30
MAX_EVENTS, MAX_REASONS = 20, 50
OTHERS = "others"


class Bin(StrictModel):
    """How many fall between two bounds, both included; one value where they are equal."""

    low: float
    high: float
    count: int


class TailPoint(StrictModel):
    """The item at a popularity rank: its interactions, and the share of all that it and those before it have."""

    rank: int
    interactions: int
    share: float


class Period(StrictModel):
    """Interactions from a moment, such as 1997-09 or 1997, to the next."""

    start: str
    interactions: int


class Refused(StrictModel):
    """Rows that were refused for one kind of reason."""

    source: str
    reason: str
    rows: int


class CorpusStatistics(StrictModel):
    """What the corpus report shows."""

    interactions: int
    users: int
    items: int
    warm_items: int
    """Items with interactions."""
    long_tail: tuple[TailPoint, ...]
    gini: float
    """Inequality of popularity over the warm items: 0 is equal, 1 - 1/I one item only."""
    history_lengths: tuple[Bin, ...]
    mean_history: float
    longest_history: int
    time: tuple[Period, ...]
    """Empty where the source has no times."""
    values: tuple[Bin, ...]
    events: dict[str, int]
    coverage: dict[str, int]
    """Items that have each field."""
    quarantine: tuple[Refused, ...]
    quarantined: int


def summarise(total: PartStatistics, item_counts: IntVector | LongVector) -> CorpusStatistics:
    """Summarise.

    Args:
        total: the sum of all parts.
        item_counts: interactions of each item, in any order; items without any may be left out.
    """
    counts = np.sort(np.asarray(item_counts, np.int64)[item_counts > 0])[::-1]
    refused = _quarantine(total)
    return CorpusStatistics(
        interactions=total.interactions,
        users=total.users,
        items=total.items,
        warm_items=len(counts),
        long_tail=_long_tail(counts),
        gini=_gini(counts),
        history_lengths=_lengths(total.lengths, total.longest),
        mean_history=total.interactions / max(total.users, 1),
        longest_history=total.longest,
        time=_periods(total.months),
        values=_bars({float(value): count for value, count in total.values.items()}),
        events=_largest(total.events, MAX_EVENTS),
        coverage={name: total.coverage[name] for name in FIELDS if name in total.coverage},
        quarantine=refused,
        quarantined=sum(row.rows for row in refused),
    )


def _long_tail(counts: LongVector) -> tuple[TailPoint, ...]:
    if not len(counts):
        return ()
    ranks = np.unique(np.geomspace(1, len(counts), TAIL_POINTS).round().astype(int)).tolist()
    share = np.cumsum(counts) / counts.sum()
    return tuple(TailPoint(rank=r, interactions=int(counts[r - 1]), share=float(share[r - 1])) for r in ranks)


def _gini(counts: LongVector) -> float:
    """sum_i (2 i - I - 1) c_i / (I sum_i c_i) with c_1 <= ... <= c_I."""
    size = len(counts)
    ranks = np.arange(size, 0, -1)
    return float(((2 * ranks - size - 1) * counts).sum() / (size * counts.sum())) if size else 0.0


def _lengths(counts: Sequence[int], longest: int) -> tuple[Bin, ...]:
    filled = np.flatnonzero(counts)
    if not len(filled):
        return ()
    highs = [*(edge - 1 for edge in LENGTH_EDGES[1:]), max(longest, LENGTH_EDGES[-1])]
    return tuple(
        Bin(low=LENGTH_EDGES[place], high=highs[place], count=counts[place])
        for place in range(filled[0], filled[-1] + 1)
    )


def _periods(months: dict[str, int]) -> tuple[Period, ...]:
    """Interactions by month, or by years, tens of years, ... where there are too many months; empty ones left out."""
    found = dict(sorted(months.items()))
    years = 1
    while len(found) > MAX_PERIODS:
        found = {}
        for month, count in sorted(months.items()):
            start = f"{int(month[:-3]) // years * years:04d}"
            found[start] = found.get(start, 0) + count
        years *= 10
    return tuple(Period(start=start, interactions=count) for start, count in found.items())


def _bars(values: dict[float, int]) -> tuple[Bin, ...]:
    """A bar a value where there are few, else bins: of equal width, or of equal ratio where values span far."""
    known = np.array(sorted(values))
    counts = np.array([values[value] for value in known.tolist()], np.int64)
    if len(known) <= MAX_BARS:
        return tuple(Bin(low=v, high=v, count=c) for v, c in zip(known.tolist(), counts.tolist(), strict=True))
    low, high = known[0], known[-1]
    edges = (
        np.geomspace(low, high, MAX_BARS + 1) if low > 0 and high / low > 100 else np.linspace(low, high, MAX_BARS + 1)
    )
    place = np.clip(np.searchsorted(edges, known, side="right") - 1, 0, MAX_BARS - 1)
    sums = np.bincount(place, counts, MAX_BARS).astype(int).tolist()
    return tuple(
        Bin(low=a, high=b, count=c) for a, b, c in zip(edges[:-1].tolist(), edges[1:].tolist(), sums, strict=True)
    )


def _largest(counts: dict[str, int], number: int) -> dict[str, int]:
    ranked = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    rest = sum(count for _, count in ranked[number:])
    return dict(ranked[:number]) | ({OTHERS: rest} if rest else {})


def _quarantine(total: PartStatistics) -> tuple[Refused, ...]:
    rows = [
        Refused(source=source, reason=reason, rows=count)
        for source, reasons in total.quarantine.items()
        for reason, count in _largest(reasons, MAX_REASONS).items()
    ]
    return tuple(sorted(rows, key=lambda row: (-row.rows, row.source, row.reason)))
