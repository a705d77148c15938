"""Attempts to refute an estimated effect: what must not matter is changed, and what could be hidden is bounded.

At most 30,000 rows are used, enough to find a broken estimator in a quarter of the time.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import t

from llm4rec.debias.effects import Each, EffectSample, fit_linear, here

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
    estimate = fit_linear(sample, folds, seed).average(sample.modifiers)
    call = (sample, estimate, folds, seed)
    attempts = each(_attempt, [(placebo, *call), (random_common_cause, *call), (subset, *call)])
    return {
        **dict(zip(("placebo", "random_common_cause", "subset"), attempts, strict=True)),
        "unmeasured_confounder": unmeasured_confounder(estimate, len(np.unique(sample.item))),
    }


def _attempt(attempt: Callable[..., dict[str, Any]], *call: Any) -> dict[str, Any]:
    return attempt(*call)


def placebo(sample: EffectSample, estimate: dict[str, Any], folds: int, seed: int) -> dict[str, Any]:
    """The same estimator on a permuted treatment, which has no effect: its interval should cover 0."""
    fake = replace(sample, treatment=np.random.default_rng(seed).permutation(sample.treatment))
    nothing = fit_linear(fake, folds, seed).average(sample.modifiers)
    low, high = nothing["ci95"]
    return {**nothing, "passed": bool(low <= 0 <= high)}


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


def unmeasured_confounder(estimate: dict[str, Any], clusters: int) -> dict[str, Any]:
    """How strong a hidden confounder must be to explain the effect away, and to make it insignificant.

    The robustness value is the share of the residual variance of both treatment and outcome that it would have to
    explain: RV = (sqrt(f^4 + 4 f^2) - f^2) / 2 with f = |t| / sqrt(degrees) (Cinelli and Hazlett 2020, equation 20).
    There is no threshold to pass; a reader who knows the log has to judge whether anything hidden is so strong.
    """
    degrees = max(clusters - 1, 1)
    critical = float(t.ppf(0.975, degrees))
    reach = (estimate["ci95"][1] - estimate["ci95"][0]) / 2
    statistic = abs(estimate["effect"]) / (reach / critical) if reach else np.inf
    return {
        "robustness_value": _robustness(statistic / degrees**0.5),
        "robustness_value_of_significance": _robustness(max(statistic - critical, 0.0) / degrees**0.5),
    }


def _robustness(f: float) -> float:
    return float((np.sqrt(f**4 + 4 * f**2) - f**2) / 2) if np.isfinite(f) else 1.0
