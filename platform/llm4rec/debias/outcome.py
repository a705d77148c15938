"""P(good outcome | user, item) of every pair: the imputation model of doubly robust training.

A logistic regression on who the user is, which item it is, and the products of what is known of both. It is therefore
bilinear, and two small tables hold it for any number of pairs.
"""

from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import sparse
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold

from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.covariates import Covariates
from llm4rec.debias.result import OutcomeModel
from llm4rec.schema import BoolVector, FloatMatrix, FloatVector, IntVector

MAX_ROWS = 50_000
INVERSE_PENALTIES = (0.3, 1.0, 3.0)
FEATURE_SCALES = (0.1, 0.2, 0.5, 1.0)
"""Of known features beside the indicators of users and items: the smaller, the stronger their penalty."""


def fit_outcome(covariates: Covariates, weight: FloatVector, config: DebiasConfig, seed: int) -> OutcomeModel | str:
    """Fit on the train interactions, penalties chosen by weighted log loss of held-out ones.

    Args:
        covariates: of the train interactions, N rows.
        weight: training weights of those rows, shape (N,).
        config: threshold and folds.
        seed: of the folds, and of the rows drawn from a long log.

    Returns:
        The model, or why there can be none.
    """
    train = covariates.train
    threshold = float(train.value.mean()) if config.good_above is None else config.good_above
    good = train.value > threshold
    rows = np.arange(len(train))
    if len(rows) > MAX_ROWS:
        rows = np.sort(np.random.default_rng(seed).choice(rows, MAX_ROWS, replace=False))
    fewest = int(min(good[rows].sum(), (~good[rows]).sum()))
    if fewest < config.folds:
        return (
            f"only {fewest} of {len(rows)} interactions are on one side of debias.good_above = {threshold:g}, "
            f"at least {config.folds} are needed: no outcome model"
        )
    log = _Log(covariates, rows, good[rows], weight[rows].astype(np.float64))
    designs = {scale: log.design(scale) for scale in FEATURE_SCALES}
    losses = {
        (scale, penalty): log.held_out_loss(designs[scale], penalty, config.folds, seed)
        for scale, penalty in product(FEATURE_SCALES, INVERSE_PENALTIES)
    }
    scale, penalty = min(losses, key=lambda setting: losses[setting])
    fitted = _fit(designs[scale], log.good, log.weight, penalty)
    return _tables(covariates, fitted, scale, threshold, losses[scale, penalty])


@dataclass(frozen=True)
class _Log:
    """Interactions to fit on: rows of the covariates, whether they were good, and their weights."""

    covariates: Covariates
    rows: npt.NDArray[np.integer]
    good: BoolVector
    weight: npt.NDArray[np.float64]

    def design(self, scale: float) -> sparse.csr_array:
        """Indicators of user and item, and known features times `scale`, shape (n, U + I + P + Q + P Q)."""
        user, item = (codes[self.rows] for codes in (self.covariates.train.user, self.covariates.train.item))
        known_user = sparse.csr_array(scale * self.covariates.users[user])
        known_item = sparse.csr_array(scale * _content(self.covariates)[item])
        columns = known_user.tocsc()
        products = [
            known_item.multiply(columns[:, [place]].toarray() / scale).tocsr() for place in range(columns.shape[1])
        ]
        indicators = [
            _indicators(user, len(self.covariates.users)),
            _indicators(item, len(self.covariates.items)),
        ]
        return sparse.hstack([*indicators, known_user, known_item, *products], format="csr")

    def held_out_loss(self, design: sparse.csr_array, penalty: float, folds: int, seed: int) -> float:
        """Weighted log loss, each row by a model that has not seen it."""
        predicted = np.empty(len(self.good))
        for fitted, held in StratifiedKFold(folds, shuffle=True, random_state=seed).split(self.rows, self.good):
            model = _fit(design[fitted], self.good[fitted], self.weight[fitted], penalty)
            predicted[held] = model.predict_proba(design[held])[:, 1]
        return float(log_loss(self.good, predicted, sample_weight=self.weight, labels=[False, True]))


def _content(covariates: Covariates) -> FloatMatrix:
    """Components of the items with their own spread: minor ones are not blown up, so the penalty falls on them."""
    return covariates.items * covariates.spread


def _indicators(codes: IntVector, width: int) -> sparse.csr_array:
    ones = (np.ones(len(codes)), (np.arange(len(codes)), codes))
    return sparse.csr_array(ones, shape=(len(codes), width))


def _fit(
    design: sparse.csr_array, good: BoolVector, weight: npt.NDArray[np.float64], penalty: float
) -> LogisticRegression:
    return LogisticRegression(C=penalty, max_iter=300).fit(design, good, sample_weight=weight)


def _tables(
    covariates: Covariates, fitted: LogisticRegression, scale: float, threshold: float, loss: float
) -> OutcomeModel:
    """Coefficients as tables: user [own term, 1, features], item [1, own term, products' slopes]."""
    num_users, num_known = covariates.users.shape
    num_items, num_components = covariates.items.shape
    ends = np.cumsum([num_users, num_items, num_known, num_components])
    user_term, item_term, user_slope, item_slope, products = np.split(fitted.coef_[0], ends)
    user_own = user_term + scale * covariates.users @ user_slope + fitted.intercept_[0]
    content = _content(covariates)
    item_own = item_term + scale * content @ item_slope
    slopes = scale * content @ products.reshape(num_known, num_components).T
    users = np.column_stack([user_own, np.ones(num_users), covariates.users])
    items = np.column_stack([np.ones(num_items), item_own, slopes])
    return OutcomeModel(users.astype(np.float32), items.astype(np.float32), threshold, loss)
