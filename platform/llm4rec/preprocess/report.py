"""The corpus report: what was read, how it is spread, and what was refused, as one page."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from llm4rec.config import validate
from llm4rec.page import ACCENT, draw, grid, render
from llm4rec.preprocess.summary import Bin, CorpusStatistics, Period, TailPoint


def corpus_report(statistics: Mapping[str, Any], title: str = "LLM4Rec corpus") -> str:
    """The page, self-contained: no script, nothing loaded from elsewhere.

    Args:
        statistics: plain values of `CorpusStatistics`.
        title: heading.

    Raises:
        ConfigError: these are no such statistics.
    """
    found = validate(CorpusStatistics, dict(statistics), "corpus statistics")
    charts = {"coverage": draw(_coverage, found.coverage, found.items)} if found.coverage and found.items else {}
    if found.long_tail:
        charts |= {"tail": draw(_tail, found.long_tail), "lengths": draw(_lengths, found.history_lengths)}
    if found.time:
        charts["time"] = draw(_time, found.time)
    if found.values:
        charts["values"] = draw(_values, found.values)
    return render("llm4rec.preprocess", "corpus.html", title=title, s=found, charts=charts, half=_half(found.long_tail))


def _half(tail: Sequence[TailPoint]) -> float | None:
    """The share of the items that has half of the interactions."""
    ranks = [point.rank for point in tail if point.share >= 0.5]
    return ranks[0] / tail[-1].rank if ranks else None


def _tail(figure: Figure, tail: Sequence[TailPoint]) -> None:
    axes = figure.subplots()
    axes.plot([point.rank for point in tail], [point.interactions for point in tail], color=ACCENT, linewidth=2)
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,g}")
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("item, by popularity")
    axes.set_ylabel("interactions")
    grid(axes)


def _lengths(figure: Figure, lengths: Sequence[Bin]) -> None:
    axes = figure.subplots()
    lows = np.array([entry.low for entry in lengths])
    widths = np.array([entry.high + 1 for entry in lengths]) - lows
    axes.bar(lows, [entry.count for entry in lengths], widths * 0.92, align="edge", color=ACCENT, alpha=0.85)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:,g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("interactions of a user")
    axes.set_ylabel("users")
    grid(axes)


def _time(figure: Figure, time: Sequence[Period]) -> None:
    axes = figure.subplots()
    by_month = "-" in time[0].start[1:]
    starts = np.array([_year(period.start) for period in time])
    width = 1 / 12 if by_month else float(np.diff(starts).min(initial=np.inf)) if len(starts) > 1 else 1.0
    axes.bar(starts, [period.interactions for period in time], width * 0.92, align="edge", color=ACCENT, alpha=0.85)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.locator_params(axis="x", integer=starts[-1] - starts[0] > 2)
    axes.set_xlabel("year")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel("interactions")
    grid(axes)


def _year(start: str) -> float:
    year, dash, month = start[1:].partition("-")
    return float(start[0] + year) + (int(month) - 1) / 12 if dash else float(start)


def _values(figure: Figure, values: Sequence[Bin]) -> None:
    axes = figure.subplots()
    names = [
        f"{entry.low:g}" if entry.low == entry.high else f"{entry.low:.3g} to {entry.high:.3g}" for entry in values
    ]
    axes.bar(range(len(values)), [entry.count for entry in values], 0.85, color=ACCENT, alpha=0.85)
    step = -(-len(names) // 10)
    axes.set_xticks(range(0, len(names), step), names[::step], rotation=0 if step == 1 else 30)
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set_ylabel("interactions")
    grid(axes)


def _coverage(figure: Figure, coverage: Mapping[str, int], num_items: int) -> None:
    names = list(coverage)[::-1]
    figure.set_figheight(1.0 + 0.36 * len(names))
    axes = figure.subplots()
    shares = [100 * coverage[name] / num_items for name in names]
    axes.barh(names, shares, height=0.6, color=ACCENT, alpha=0.85)
    for row, share in enumerate(shares):
        axes.annotate(f"{share:.1f} %", (share, row), textcoords="offset points", xytext=(6, -3))
    axes.set_xlim(0, 112)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("% of the items")
    axes.tick_params(axis="y", length=0)
