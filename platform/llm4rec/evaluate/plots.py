"""The charts of the evaluation report."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from llm4rec.evaluate import causal_plots
from llm4rec.evaluate.extras import ReportExtras, SliceMeans
from llm4rec.page import ACCENT, INK, MUTED, SERIES, draw, grid


def draw_all(metrics: Mapping[str, Any], extras: ReportExtras, metric: str, ours: str) -> dict[str, Markup]:
    """Every chart that there is data for, by name, as SVG."""
    models = metrics["models"]
    charts = {"accuracy": draw(_accuracy, models, metric, ours), "cost": draw(_cost, models, metric, ours)}
    if extras.learning_curve:
        charts["learning_curve"] = draw(_learning_curve, extras.learning_curve)
    if extras.popularity_slices:
        charts["popularity"] = draw(_slices, extras.popularity_slices, metric)
    if extras.effects:
        charts["effects"] = draw(_effects, extras.effects)
    charts |= causal_plots.draw_all(extras.causal, metrics["ablations"], metric)
    if metrics["fusion"]:
        charts["fusion"] = draw(_fusion, metrics["fusion"])
    return charts


def _accuracy(figure: Figure, models: Mapping[str, Any], metric: str, ours: str) -> None:
    names = sorted(models, key=lambda name: models[name][metric])
    values = np.array([models[name][metric] for name in names])
    intervals = np.array([models[name]["ci95"][metric] for name in names])
    axes = figure.subplots()
    axes.barh(names, values, height=0.6, color=[ACCENT if name == ours else MUTED for name in names], alpha=0.85)
    # A percentile interval may in theory leave the mean out; a whisker cannot have negative length.
    whiskers = np.maximum([values - intervals[:, 0], intervals[:, 1] - values], 0)
    axes.errorbar(values, names, xerr=whiskers, fmt="none", ecolor=INK, elinewidth=1.2, capsize=3)
    axes.set_xlabel(f"{metric}, with 95 % interval")
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(left=0)


def _cost(figure: Figure, models: Mapping[str, Any], metric: str, ours: str) -> None:
    axes = figure.subplots()
    for name, figures in models.items():
        seconds = max(figures["seconds"], 0.01)
        axes.scatter(seconds, figures[metric], s=56, color=ACCENT if name == ours else MUTED, zorder=3)
        axes.annotate(name, (seconds, figures[metric]), textcoords="offset points", xytext=(8, 4))
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("seconds to fit")
    axes.set_ylabel(metric)
    axes.margins(0.18, 0.15)
    grid(axes)


def _learning_curve(figure: Figure, curve: Sequence[Mapping[str, float]]) -> None:
    step = "epoch" if "epoch" in curve[0] else "step"
    names = list(dict.fromkeys(name for point in curve for name in point if name not in {"epoch", "step"}))
    # Losses and accuracies live on different scales: one panel each.
    panels = [group for group in ([n for n in names if "loss" in n], [n for n in names if "loss" not in n]) if group]
    for axes, group in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name, color in zip(group, SERIES, strict=False):
            points = [(point[step], point[name]) for point in curve if name in point]
            axes.plot(*zip(*points, strict=True), marker="o", markersize=3.5, color=color, label=name)
        axes.set_xlabel(step)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend()
        grid(axes)


def _slices(figure: Figure, slices: SliceMeans, metric: str) -> None:
    labels = list(dict.fromkeys(label for by_label in slices.values() for label in by_label))
    width = 0.8 / len(slices)
    axes = figure.subplots()
    for index, (name, by_label) in enumerate(slices.items()):
        heights = [by_label[label]["mean"] if label in by_label else 0.0 for label in labels]
        axes.bar(
            np.arange(len(labels)) + (index + 0.5) * width - 0.4,
            heights,
            width * 0.9,
            color=SERIES[index % len(SERIES)],
            label=name,
        )
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylabel(metric)
    figure.legend(loc="outside upper center", ncols=min(4, len(slices)))
    grid(axes)


def _effects(figure: Figure, effects: Mapping[str, Mapping[str, Any]]) -> None:
    causal_plots.intervals(figure, list(effects.items()), "effect on the outcome, with 95 % interval")


def _fusion(figure: Figure, fusion: Mapping[str, Mapping[str, Any]]) -> None:
    rows = [(f"{label} ({group['items']:,})", group) for groups in fusion.values() for label, group in groups.items()]
    figure.set_figheight(1.2 + 0.3 * len(rows))
    axes = figure.subplots()
    left = np.zeros(len(rows))
    for name, color in zip(rows[0][1]["weights"], itertools.cycle(SERIES)):
        shares = np.array([(group["weights"][name] or 0.0) * group["coverage"][name] for _, group in rows])
        axes.barh(range(len(rows)), shares, height=0.7, left=left, color=color, alpha=0.85, label=name)
        left += shares
    axes.set_yticks(range(len(rows)), [label for label, _ in rows])
    axes.invert_yaxis()
    axes.set_xlabel("mean weight over the items of the group")
    axes.set_xlim(0, 1)
    axes.tick_params(axis="y", length=0)
    figure.legend(loc="outside upper center", ncols=min(5, len(rows[0][1]["weights"])))
