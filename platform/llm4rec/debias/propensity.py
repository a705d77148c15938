"""P(observed | user, item): a classifier of the observed pairs against sampled unobserved ones, calibrated."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import expit
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from llm4rec.debias.clipping import UNCHOSEN, choose_quantile
from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.covariates import Covariates
from llm4rec.debias.nuisance import BOOSTING
from llm4rec.errors import DataError
from llm4rec.schema import FloatMatrix, FloatVector, IntVector

Codes = npt.NDArray[np.int64]
MAX_LEVELS = 20
PAIRS_AT_ONCE = 100_000
QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


@dataclass(frozen=True)
class PropensityModel:
    """A calibrated model of being observed.

    Attributes:
        classifier: fitted to features of `Covariates.pairs`.
        shift: added to its log odds, so that predictions sum to the number of observed pairs.
    """

    classifier: Any
    shift: float

    def predict(self, pairs: FloatMatrix) -> FloatVector:
        """P(observed) of pairs, shape (pairs,)."""
        return expit(self.classifier.decision_function(pairs) + self.shift).astype(np.float32)


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
        model: the propensity model; naive Bayes has none, it knows observed pairs only.
        train: shape (N,), propensity of each train interaction.
        diagnostics: density, calibration, AUC and overlap, ready for JSON.
        warnings: sentences for the report.
        clip_quantile: at which quantile they are best clipped.
    """

    model: PropensityModel | None
    train: FloatVector
    diagnostics: dict[str, Any]
    warnings: list[str]
    clip_quantile: float = UNCHOSEN


def fit_propensities(covariates: Covariates, config: DebiasConfig, seed: int) -> Propensities:
    """Fit the propensity model and apply it to all train interactions.

    A log in which everybody interacted with everything has propensity 1 by definition: no model, and a warning.
    """
    train = covariates.train
    sample = sample_pairs(covariates, config, np.random.default_rng(seed))
    if sample is None:
        warning = "every user interacted with every item: propensities are 1 and weights equal"
        return Propensities(None, np.ones(len(train), np.float32), {"density": 1.0, "auc": None}, [warning])
    if config.propensity == "naive_bayes":
        return naive_bayes(covariates, sample.density)
    model = fit_model(sample, config.propensity, seed)
    held_out = _held_out(sample, config, seed)
    auc = 0.5 if held_out is None else float(roc_auc_score(sample.observed, held_out))
    predicted = model.predict(sample.pairs)
    diagnostics = {
        "density": sample.density,
        "mean": float(np.average(predicted, weights=sample.scale)),
        "auc": auc,
        "observed_quantiles": _quantiles(predicted[sample.observed]),
        "unobserved_quantiles": _quantiles(predicted[~sample.observed]),
    }
    warnings = [f"propensity model hardly beats chance (AUC {auc:.3f}): weights say little"] if auc < 0.55 else []
    quantile = UNCHOSEN
    if held_out is not None:
        of_sample = (sample.pairs, sample.observed, sample.scale, held_out, sample.density)
        quantile, imbalance = choose_quantile(*of_sample, config)
        diagnostics["imbalance"] = {f"{q:g}": value for q, value in imbalance.items()}
    parts = [slice(start, start + PAIRS_AT_ONCE) for start in range(0, len(train.user), PAIRS_AT_ONCE)]
    predicted = np.concatenate([model.predict(covariates.pairs(train.user[at], train.item[at])) for at in parts])
    return Propensities(model, predicted, diagnostics, warnings, quantile)


def naive_bayes(covariates: Covariates, density: float) -> Propensities:
    """P(observed | outcome) from how often each outcome is chosen and how often it is found at random.

    P(O | y) = P(y | O) P(O) / P(y), with P(y) from the random sample (Schnabel et al. 2016, section 4.1). Values of
    more than twenty kinds are cut into ten levels. Rows of the random sample count as what they are, drawn evenly.

    Raises:
        DataError: there is no random row, or no other.
    """
    value, random = covariates.train.value, covariates.random
    if random.all() or not random.any():
        raise DataError(
            f"debias.propensity naive_bayes: {int(random.sum())} of {len(random)} train interactions are a random "
            "sample; some, but not all, must be"
        )
    level = _levels(value)
    counts = [np.bincount(level[rows], minlength=level.max() + 1) + 1.0 for rows in (~random, random)]
    chosen, drawn = (count / count.sum() for count in counts)
    drawn_density = density * random.mean()
    chosen_density = density - drawn_density
    propensity = np.where(random, drawn_density, np.minimum(chosen[level] / drawn[level] * chosen_density, 1.0))
    diagnostics = {
        "density": density,
        "auc": None,
        "random_rows": int(random.sum()),
        "observed_quantiles": _quantiles(propensity[~random].astype(np.float32)),
    }
    few = int((counts[1] - 1).min())
    warnings = [f"an outcome stands {few} times in the random sample: its propensity is rough"] if few < 20 else []
    return Propensities(None, propensity.astype(np.float32), diagnostics, warnings)


def _levels(value: FloatVector) -> Codes:
    distinct, level = np.unique(value, return_inverse=True)
    if len(distinct) <= MAX_LEVELS:
        return level
    return np.searchsorted(np.quantile(value, np.linspace(0, 1, 11)[1:-1]), value, side="right")


def fit_model(sample: PairSample, kind: str, seed: int) -> PropensityModel:
    """A classifier whose log odds are shifted to undo the sampling.

    Sampling by outcome multiplies all odds by the same number (King and Zeng 2001). The shift is the root of
    sum_s scale_s * p_s = observed pairs, the score equation of the whole population, so that the mean propensity
    equals the density even where the model is wrong.

    Args:
        sample: pairs to fit on.
        kind: logistic or boosting.
        seed: of boosting.
    """
    if kind == "boosting":
        classifier = HistGradientBoostingClassifier(**BOOSTING, random_state=seed)
    else:
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    logits = classifier.fit(sample.pairs, sample.observed).decision_function(sample.pairs)
    total = float(sample.scale[sample.observed].sum())
    reach = 50.0 + float(np.abs(logits).max())
    shift = brentq(lambda shift: float(sample.scale @ expit(logits + shift)) - total, -reach, reach)
    return PropensityModel(classifier, float(shift))


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
        drawn = np.concatenate([drawn, keys[~among(observed_keys, keys)]])
    return drawn[:count]


def among(observed_keys: Codes, keys: Codes) -> npt.NDArray[np.bool_]:
    """Which of `keys` are observed; `observed_keys` are sorted."""
    place = np.minimum(np.searchsorted(observed_keys, keys), len(observed_keys) - 1)
    return observed_keys[place] == keys


def _held_out(sample: PairSample, config: DebiasConfig, seed: int) -> npt.NDArray[np.float64] | None:
    """The propensity of each pair from a model that was fitted without it; None if there are too few to do that."""
    folds = min(config.folds, int(sample.observed.sum()), int((~sample.observed).sum()))
    if folds < 2:
        return None
    predicted = np.empty(len(sample.observed))
    for fitted, held in StratifiedKFold(folds, shuffle=True, random_state=seed).split(sample.pairs, sample.observed):
        part = PairSample(sample.pairs[fitted], sample.observed[fitted], sample.scale[fitted], sample.density)
        predicted[held] = fit_model(part, config.propensity, seed).predict(sample.pairs[held])
    return predicted


def _quantiles(values: FloatVector) -> dict[str, float]:
    return {f"{q:g}": float(value) for q, value in zip(QUANTILES, np.quantile(values, QUANTILES), strict=True)}
