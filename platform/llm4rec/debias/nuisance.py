"""Nuisance models: what outcome and treatment are expected to be, given the confounders.

Folds never split an item: whatever is hidden about an item moves all its rows, and a model that has seen some of them
would give it away on the others.
"""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, StandardScaler

Matrix = npt.NDArray[np.floating]
Codes = npt.NDArray[np.integer]

BOOSTING: dict[str, Any] = {
    "max_iter": 40,
    "max_leaf_nodes": 15,
    "learning_rate": 0.2,
    "max_bins": 63,
    "early_stopping": False,
}
MAX_PAIRED_COLUMNS = 24
"""With more columns, products of two different ones are left out."""
CHOOSING_ROWS = 20_000
PENALTY = 10.0
SCALING_ROWS = 50_000
"""Every so many-th row fixes means and deviations of the columns."""
CHUNK_ROWS = 50_000


class SmoothRegressor(RegressorMixin, BaseEstimator):
    """Ridge regression on standardised columns, their squares and products.

    The penalty is fixed. Outcome and treatment are then smoothed by the same linear map S, and what S misses of the
    treatment it misses of the treatment's share in the outcome too: (I - S) Y = theta (I - S) T + (I - S) g(W), so only
    the confounding g has to be smooth. Two models that err each in its own way bias theta instead.
    """

    def fit(self, x: Matrix, y: Matrix) -> Self:
        """Fit to rows x, shape (n, columns), and y, shape (n,), by the normal equations, some rows at a time."""
        target = np.ravel(y).astype(np.float64)
        self.expansion_ = _expansion(x.shape[1]).fit(x[:: -(-len(x) // SCALING_ROWS)])
        self.intercept_ = float(target.mean())
        gram, product, total = 0.0, 0.0, 0.0
        for rows in self._chunks(x):
            wide = self.expansion_.transform(x[rows]).astype(np.float64)
            gram, product = gram + wide.T @ wide, product + wide.T @ (target[rows] - self.intercept_)
            total = total + wide.sum(axis=0)
        self.mean_ = total / len(x)
        centred = gram - len(x) * np.outer(self.mean_, self.mean_)
        self.coef_ = np.linalg.solve(centred + PENALTY * np.eye(len(centred)), product)
        return self

    def predict(self, x: Matrix) -> Matrix:
        """Predictions, shape (n,)."""
        parts = [(self.expansion_.transform(x[rows]) - self.mean_) @ self.coef_ for rows in self._chunks(x)]
        return self.intercept_ + np.concatenate(parts)

    @staticmethod
    def _chunks(x: Matrix) -> list[slice]:
        return [slice(start, start + CHUNK_ROWS) for start in range(0, len(x), CHUNK_ROWS)]


class SmoothClassifier(ClassifierMixin, BaseEstimator):
    """Logistic regression on standardised columns, their squares and products."""

    def fit(self, x: Matrix, y: Codes) -> Self:
        """Fit to rows x, shape (n, columns), and classes y, shape (n,)."""
        self.model_ = make_pipeline(_expansion(x.shape[1]), LogisticRegression(C=0.3, max_iter=500)).fit(x, np.ravel(y))
        self.classes_ = self.model_.classes_
        return self

    def predict(self, x: Matrix) -> Codes:
        """Classes, shape (n,)."""
        return self.model_.predict(x)

    def predict_proba(self, x: Matrix) -> Matrix:
        """Probabilities, shape (n, classes)."""
        return self.model_.predict_proba(x)


def _expansion(columns: int) -> Pipeline:
    if columns <= MAX_PAIRED_COLUMNS:
        products = PolynomialFeatures(2, include_bias=False)
    else:
        products = FunctionTransformer(_with_squares)
    return make_pipeline(StandardScaler(), products, StandardScaler())


def _with_squares(x: Matrix) -> Matrix:
    return np.hstack([x, np.square(x)])


def choose_regressor(x: Matrix, y: Matrix, groups: Codes, folds: int, seed: int) -> Any:
    """The regressor, not yet fitted, with the lower squared error on held-out groups."""
    candidates = [SmoothRegressor(), HistGradientBoostingRegressor(**BOOSTING, random_state=seed)]
    return _best(candidates, x, y, groups, folds, seed)


def choose_classifier(x: Matrix, y: Codes, groups: Codes, folds: int, seed: int) -> Any:
    """The classifier of two classes, not yet fitted, with the lower log loss on held-out groups."""
    candidates = [SmoothClassifier(), HistGradientBoostingClassifier(**BOOSTING, random_state=seed)]
    return _best(candidates, x, y, groups, folds, seed)


def _best(candidates: list[Any], x: Matrix, y: Matrix | Codes, groups: Codes, folds: int, seed: int) -> Any:
    if len(x) > CHOOSING_ROWS:
        rows = np.random.default_rng(seed).choice(len(x), CHOOSING_ROWS, replace=False)
        x, y, groups = x[rows], y[rows], groups[rows]
    parts = [part for split in GroupKFold(folds).split(x, groups=groups) for part in split]
    if hasattr(candidates[0], "predict_proba") and any(len(np.unique(y[rows])) < 2 for rows in parts):
        return candidates[0]  # too few of one class to compare
    losses = [_held_out_loss(candidate, x, y, groups, folds) for candidate in candidates]
    return candidates[int(np.argmin(losses))]


def _held_out_loss(candidate: Any, x: Matrix, y: Matrix | Codes, groups: Codes, folds: int) -> float:
    losses = []
    for fitted, held in GroupKFold(folds).split(x, y, groups):
        model = clone(candidate).fit(x[fitted], y[fitted])
        if hasattr(model, "predict_proba"):
            losses.append(log_loss(y[held], model.predict_proba(x[held])[:, 1], labels=[0, 1]))
        else:
            losses.append(mean_squared_error(y[held], model.predict(x[held])))
    return float(np.mean(losses))
