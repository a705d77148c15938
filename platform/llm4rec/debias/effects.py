"""Effects of popularity and of high exposure on the outcome, by double machine learning (EconML).

EconML is imported inside the functions that fit: it takes two seconds to import, and the training and serving
processes that only read effects never need it.
"""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import norm, t
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from llm4rec.debias.covariates import Covariates
from llm4rec.debias.weights import effective_sample_size
from llm4rec.schema import FloatMatrix, FloatVector, IntVector

Matrix = npt.NDArray[np.float64]
BOOSTING: dict[str, Any] = {
    "max_iter": 40,
    "max_leaf_nodes": 15,
    "learning_rate": 0.2,
    "max_bins": 63,
    "early_stopping": False,
}
OVERLAP_MARGIN = 0.05  # rows with a treatment propensity outside [0.05, 0.95] are left out (Crump et al. 2009)
MIN_OVERLAP_SHARE = 0.1
MAX_TREATMENT_R2 = 0.99
ROWS_PER_COVARIATE = 3
PLACEBO_ROWS = 30_000


@dataclass(frozen=True)
class EffectSample:
    """The rows that effects are estimated on.

    Attributes:
        outcome: shape (n,).
        treatment: shape (n,), popularity of the item at the time, standardised.
        modifiers: shape (n, P), what the effect may vary with; P may be 0.
        confounders: shape (n, Q), what else drives treatment and outcome.
        user: shape (n,), user codes.
        item: shape (n,), item codes, the clusters of the intervals.
    """

    outcome: FloatVector
    treatment: FloatVector
    modifiers: FloatMatrix
    confounders: FloatMatrix
    user: IntVector
    item: IntVector

    def where(self, rows: npt.NDArray[np.integer]) -> "EffectSample":
        """The given rows."""
        return EffectSample(*(getattr(self, field.name)[rows] for field in fields(self)))

    def problem(self) -> str | None:
        """Why no effect can be estimated from these rows, or None."""
        width = self.modifiers.shape[1] + self.confounders.shape[1]
        if np.ptp(self.outcome) == 0:
            return f"the outcome is constant ({self.outcome[0]:g}): no effect can be estimated, effects are null"
        if np.ptp(self.treatment) == 0:
            return "popularity never differs between interactions (are timestamps missing?): effects are null"
        if len(self.outcome) < ROWS_PER_COVARIATE * width:
            return (
                f"{len(self.outcome)} rows are too few to adjust for {width} covariates (at least "
                f"{ROWS_PER_COVARIATE * width} needed; lower debias.components or give more data): effects are null"
            )
        return None


@dataclass(frozen=True)
class PopularityModel:
    """The final stage of a LinearDML fit, outcome residual = treatment residual * theta(x), theta linear in x.

    Attributes:
        coefficients: shape (1 + P,), intercept first.
        covariance: shape (1 + P, 1 + P), robust to correlation among rows of one item.
        clusters: number of items.
        scores: out-of-fold R2 of the nuisance models of outcome and treatment.
    """

    coefficients: Matrix
    covariance: Matrix
    clusters: int
    scores: dict[str, float]

    def effect(self, modifiers: FloatMatrix) -> FloatVector:
        """theta(x) of each row, shape (rows,)."""
        return (self.coefficients[0] + modifiers @ self.coefficients[1:]).astype(np.float32)

    def average(self, modifiers: FloatMatrix) -> dict[str, Any]:
        """Mean effect over rows with its 95 % interval, from the t distribution with clusters - 1 degrees."""
        mean = np.concatenate([[1.0], modifiers.mean(axis=0, dtype=np.float64)])
        error = float(np.sqrt(max(mean @ self.covariance @ mean, 0.0)))
        reach = float(t.ppf(0.975, max(self.clusters - 1, 1))) * error
        return _estimate(float(mean @ self.coefficients), reach)


def effect_sample(covariates: Covariates, max_rows: int, rng: np.random.Generator) -> EffectSample:
    """At most `max_rows` train interactions, drawn without replacement, with what is constant among them left out."""
    train = covariates.train
    rows = np.arange(len(train))
    if len(rows) > max_rows:
        rows = np.sort(rng.choice(rows, max_rows, replace=False))
    confounders = covariates.confounders(rows)
    return EffectSample(
        outcome=train.value[rows],
        treatment=covariates.treatment[rows],
        modifiers=covariates.modifiers[train.user[rows]],
        confounders=confounders[:, np.ptp(confounders, axis=0) > 0],
        user=train.user[rows],
        item=train.item[rows],
    )


