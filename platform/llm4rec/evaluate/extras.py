"""What the report shows besides metrics.json."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SliceMeans = Mapping[str, Mapping[str, Mapping[str, float]]]


@dataclass(frozen=True)
class ExampleSlate:
    """One user's history and slate, as shown in the report.

    Attributes:
        user: external id.
        history: titles of the newest interactions, oldest first.
        slate: (title, reason) pairs, best first; an empty reason is not shown.
    """

    user: str
    history: Sequence[str]
    slate: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class ReportExtras:
    """What the report shows besides metrics.json; an empty section is left out.

    Attributes:
        title: heading of the page.
        learning_curve: one mapping a measurement: "epoch" or "step", and any figures ("loss", "ndcg@10").
        popularity_slices: model to slice to {"mean": NDCG, "users": count}, from `slice_results`.
        group_slices: the same for each user attribute.
        effects: name to {"effect": x, "ci95": [low, high]}.
        causal: the debias stage's summary, for its plots.
        slates: examples.
    """

    title: str = "LLM4Rec evaluation"
    learning_curve: Sequence[Mapping[str, float]] = ()
    popularity_slices: SliceMeans = field(default_factory=dict)
    group_slices: Mapping[str, SliceMeans] = field(default_factory=dict)
    effects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    causal: Mapping[str, Any] = field(default_factory=dict)
    slates: Sequence[ExampleSlate] = ()
