"""P(observed | user, item): logistic regression on the observed pairs against sampled unobserved ones."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.covariates import Covariates
from llm4rec.schema import FloatMatrix, FloatVector, IntVector

Codes = npt.NDArray[np.int64]
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class PropensityModel:
    """A calibrated logistic model of being observed.

    Attributes:
        coefficients: shape (F,), for the features of `Covariates.pairs`.
        intercept: set so that predictions sum to the number of observed pairs.
    """

    coefficients: npt.NDArray[np.float64]
    intercept: float

    def predict(self, pairs: FloatMatrix) -> FloatVector:
        """P(observed) of pairs, shape (pairs,)."""
        return expit(pairs @ self.coefficients + self.intercept).astype(np.float32)


@dataclass(frozen=True)
class PairSample:
    """Observed and unobserved pairs drawn to fit on.

    Attributes:
        pairs: shape (S, F), their features.
        observed: shape (S,), which were observed.
        scale: shape (S,), how many pairs of the population each stands for.
        density: observed pairs among all pairs of users and items with train interactions.
    """

    pairs: FloatMatrix
    observed: npt.NDArray[np.bool_]
    scale: npt.NDArray[np.float64]
    density: float


@dataclass(frozen=True)
class Propensities:
    """The fitted model (None where every pair is observed) and what it says of the log.

    Attributes:
        model: the propensity model.
        train: shape (N,), propensity of each train interaction.
        diagnostics: density, calibration, AUC and overlap, ready for JSON.
        warnings: sentences for the report.
    """

    model: PropensityModel | None
    train: FloatVector
    diagnostics: dict[str, Any]
    warnings: list[str]


def fit_propensities(covariates: Covariates, config: DebiasConfig, seed: int) -> Propensities:
    """Fit the propensity model and apply it to all train interactions.

    A log in which everybody interacted with everything has propensity 1 by definition: no model, and a warning.
    """
    train = covariates.train
    sample = sample_pairs(covariates, config, np.random.default_rng(seed))
    if sample is None:
        warning = "every user interacted with every item: propensities are 1 and weights equal"
        return Propensities(None, np.ones(len(train), np.float32), {"density": 1.0, "auc": None}, [warning])
    model = fit_model(sample)
    auc = _held_out_auc(sample, config.folds, seed)
    predicted = model.predict(sample.pairs)
    diagnostics = {
        "density": sample.density,
        "mean": float(np.average(predicted, weights=sample.scale)),
        "auc": auc,
        "observed_quantiles": _quantiles(predicted[sample.observed]),
        "unobserved_quantiles": _quantiles(predicted[~sample.observed]),
    }
    warnings = [f"propensity model hardly beats chance (AUC {auc:.3f}): weights say little"] if auc < 0.55 else []
    return Propensities(model, model.predict(covariates.pairs(train.user, train.item)), diagnostics, warnings)


def fit_model(sample: PairSample) -> PropensityModel:
    """Logistic regression whose intercept is corrected for the sampling.

    Sampling by outcome leaves the slopes of a logistic regression consistent and only shifts its intercept (King
    and Zeng 2001). The intercept is then the root of sum_s scale_s * p_s = observed pairs, the score equation of
    the whole population, so that the mean propensity equals the density even where the model is wrong.
    """
    scaler = StandardScaler().fit(sample.pairs)
    fitted = LogisticRegression(max_iter=300).fit(scaler.transform(sample.pairs), sample.observed)
    coefficients = fitted.coef_[0].astype(np.float64) / scaler.scale_
    logits = sample.pairs @ coefficients
    total = float(sample.scale[sample.observed].sum())
    reach = 50.0 + float(np.abs(logits).max())
    intercept = brentq(lambda shift: float(sample.scale @ expit(logits + shift)) - total, -reach, reach)
    return PropensityModel(coefficients, float(intercept))


def sample_pairs(covariates: Covariates, config: DebiasConfig, rng: np.random.Generator) -> PairSample | None:
    """Observed pairs and uniformly drawn unobserved ones; None where no pair is unobserved."""
    train = covariates.train
    users, items = np.unique(train.user), np.unique(train.item)
    num_items = len(covariates.popularity)
    observed_keys = np.unique(train.user.astype(np.int64) * num_items + train.item)
    population = len(users) * len(items)
    unobserved = population - len(observed_keys)
    if unobserved == 0:
        return None
    chosen = observed_keys
    if len(chosen) > config.max_rows:
        chosen = rng.choice(chosen, config.max_rows, replace=False)
    negatives = draw_unobserved(observed_keys, users, items, num_items, config.negatives * len(chosen), rng)
    keys = np.concatenate([chosen, negatives])
    observed = np.arange(len(keys)) < len(chosen)
    pairs = covariates.pairs((keys // num_items).astype(np.int32), (keys % num_items).astype(np.int32))
    scale = np.where(observed, len(observed_keys) / len(chosen), unobserved / len(negatives))
    return PairSample(pairs, observed, scale, len(observed_keys) / population)


def draw_unobserved(
    observed_keys: Codes, users: IntVector, items: IntVector, num_items: int, count: int, rng: np.random.Generator
) -> Codes:
    """`count` keys (user * num_items + item) uniform over unobserved pairs, with replacement, by rejection.

    In a log so dense that rejection would be slow, the unobserved pairs are few enough to be listed.
    """
    population = len(users) * len(items)
    if len(observed_keys) > 0.5 * population:
        every = (users[:, None].astype(np.int64) * num_items + items[None, :]).ravel()
        return rng.choice(np.setdiff1d(every, observed_keys, assume_unique=True), count)
    drawn = np.empty(0, np.int64)
    while len(drawn) < count:
        wanted = 2 * (count - len(drawn)) + 16
        keys = rng.choice(users, wanted).astype(np.int64) * num_items + rng.choice(items, wanted)
        place = np.minimum(np.searchsorted(observed_keys, keys), len(observed_keys) - 1)
        drawn = np.concatenate([drawn, keys[observed_keys[place] != keys]])
    return drawn[:count]


def _held_out_auc(sample: PairSample, folds: int, seed: int) -> float:
    """Area under the ROC curve, each pair scored by a model that was fitted without it."""
    folds = min(folds, int(sample.observed.sum()), int((~sample.observed).sum()))
    if folds < 2:
        return 0.5
    scores = np.empty(len(sample.observed))
    for fitted, held in StratifiedKFold(folds, shuffle=True, random_state=seed).split(sample.pairs, sample.observed):
        part = PairSample(sample.pairs[fitted], sample.observed[fitted], sample.scale[fitted], sample.density)
        model = fit_model(part)
        scores[held] = sample.pairs[held] @ model.coefficients + model.intercept
    return float(roc_auc_score(sample.observed, scores))


def _quantiles(values: FloatVector) -> dict[str, float]:
    return {f"{q:g}": float(value) for q, value in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}