def fit_popularity(sample: EffectSample, folds: int, seed: int) -> PopularityModel:
    """LinearDML (Chernozhukov et al. 2018): gradient-boosted nuisances, cross-fitted, linear theta(x).

    EconML's own interval takes rows as independent. Popularity belongs to the item and whatever is unobserved
    about an item moves all its rows, so the covariance here is the sandwich clustered by item on EconML's residuals.
    """
    from econml.dml import LinearDML

    outcome_model = HistGradientBoostingRegressor(**BOOSTING, random_state=seed)
    treatment_model = HistGradientBoostingRegressor(**BOOSTING, random_state=seed)
    dml = LinearDML(model_y=outcome_model, model_t=treatment_model, cv=folds, random_state=seed)
    x = sample.modifiers if sample.modifiers.shape[1] else None
    dml.fit(sample.outcome, sample.treatment, X=x, W=sample.confounders, cache_values=True, inference=None)
    outcome_residual, treatment_residual, _, _ = dml.residuals_  # KFold covers every row, so in the order given
    slopes = np.ravel(dml.coef_) if x is not None else np.empty(0)
    coefficients = np.concatenate([np.ravel(dml.intercept_), slopes])
    design = treatment_residual.reshape(-1, 1) * np.column_stack([np.ones(len(sample.outcome)), sample.modifiers])
    covariance = clustered_covariance(design, outcome_residual.ravel() - design @ coefficients, sample.item)
    scores = {
        "outcome_r2": float(np.mean(dml.nuisance_scores_y)),
        "treatment_r2": float(np.mean(dml.nuisance_scores_t)),
    }
    return PopularityModel(coefficients, covariance, len(np.unique(sample.item)), scores)


def clustered_covariance(design: Matrix, residual: Matrix, cluster: npt.NDArray[np.integer]) -> Matrix:
    """Sandwich covariance of least squares with rows correlated inside clusters (Liang and Zeger 1986, CR1).

    Args:
        design: shape (n, k).
        residual: shape (n,).
        cluster: shape (n,), the cluster of each row.
    """
    names, codes = np.unique(cluster, return_inverse=True)
    bread = np.linalg.pinv(design.T @ design)
    sums = np.zeros((len(names), design.shape[1]))
    np.add.at(sums, codes, design * residual[:, None])
    rows, width = design.shape
    correction = len(names) / max(len(names) - 1, 1) * (rows - 1) / max(rows - width, 1)
    return correction * bread @ (sums.T @ sums) @ bread


def naive_slope(sample: EffectSample) -> dict[str, Any]:
    """Least-squares slope of outcome on popularity, adjusted for nothing, with the item-clustered interval."""
    design = np.column_stack([np.ones(len(sample.outcome)), sample.treatment]).astype(np.float64)
    outcome = sample.outcome.astype(np.float64)
    fitted, *_ = np.linalg.lstsq(design, outcome, rcond=None)
    covariance = clustered_covariance(design, outcome - design @ fitted, sample.item)
    degrees = max(len(np.unique(sample.item)) - 1, 1)
    return _estimate(float(fitted[1]), float(t.ppf(0.975, degrees) * np.sqrt(covariance[1, 1])))


def placebo(sample: EffectSample, folds: int, seed: int) -> dict[str, Any]:
    """The same estimator on a permuted treatment, which has no effect: its interval should cover 0.

    At most 30,000 rows are used, enough to find a broken estimator in a quarter of the time.
    """
    rng = np.random.default_rng(seed)
    if len(sample.outcome) > PLACEBO_ROWS:
        sample = sample.where(np.sort(rng.choice(len(sample.outcome), PLACEBO_ROWS, replace=False)))
    fake = replace(sample, treatment=rng.permutation(sample.treatment))
    estimate = fit_popularity(fake, folds, seed).average(sample.modifiers)
    low, high = estimate["ci95"]
    return {**estimate, "covers_zero": bool(low <= 0 <= high)}


