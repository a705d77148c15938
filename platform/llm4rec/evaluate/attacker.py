"""How well an attacker who sees a user's state, and knows some users' attribute, tells it of the others."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from llm4rec.evaluate.groups import UNKNOWN
from llm4rec.evaluate.metrics import Labels
from llm4rec.schema import FloatMatrix, evenly

FOLDS = 5
HIDDEN = 64
MIN_USERS = 4 * FOLDS
"""Of a label, whatever the configuration says: fewer teach nothing, and leave no users to stop early by."""
MAX_USERS = 20_000
"""Of more users an even spread is taken."""


def attacker_auc(states: FloatMatrix, labels: Labels, min_group_size: int, seed: int) -> dict[str, float]:
    """AUC of two attackers on users they were not trained on: a logistic regression and a network of one hidden layer.

    Means over five folds; with more than two labels the mean over labels of each against the rest. 0.5 is chance.

    Args:
        states: shape (E, D).
        labels: of the attribute, shape (E,); users with an unknown or a rare label are left out.
        min_group_size: labels with fewer users are rare, at least MIN_USERS.
        seed: of folds and networks.

    Returns:
        The AUC of `linear` and of `network`; empty if fewer than two labels are left.
    """
    told = np.flatnonzero(labels != UNKNOWN)
    told = told[evenly(len(told), MAX_USERS)]
    # counted among those that are left, since every fold needs some of each label
    names, counts = np.unique(labels[told], return_counts=True)
    kept = told[np.isin(labels[told], names[counts >= max(min_group_size, MIN_USERS)])]
    x, (classes, y) = states[kept], np.unique(labels[kept], return_inverse=True)
    if len(classes) < 2:
        return {}
    attackers = {
        "linear": make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)),
        "network": make_pipeline(
            StandardScaler(), MLPClassifier((HIDDEN,), alpha=1e-2, early_stopping=True, random_state=seed)
        ),
    }
    cuts = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y))
    return {name: float(np.mean([_auc(attacker, x, y, *cut) for cut in cuts])) for name, attacker in attackers.items()}


def _auc(attacker: object, x: FloatMatrix, y: np.ndarray, fitted: np.ndarray, held: np.ndarray) -> float:
    told = attacker.fit(x[fitted], y[fitted]).predict_proba(x[held])  # type: ignore[attr-defined]
    binary = told.shape[1] == 2
    return float(roc_auc_score(y[held], told[:, 1] if binary else told, multi_class="ovr", average="macro"))
