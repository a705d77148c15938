"""How slates of several models do, side by side: a trial of a model on a share of the users.

Users, not slates, were dealt out to the models, so they are the unit of the intervals: one user's slates go well or ill
together. Reward of a slate: whether its user said anything good of an item on it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

NORMAL_95 = 1.96


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

    With n_u slates and r_u rewards of user u: R = sum r / sum n, Var R = sum (r_u - R n_u)^2 / (sum n)^2.
    """
    slates, rewarded = (np.array([getattr(row, name) for row in rows], np.float64) for name in ("slates", "rewarded"))
    total = slates.sum()
    rate = rewarded.sum() / total
    half = NORMAL_95 * _error(slates, rewarded)
    return Rate(len(rows), int(total), float(rate), float(max(rate - half, 0)), float(min(rate + half, 1)))


def difference(new: Sequence[OfUser], old: Sequence[OfUser]) -> tuple[float, float, float]:
    """How much more of the slates of one model earned something, with its 95 % interval."""
    means, errors = [], []
    for rows in (new, old):
        slates, rewarded = (np.array([getattr(row, n) for row in rows], np.float64) for n in ("slates", "rewarded"))
        means.append(rewarded.sum() / slates.sum())
        errors.append(_error(slates, rewarded))
    half = NORMAL_95 * math.hypot(*errors)
    found = float(means[0] - means[1])
    return found, found - half, found + half


def _error(slates: np.ndarray, rewarded: np.ndarray) -> float:
    rate = rewarded.sum() / slates.sum()
    return float(np.sqrt(((rewarded - rate * slates) ** 2).sum()) / slates.sum())