def exposure_effect(sample: EffectSample, folds: int, seed: int) -> tuple[dict[str, Any] | None, list[str]]:
    """Average effect of high exposure (popularity at the time above its median), by LinearDRLearner.

    Estimated on the rows where either treatment was possible. Returns the summary, None where the log allows no
    estimate, and warnings. The interval is robust to unequal variances and takes rows as independent.
    """
    high = sample.treatment > np.median(sample.treatment)
    if min(high.sum(), (~high).sum()) < 10 * folds:
        return None, ["too few interactions above or below median popularity: the exposure effect is null"]
    controls = np.hstack([sample.modifiers, sample.confounders])
    propensity = _treatment_propensity(controls, high, folds, seed)
    kept = (propensity >= OVERLAP_MARGIN) & (propensity <= 1 - OVERLAP_MARGIN)
    overlap = _overlap(propensity, high, kept)
    if kept.mean() < MIN_OVERLAP_SHARE or min(high[kept].sum(), (~high)[kept].sum()) < 10 * folds:
        return None, [
            f"no overlap: only {kept.mean():.1%} of the interactions could have had either exposure (propensity in "
            f"[{OVERLAP_MARGIN}, {1 - OVERLAP_MARGIN}]): the exposure effect is null"
        ]
    effect = _doubly_robust(sample.outcome[kept], high[kept], controls[kept], folds, seed)
    naive = _difference_in_means(sample.outcome, high)
    summary = {"estimator": "LinearDRLearner", "treatment": "popularity at the time above its median", **effect}
    return {**summary, "rows": int(kept.sum()), "naive": naive, "overlap": overlap}, []


def _doubly_robust(
    outcome: FloatVector, high: npt.NDArray[np.bool_], controls: FloatMatrix, folds: int, seed: int
) -> dict[str, Any]:
    from econml.dr import LinearDRLearner

    learner = LinearDRLearner(
        model_propensity=HistGradientBoostingClassifier(**BOOSTING, random_state=seed),
        model_regression=HistGradientBoostingRegressor(**BOOSTING, random_state=seed),
        min_propensity=OVERLAP_MARGIN,
        cv=folds,
        random_state=seed,
    )
    learner.fit(outcome, high.astype(int), X=None, W=controls)
    inference = learner.ate_inference()
    low, upper = inference.conf_int_mean(alpha=0.05)
    return {
        "effect": float(np.squeeze(inference.mean_point)),
        "ci95": [float(np.squeeze(low)), float(np.squeeze(upper))],
    }


def _treatment_propensity(
    controls: FloatMatrix, high: npt.NDArray[np.bool_], folds: int, seed: int
) -> npt.NDArray[np.float64]:
    """P(high exposure | controls), each row predicted by a model that has not seen it."""
    model = HistGradientBoostingClassifier(**BOOSTING, random_state=seed)
    splitter = StratifiedKFold(folds, shuffle=True, random_state=seed)
    return cross_val_predict(model, controls, high, cv=splitter, method="predict_proba")[:, 1]


def _overlap(
    propensity: npt.NDArray[np.float64], high: npt.NDArray[np.bool_], kept: npt.NDArray[np.bool_]
) -> dict[str, float]:
    safe = np.clip(propensity, OVERLAP_MARGIN, 1 - OVERLAP_MARGIN)
    weight = np.where(high, 1 / safe, 1 / (1 - safe))
    return {
        "share": float(kept.mean()),
        "ess_share_high": effective_sample_size(weight[high]) / int(high.sum()),
        "ess_share_low": effective_sample_size(weight[~high]) / int((~high).sum()),
    }


def _difference_in_means(outcome: FloatVector, high: npt.NDArray[np.bool_]) -> dict[str, Any]:
    one, zero = outcome[high].astype(np.float64), outcome[~high].astype(np.float64)
    error = np.sqrt(one.var(ddof=1) / len(one) + zero.var(ddof=1) / len(zero))
    return _estimate(float(one.mean() - zero.mean()), float(norm.ppf(0.975) * error))


def _estimate(effect: float, reach: float) -> dict[str, Any]:
    return {"effect": effect, "ci95": [effect - reach, effect + reach]}
