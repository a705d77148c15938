"""The effect of popularity on the outcome, by double machine learning (EconML).

EconML is imported inside the functions that fit: it takes two seconds to import, and the training and serving
processes that only read effects never need it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.stats import t
from sklearn.model_selection import GroupKFold

from llm4rec.debias.covariates import PAST, Covariates
from llm4rec.debias.nuisance import SmoothRegressor
from llm4rec.errors import DataError
from llm4rec.schema import BoolVector, FloatMatrix, FloatVector, IntVector

Matrix = npt.NDArray[np.float64]
MAX_TREATMENT_R2 = 0.99
ROWS_PER_COVARIATE = 3
REPEATS = 3
FOREST_ROWS = 50_000


@dataclass(frozen=True)
class EffectSample:
    """The rows that effects are estimated on.

    Attributes:
        outcome: shape (n,).
        treatment: shape (n,), popularity of the item, at the time or among other users, standardised.
        modifiers: shape (n, P), what the effect may vary with; P may be 0.
        confounders: shape (n, Q), what else drives treatment and outcome.
        names: of the P + Q modifiers and confounders, in words.
        by_event: whether an event says what was exposed; popularity then is a cause of exposure, not its measure.
        exposed: shape (n,), whether the item was exposed.
        user: shape (n,), user codes.
        item: shape (n,), item codes, the clusters of the intervals.
    """

    outcome: FloatVector
    treatment: FloatVector
    modifiers: FloatMatrix
    confounders: FloatMatrix
    exposed: BoolVector
    user: IntVector
    item: IntVector
    names: tuple[str, ...] = ()
    by_event: bool = False

    def where(self, rows: npt.NDArray[np.integer]) -> "EffectSample":
        """The given rows."""
        whole = {"names", "by_event"}
        by_row = {field.name: getattr(self, field.name)[rows] for field in fields(self) if field.name not in whole}
        return EffectSample(**by_row, names=self.names, by_event=self.by_event)

    def problem(self, folds: int) -> str | None:
        """Why no effect can be estimated from these rows with so many folds, or None."""
        width = self.modifiers.shape[1] + self.confounders.shape[1]
        if not width:
            return "nothing is known of users or items that could be adjusted for: effects are null"
        if np.ptp(self.outcome) == 0:
            return f"the outcome is constant ({self.outcome[0]:g}): no effect can be estimated, effects are null"
        if np.ptp(self.treatment) == 0:
            return "popularity never differs between rows (are timestamps missing?): effects are null"
        if len(self.outcome) < ROWS_PER_COVARIATE * width:
            return (
                f"{len(self.outcome)} rows are too few to adjust for {width} covariates (at least "
                f"{ROWS_PER_COVARIATE * width} needed; lower debias.components or give more data): effects are null"
            )
        if (items := len(np.unique(self.item))) < 2 * folds:
            return f"{items} items are too few for {folds} folds (at least {2 * folds} needed): effects are null"
        return None


Each = Callable[[Callable[..., Any], Sequence[tuple[Any, ...]]], list[Any]]
"""Calls a function with each tuple of arguments, in any order, and returns the answers in the order given."""


def here(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """One call after the other, in this process."""
    return [function(*call) for call in calls]


class PopularityModel(Protocol):
    """An estimated effect theta(x) of popularity on the outcome.

    Attributes:
        estimator: EconML's name of it.
        clusters: number of items.
        scores: out-of-fold R2 of the nuisance models of outcome and treatment.
    """

    @property
    def estimator(self) -> str: ...  # noqa: D102

    @property
    def clusters(self) -> int: ...  # noqa: D102

    @property
    def scores(self) -> dict[str, float]: ...  # noqa: D102

    def effect(self, modifiers: FloatMatrix) -> FloatVector:
        """theta(x) of each row, shape (rows,)."""

    def average(self, modifiers: FloatMatrix) -> dict[str, Any]:
        """Mean effect over rows with its 95 % interval."""


@dataclass(frozen=True)
class LinearModel:
    """The final stage of a LinearDML fit, outcome residual = treatment residual * theta(x), theta linear in x.

    Attributes:
        coefficients: shape (1 + P,), intercept first.
        covariance: shape (1 + P, 1 + P), robust to correlation among rows of one item.
        clusters: number of items.
        scores: out-of-fold R2 of the nuisance models of outcome and treatment.
        residual_deviations: standard deviation of the treatment's residual, and of what the final stage leaves.
    """

    coefficients: Matrix
    covariance: Matrix
    clusters: int
    scores: dict[str, float]
    residual_deviations: tuple[float, float]
    estimator: str = "LinearDML"

    def effect(self, modifiers: FloatMatrix) -> FloatVector:
        """theta(x) of each row, shape (rows,)."""
        return (self.coefficients[0] + modifiers @ self.coefficients[1:]).astype(np.float32)

    def average(self, modifiers: FloatMatrix) -> dict[str, Any]:
        """Mean effect over rows with its 95 % interval, from the t distribution with clusters - 1 degrees."""
        mean = np.concatenate([[1.0], modifiers.mean(axis=0, dtype=np.float64)])
        error = float(np.sqrt(max(mean @ self.covariance @ mean, 0.0)))
        reach = float(t.ppf(0.975, max(self.clusters - 1, 1))) * error
        return with_interval(float(mean @ self.coefficients), reach)


def effect_sample(covariates: Covariates, max_rows: int, rng: np.random.Generator) -> EffectSample:
    """At most `max_rows` train interactions, drawn without replacement, with what is constant among them left out."""
    train = covariates.train
    rows = np.arange(len(train))
    if len(rows) > max_rows:
        rows = np.sort(rng.choice(rows, max_rows, replace=False))
    confounders = covariates.confounders(rows)
    varies = np.ptp(confounders, axis=0) > 0
    kept = [name for name, kept in zip((*PAST, *covariates.item_names), varies, strict=True) if kept]
    return EffectSample(
        outcome=train.value[rows],
        treatment=covariates.treatment[rows],
        modifiers=covariates.modifiers[train.user[rows]],
        confounders=confounders[:, varies],
        exposed=covariates.exposed[rows],
        user=train.user[rows],
        item=train.item[rows],
        names=(*covariates.modifier_names, *kept),
        by_event=covariates.by_event,
    )


@dataclass(frozen=True)
class ForestModel:
    """A causal forest on the residuals: theta(x) of any shape, its intervals from the forest.

    Attributes:
        forest: the fitted CausalForestDML.
        clusters: number of items.
        scores: out-of-fold R2 of the nuisance models of outcome and treatment.
    """

    forest: Any
    clusters: int
    scores: dict[str, float]
    estimator: str = "CausalForestDML"

    def effect(self, modifiers: FloatMatrix) -> FloatVector:
        """theta(x) of each row, shape (rows,)."""
        return np.ravel(self.forest.const_marginal_effect(modifiers)).astype(np.float32)

    def average(self, modifiers: FloatMatrix) -> dict[str, Any]:
        """Mean effect over rows with its 95 % interval, which takes rows as independent."""
        distinct, counts = np.unique(modifiers, axis=0, return_counts=True)  # rows of a user are alike
        found = self.forest.const_marginal_effect_inference(distinct)
        points, errors = np.ravel(found.point_estimate), np.ravel(found.stderr)
        # What trees share moves all rows alike: the error of a mean is at most the mean of the errors.
        reach = float(t.ppf(0.975, max(self.clusters - 1, 1)) * np.average(errors, weights=counts))
        return with_interval(float(np.average(points, weights=counts)), reach)


def fit_popularity(
    sample: EffectSample, folds: int, seed: int, model: str = "linear", each: Each = here
) -> PopularityModel:
    """The effect of popularity on the outcome: theta(x) linear in x, or a causal forest.

    Args:
        sample: rows without a `problem`.
        folds: of cross-fitting.
        seed: of folds, nuisance models and forest.
        model: linear or forest.
        each: runs independent fits.
    """
    return fit_forest(sample, folds, seed) if model == "forest" else fit_linear(sample, folds, seed, each)


def fit_forest(sample: EffectSample, folds: int, seed: int) -> ForestModel:
    """CausalForestDML (Athey, Tibshirani and Wager 2019) with the nuisance models of `fit_linear`.

    Raises:
        DataError: no user differs from another, so that there is nothing to grow trees on.
    """
    from econml.dml import CausalForestDML

    if not sample.modifiers.shape[1]:
        raise DataError("debias.effect_model: forest needs users that differ in activity or attributes; use linear")
    if len(sample.outcome) > FOREST_ROWS:
        drawn = np.random.default_rng(seed).choice(len(sample.outcome), FOREST_ROWS, replace=False)
        sample = sample.where(np.sort(drawn))
    forest = CausalForestDML(
        model_y=SmoothRegressor(),
        model_t=SmoothRegressor(),
        cv=GroupKFold(folds, shuffle=True, random_state=seed),
        n_estimators=200,
        min_samples_leaf=50,
        max_samples=0.25,
        random_state=seed,
    )
    forest.fit(sample.outcome, sample.treatment, X=sample.modifiers, W=sample.confounders, groups=sample.item)
    return ForestModel(forest, len(np.unique(sample.item)), _scores(forest))


def fit_linear(sample: EffectSample, folds: int, seed: int, each: Each = here) -> LinearModel:
    """LinearDML (Chernozhukov et al. 2018): nuisances cross-fitted over items, linear theta(x).

    Repeated over several cuts of the items into folds; the estimate is the mean, and what differs between cuts adds to
    its variance (the same, section 3.4). EconML's own interval takes rows as independent. Popularity belongs to the
    item and whatever is unobserved about an item moves all its rows, so the covariance here is the sandwich clustered
    by item on EconML's residuals.
    """
    fits = each(_fit_once, [(sample, folds, seed + 1000 * repeat) for repeat in range(REPEATS)])
    coefficients = np.mean([fit.coefficients for fit in fits], axis=0)
    apart = [np.outer(*2 * [fit.coefficients - coefficients]) for fit in fits]
    covariance = np.mean([fit.covariance + spread for fit, spread in zip(fits, apart, strict=True)], axis=0)
    scores = {name: float(np.mean([fit.scores[name] for fit in fits])) for name in fits[0].scores}
    deviations = np.mean([fit.residual_deviations for fit in fits], axis=0)
    return LinearModel(coefficients, covariance, fits[0].clusters, scores, (float(deviations[0]), float(deviations[1])))


def _fit_once(sample: EffectSample, folds: int, seed: int) -> LinearModel:
    from econml.dml import LinearDML

    cut = GroupKFold(folds, shuffle=True, random_state=seed)
    dml = LinearDML(model_y=SmoothRegressor(), model_t=SmoothRegressor(), cv=cut, random_state=seed)
    x = sample.modifiers if sample.modifiers.shape[1] else None
    w = sample.confounders if sample.confounders.shape[1] else None
    rows = {"X": x, "W": w, "groups": sample.item}
    dml.fit(sample.outcome, sample.treatment, **rows, cache_values=True, inference=None)
    outcome_residual, treatment_residual, _, _ = dml.residuals_  # folds cover every row, so in the order given
    slopes = np.ravel(dml.coef_) if x is not None else np.empty(0)
    coefficients = np.concatenate([np.ravel(dml.intercept_), slopes])
    design = treatment_residual.reshape(-1, 1) * np.column_stack([np.ones(len(sample.outcome)), sample.modifiers])
    left = outcome_residual.ravel() - design @ coefficients
    covariance = clustered_covariance(design, left, sample.item)
    deviations = float(treatment_residual.std()), float(left.std())
    return LinearModel(coefficients, covariance, len(np.unique(sample.item)), _scores(dml), deviations)


def _scores(dml: Any) -> dict[str, float]:
    return {
        "outcome_r2": float(np.mean(dml.nuisance_scores_y)),
        "treatment_r2": float(np.mean(dml.nuisance_scores_t)),
    }


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
    return with_interval(float(fitted[1]), float(t.ppf(0.975, degrees) * np.sqrt(covariance[1, 1])))


def with_interval(effect: float, reach: float) -> dict[str, Any]:
    """An estimate and how far its 95 % interval reaches on both sides, ready for JSON."""
    return {"effect": effect, "ci95": [effect - reach, effect + reach]}
