"""The charts of the report's causal chapter."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from llm4rec.page import ACCENT, INK, MUTED, SERIES, draw, grid

PLACES = {
    "demographics": (0.08, 0.82),
    "user": (0.08, 0.30),
    "item quality": (0.40, 0.92),
    "popularity": (0.58, 0.55),
    "exposure": (0.58, 0.12),
    "outcome": (0.92, 0.45),
}
CAUSES = (
    ("demographics", "user"),
    ("demographics", "outcome"),
    ("user", "exposure"),
    ("user", "outcome"),
    ("item quality", "popularity"),
    ("item quality", "exposure"),
    ("item quality", "outcome"),
    ("popularity", "exposure"),
    ("popularity", "outcome"),
    ("exposure", "outcome"),
)
ESTIMATED = {("popularity", "outcome"), ("exposure", "outcome")}
BALANCED = 0.1
MAX_COVARIATES = 25


def draw_all(causal: Mapping[str, Any], ablations: Mapping[str, Any], metric: str) -> dict[str, Markup]:
    """Every chart that there is data for, by name, as SVG.

    Args:
        causal: the debias stage's summary; empty where there is none.
        ablations: of metrics.json; those named `debias ...` and `repair ...` are the sweeps.
        metric: accuracy of the sweep.
    """
    charts = {}
    if causal:
        charts["graph"] = draw(_graph)
    exposure = causal.get("exposure_effect") or {}
    if "histogram" in exposure.get("overlap", {}):
        charts["overlap"] = draw(_overlap, exposure["overlap"]["histogram"])
    if exposure.get("balance"):
        charts["balance"] = draw(_balance, exposure["balance"])
    groups = (causal.get("popularity_effect") or {}).get("by_group", {})
    if any(groups.values()):
        charts["by_group"] = draw(_by_group, groups)
    sweep = {name: figures for name, figures in ablations.items() if name.startswith("debias ")}
    if len(sweep) > 1:
        charts["debias_sweep"] = draw(_sweep, sweep, metric)
    repairs = {name: figures for name, figures in ablations.items() if name.startswith("repair ")}
    if len(repairs) > 1:
        charts["repair_sweep"] = draw(_repairs, repairs, metric)
    return charts


def _graph(figure: Figure) -> None:
    axes = figure.subplots()
    axes.set_axis_off()
    axes.set(xlim=(-0.08, 1.06), ylim=(0, 1.05))
    for cause, effect in CAUSES:
        asked = (cause, effect) in ESTIMATED
        arrow = {"arrowstyle": "->", "color": ACCENT if asked else MUTED, "linewidth": 2.2 if asked else 1.1}
        axes.annotate("", PLACES[effect], PLACES[cause], arrowprops={**arrow, "shrinkA": 24, "shrinkB": 24})
    for name, (x, y) in PLACES.items():
        box = {"boxstyle": "round,pad=0.45", "facecolor": "#ffffff00", "edgecolor": INK, "linewidth": 1}
        axes.text(x, y, name, ha="center", va="center", bbox=box)


def _overlap(figure: Figure, histogram: Mapping[str, Sequence[float]]) -> None:
    axes = figure.subplots()
    for name, color in (("exposed", ACCENT), ("others", SERIES[1])):
        axes.stairs(histogram[name], histogram["edges"], fill=True, alpha=0.45, color=color, label=name)
    axes.set_xlabel("propensity of exposure")
    axes.set_ylabel("share of interactions")
    figure.legend(loc="outside upper center", ncols=2)
    grid(axes)


def _balance(figure: Figure, balance: Sequence[Mapping[str, Any]]) -> None:
    shown = sorted(balance, key=lambda row: abs(row["raw"]))[-MAX_COVARIATES:]
    names = [row["covariate"] for row in shown]
    figure.set_figheight(1.4 + 0.22 * len(names))
    axes = figure.subplots()
    axes.axvspan(-BALANCED, BALANCED, color=MUTED, alpha=0.15, linewidth=0)
    axes.plot([row["raw"] for row in shown], names, "o", color=SERIES[1], label="as they are")
    axes.plot([row["weighted"] for row in shown], names, "o", color=ACCENT, label="weighted by inverse propensity")
    axes.set_xlabel("standardised difference of means\nbetween exposed and other interactions")
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=2)
    grid(axes, "x")


def _by_group(figure: Figure, groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    rows = [(f"{name}: {row['group']}", row) for name, found in groups.items() for row in found]
    intervals(figure, rows, "effect of popularity, with 95 % interval")


def intervals(figure: Figure, rows: Sequence[tuple[str, Mapping[str, Any]]], label: str) -> None:
    """Estimates with their intervals, one below the other, beside the line of no effect.

    Args:
        figure: empty.
        rows: names and {"effect", "ci95"}, from the top.
        label: of the axis of effects.
    """
    names = [name for name, _ in rows][::-1]
    values = np.array([row["effect"] for _, row in rows])[::-1]
    bounds = np.array([row["ci95"] for _, row in rows])[::-1]
    figure.set_figheight(1.2 + 0.28 * len(names))
    axes = figure.subplots()
    axes.axvline(0, color=MUTED, linewidth=1, linestyle="--")
    axes.hlines(names, bounds[:, 0], bounds[:, 1], color=ACCENT, linewidth=2)
    axes.plot(values, names, "o", color=ACCENT)
    axes.set_xlabel(label)
    axes.tick_params(axis="y", length=0)
    axes.margins(y=0.2 if len(names) < 6 else 0.05)


def _sweep(figure: Figure, sweep: Mapping[str, Mapping[str, Any]], metric: str) -> None:
    cut = metric.partition("@")[2]
    axes = figure.subplots()
    popularity = [figures[f"arp@{cut}"] for figures in sweep.values()]
    axes.plot(popularity, [figures[metric] for figures in sweep.values()], "o-", color=ACCENT)
    for name, figures in sweep.items():
        place = (figures[f"arp@{cut}"], figures[metric])
        axes.annotate(name, place, textcoords="offset points", xytext=(6, 6))
    axes.set_xlabel(f"arp@{cut}: mean popularity of what is shown")
    axes.set_ylabel(metric)
    axes.margins(0.15)
    grid(axes)


def _repairs(figure: Figure, sweep: Mapping[str, Mapping[str, Any]], metric: str) -> None:
    cut = metric.partition("@")[2]
    gaps, attackers = figure.subplots(1, 2, sharey=True)
    accuracy = [figures[metric] for figures in sweep.values()]
    names = sorted({key for figures in sweep.values() for key in figures if key.startswith("attacker_auc/")})
    gaps.plot([figures[f"dp_gap@{cut}"] for figures in sweep.values()], accuracy, "o-", color=ACCENT)
    for (name, figures), height in zip(sweep.items(), accuracy, strict=True):
        place = (figures[f"dp_gap@{cut}"], height)
        gaps.annotate(name.removeprefix("repair "), place, textcoords="offset points", xytext=(6, 6))
    for name, color in zip(names, SERIES, strict=False):
        label = name.removeprefix("attacker_auc/")
        attackers.plot([figures[name] for figures in sweep.values()], accuracy, "o-", color=color, label=label)
    attackers.axvline(0.5, color=MUTED, linewidth=1)
    gaps.set_xlabel(f"dp_gap@{cut}: how far groups differ")
    gaps.set_ylabel(metric)
    attackers.set_xlabel("attacker's AUC")
    figure.legend(loc="outside upper right", ncols=3)
    for axes in (gaps, attackers):
        axes.margins(0.15)
        grid(axes)
