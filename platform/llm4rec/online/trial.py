"""How slates of several models do, side by side: a trial of a model on a share of the users.

Users, not slates, were dealt out to the models, so they are the unit of the intervals: one user's slates go well or ill
together. Reward of a slate: whether its user said anything good of an item on it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class OfUser:
    """What a user made of the slates of one model: how many there were, and how many earned something."""

    version: str
    user_id: str
    slates: int
    rewarded: int


@dataclass(frozen=True)
class Rate:
    """Share of slates that earned something, with its 95 % interval."""

    users: int
    slates: int
    rate: float
    low: float
    high: float


def rate_of(rows: Sequence[OfUser]) -> Rate:
    """Of a ratio of sums over users, by the delta method (linearisation; users are independent).

    With n_u slates and r_u rewards of user u: R = sum r / sum n, Var R = m / (m - 1) sum (r_u - R n_u)^2 / (sum n)^2
    for m users, and Student's t with m - 1 degrees of freedom. A single user says nothing: 0 to 1.
    """
    slates, rewarded = (np.array([getattr(row, name) for row in rows], np.float64) for name in ("slates", "rewarded"))
    total = slates.sum()
    rate = rewarded.sum() / total
    half = _quantile(len(rows) - 1) * _error(slates, rewarded)
    return Rate(len(rows), int(total), float(rate), float(max(rate - half, 0)), float(min(rate + half, 1)))


def difference(new: Sequence[OfUser], old: Sequence[OfUser]) -> tuple[float, float, float]:
    """How much more of the slates of one model earned something, with its 95 % interval.

    Of Student's t, with the fewest degrees of freedom that Welch's may have.
    """
    means, errors = [], []
    for rows in (new, old):
        slates, rewarded = (np.array([getattr(row, n) for row in rows], np.float64) for n in ("slates", "rewarded"))
        means.append(rewarded.sum() / slates.sum())
        errors.append(_error(slates, rewarded))
    half = _quantile(min(len(new), len(old)) - 1) * math.hypot(*errors)
    found = float(means[0] - means[1])
    return found, max(found - half, -1.0), min(found + half, 1.0)


def _error(slates: np.ndarray, rewarded: np.ndarray) -> float:
    users = len(slates)
    rate = rewarded.sum() / slates.sum()
    squares = users / max(users - 1, 1) * ((rewarded - rate * slates) ** 2).sum()
    return 1.0 if users == 1 else float(np.sqrt(squares) / slates.sum())


def _quantile(degrees: int) -> float:
    return float(stats.t.ppf(0.975, max(degrees, 1)))
