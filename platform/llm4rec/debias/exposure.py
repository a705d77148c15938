"""The effect of exposure, which an interaction had or had not, on the outcome, by a doubly robust learner (EconML)."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm
from sklearn.model_selection import GroupKFold, cross_val_predict

from llm4rec.debias.effects import EffectSample, with_interval
from llm4rec.debias.nuisance import choose_classifier, choose_regressor
from llm4rec.debias.weights import effective_sample_size
from llm4rec.schema import BoolVector, FloatMatrix, FloatVector

OVERLAP_MARGIN = 0.05  # rows with a treatment propensity outside [0.05, 0.95] are left out (Crump et al. 2009)
MIN_OVERLAP_SHARE = 0.1
HISTOGRAM = np.linspace(0, 1, 26)


@dataclass(frozen=True)
class Nuisances:
    """The two models that a doubly robust estimate rests on; it is right if either is.

    Attributes:
        propensity: of being exposed, a classifier not yet fitted.
        outcome: a regressor not yet fitted.
    """

    propensity: Any
    outcome: Any

    @classmethod
    def chosen(cls, sample: EffectSample, folds: int, seed: int) -> "Nuisances":
        """The kinds that predict held-out items best."""
        controls, exposed = _controls(sample), sample.exposed.astype(int)
        return cls(
            choose_classifier(controls, exposed, sample.item, folds, seed),
            choose_regressor(np.column_stack([controls, exposed]), sample.outcome, sample.item, folds, seed),
        )


def exposure_effect(
    sample: EffectSample, folds: int, seed: int, nuisances: Nuisances | None = None
) -> tuple[dict[str, Any] | None, list[str]]:
    """Average effect of exposure, by LinearDRLearner.

    Estimated on the rows where either treatment was possible. Returns the summary, None where the log allows no
    estimate, and warnings. The interval is robust to unequal variances and takes rows as independent.

    Args:
        sample: rows without a `problem`.
        folds: of cross-fitting.
        seed: of folds and models.
        nuisances: the best of several kinds unless they are given.
    """
    high = sample.exposed
    if min(high.sum(), (~high).sum()) < 10 * folds:
        return None, [
            f"only {int(high.sum())} interactions with and {int((~high).sum())} without exposure: its effect is null"
        ]
    if _one_sided(sample, folds):
        return None, ["the interactions with or without exposure all belong to a few items: its effect is null"]
    nuisances = nuisances or Nuisances.chosen(sample, folds, seed)
    propensity = _propensity(sample, folds, nuisances.propensity)
    kept = (propensity >= OVERLAP_MARGIN) & (propensity <= 1 - OVERLAP_MARGIN)
    rest = sample.where(np.flatnonzero(kept))
    if (
        kept.mean() < MIN_OVERLAP_SHARE
        or min(high[kept].sum(), (~high)[kept].sum()) < 10 * folds
        or _one_sided(rest, folds)
    ):
        return None, [
            f"no overlap: only {kept.mean():.1%} of the interactions could have had either treatment (propensity in "
            f"[{OVERLAP_MARGIN}, {1 - OVERLAP_MARGIN}]): the exposure effect is null"
        ]
    effect = _doubly_robust(rest, folds, seed, nuisances)
    naive = _difference_in_means(rest.outcome, rest.exposed)
    return {
        "estimator": "LinearDRLearner",
        **effect,
        "rows": int(kept.sum()),
        "naive": naive,
        "overlap": _overlap(propensity, high, kept),
        "balance": balance(rest, propensity[kept]),
    }, []


def balance(sample: EffectSample, propensity: npt.NDArray[np.float64]) -> list[dict[str, Any]]:
    """Of each covariate, how far exposed and other rows are apart, as they are and weighted by inverse propensity.

    Apart means the difference of the means over the pooled standard deviation of the raw rows; below 0.1 is commonly
    taken as balanced (Austin 2011).
    """
    controls, high = _controls(sample).astype(np.float64), sample.exposed
    weight = _inverse(propensity, high)
    pooled = np.sqrt((controls[high].var(axis=0) + controls[~high].var(axis=0)) / 2)
    pooled = np.where(pooled > 0, pooled, 1.0)
    raw = (controls[high].mean(axis=0) - controls[~high].mean(axis=0)) / pooled
    sides = [np.average(controls[side], axis=0, weights=weight[side]) for side in (high, ~high)]
    weighted = (sides[0] - sides[1]) / pooled
    return [
        {"covariate": name, "raw": float(before), "weighted": float(after)}
        for name, before, after in zip((*sample.names, "popularity"), raw, weighted, strict=False)
    ]


def _inverse(propensity: npt.NDArray[np.float64], high: BoolVector) -> npt.NDArray[np.float64]:
    """One over the chance of the treatment that each row had."""
    safe = np.clip(propensity, OVERLAP_MARGIN, 1 - OVERLAP_MARGIN)
    return np.where(high, 1 / safe, 1 / (1 - safe))


def _controls(sample: EffectSample) -> FloatMatrix:
    popularity = [sample.treatment[:, None]] if sample.by_event else []
    return np.hstack([sample.modifiers, sample.confounders, *popularity])


def _one_sided(sample: EffectSample, folds: int) -> bool:
    """Whether some fold has nothing to learn one of the two treatments from."""
    if len(np.unique(sample.item)) < folds:
        return True
    parts = GroupKFold(folds).split(sample.exposed, groups=sample.item)
    return any(len(np.unique(sample.exposed[rows])) < 2 for part in parts for rows in part)


def _doubly_robust(sample: EffectSample, folds: int, seed: int, nuisances: Nuisances) -> dict[str, Any]:
    from econml.dr import LinearDRLearner

    learner = LinearDRLearner(
        model_propensity=nuisances.propensity,
        model_regression=nuisances.outcome,
        min_propensity=OVERLAP_MARGIN,
        cv=GroupKFold(folds),
        random_state=seed,
    )
    learner.fit(sample.outcome, sample.exposed.astype(int), X=None, W=_controls(sample), groups=sample.item)
    inference = learner.ate_inference()
    low, upper = inference.conf_int_mean(alpha=0.05)
    return {
        "effect": float(np.squeeze(inference.mean_point)),
        "ci95": [float(np.squeeze(low)), float(np.squeeze(upper))],
    }


def _propensity(sample: EffectSample, folds: int, model: Any) -> npt.NDArray[np.float64]:
    """P(exposed | controls), each row predicted by a model that has not seen its item."""
    cut = {"cv": GroupKFold(folds), "groups": sample.item, "method": "predict_proba"}
    return cross_val_predict(model, _controls(sample), sample.exposed, **cut)[:, 1]


def _shares(propensity: npt.NDArray[np.float64]) -> list[float]:
    return [float(share) for share in np.histogram(propensity, HISTOGRAM)[0] / len(propensity)]


def _overlap(propensity: npt.NDArray[np.float64], high: BoolVector, kept: BoolVector) -> dict[str, Any]:
    weight = _inverse(propensity, high)
    return {
        "share": float(kept.mean()),
        "histogram": {
            "edges": HISTOGRAM.tolist(),
            "exposed": _shares(propensity[high]),
            "others": _shares(propensity[~high]),
        },
        "ess_share_exposed": effective_sample_size(weight[kept & high]) / int((kept & high).sum()),
        "ess_share_others": effective_sample_size(weight[kept & ~high]) / int((kept & ~high).sum()),
    }


def _difference_in_means(outcome: FloatVector, high: BoolVector) -> dict[str, Any]:
    one, zero = outcome[high].astype(np.float64), outcome[~high].astype(np.float64)
    error = np.sqrt(one.var(ddof=1) / len(one) + zero.var(ddof=1) / len(zero))
    return with_interval(float(one.mean() - zero.mean()), float(norm.ppf(0.975) * error))
