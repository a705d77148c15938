"""Attempts to refute an estimated effect: what must not matter is changed, and what could be hidden is bounded.

At most 30,000 rows are used, enough to find a broken estimator in a quarter of the time.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from llm4rec.debias.effects import Each, EffectSample, LinearModel, fit_linear, here
from llm4rec.schema import FloatVector

MAX_ROWS = 30_000


def refute(sample: EffectSample, folds: int, seed: int, each: Each = here) -> dict[str, Any]:
    """Every refutation of the linear effect of popularity, each with `passed` and what it found.

    Args:
        sample: rows without a `problem`.
        folds: of cross-fitting.
        seed: of what is drawn.
        each: runs independent fits.
    """
    rng = np.random.default_rng(seed)
    if len(sample.outcome) > MAX_ROWS:
        sample = sample.where(np.sort(rng.choice(len(sample.outcome), MAX_ROWS, replace=False)))
    model = fit_linear(sample, folds, seed, each)
    estimate = model.average(sample.modifiers)
    call = (sample, estimate, folds, seed)
    attempts = each(_attempt, [(placebo, *call), (random_common_cause, *call), (subset, *call)])
    return {
        **dict(zip(("placebo", "random_common_cause", "subset"), attempts, strict=True)),
        "unmeasured_confounder": unmeasured_confounder(model, estimate),
    }


def _attempt(attempt: Callable[..., dict[str, Any]], *call: Any) -> dict[str, Any]:
    return attempt(*call)


def placebo(sample: EffectSample, estimate: dict[str, Any], folds: int, seed: int) -> dict[str, Any]:
    """The same estimator on a treatment that has no effect: its interval should cover 0.

    Every item gets the treatments of another, so that rows of an item stay as alike as they are. This tests estimator
    and interval; it cannot tell whether something about the items is hidden.
    """
    fake = replace(sample, treatment=swapped(sample, np.random.default_rng(seed)))
    nothing = fit_linear(fake, folds, seed).average(sample.modifiers)
    low, high = nothing["ci95"]
    return {**nothing, "passed": bool(low <= 0 <= high)}


def swapped(sample: EffectSample, rng: np.random.Generator) -> FloatVector:
    """Each item's treatments replaced by another's in random order, repeated or thinned to as many rows, shape (n,)."""
    order = np.argsort(sample.item, kind="stable")
    rows = np.split(order, np.flatnonzero(np.diff(sample.item[order])) + 1)
    treatment = np.empty_like(sample.treatment)
    for own, other in zip(rows, rng.permutation(len(rows)), strict=True):
        treatment[own] = rng.permutation(np.resize(rng.permutation(sample.treatment[rows[other]]), len(own)))
    return treatment


def random_common_cause(sample: EffectSample, estimate: dict[str, Any], folds: int, seed: int) -> dict[str, Any]:
    """With one more confounder, made of noise, the effect should stay inside its interval."""
    noise = np.random.default_rng(seed + 1).normal(size=(len(sample.outcome), 1)).astype(np.float32)
    more = replace(sample, confounders=np.hstack([sample.confounders, noise]))
    again = fit_linear(more, folds, seed).average(sample.modifiers)
    low, high = estimate["ci95"]
    return {**again, "passed": bool(low <= again["effect"] <= high)}


def subset(sample: EffectSample, estimate: dict[str, Any], folds: int, seed: int) -> dict[str, Any]:
    """On half of the items the interval should cover the effect on all."""
    items = np.unique(sample.item)
    half = np.random.default_rng(seed + 2).choice(items, max(2, len(items) // 2), replace=False)
    part = sample.where(np.flatnonzero(np.isin(sample.item, half)))
    if problem := part.problem(folds):
        return {"passed": None, "note": problem}
    again = fit_linear(part, folds, seed).average(sample.modifiers)
    low, high = again["ci95"]
    return {**again, "passed": bool(low <= estimate["effect"] <= high)}


def unmeasured_confounder(model: LinearModel, estimate: dict[str, Any]) -> dict[str, Any]:
    """How strong a hidden confounder must be to explain the effect away, and to make it insignificant.

    The robustness value is the share of the residual variance of both treatment and outcome that it would have to
    explain: RV = (sqrt(f^4 + 4 f^2) - f^2) / 2 with f = |theta| sd(residual treatment) / sd(what is left of the
    outcome), f^2 = R^2 / (1 - R^2) of the treatment (Cinelli and Hazlett 2020, section 4.2). For significance,
    theta is what is left of the effect when the reach of its interval, clustered by item, is taken off. There is no
    threshold to pass; a reader who knows the log has to judge whether anything hidden is so strong.
    """
    reach = (estimate["ci95"][1] - estimate["ci95"][0]) / 2
    treatment, left = model.residual_deviations
    per_unit = treatment / max(left, np.finfo(np.float64).tiny)
    return {
        "robustness_value": _robustness(abs(estimate["effect"]) * per_unit),
        "robustness_value_of_significance": _robustness(max(abs(estimate["effect"]) - reach, 0.0) * per_unit),
    }


def _robustness(f: float) -> float:
    return float((np.sqrt(f**4 + 4 * f**2) - f**2) / 2) if f < 1e6 else 1.0
