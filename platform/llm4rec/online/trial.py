"""How slates of several models do, side by side: a trial of a model on a share of the users.

Users, not slates, were dealt out to the models, so they are the unit of the intervals: one user's slates go well or ill
together. Reward of a slate: whether its user said anything good of an item on it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv, stdtrit

TINY = 1e-15
"""Variances below are of sums that are not exact."""


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
    """Of a ratio of sums over users, with the interval of Korn and Graubard (Survey Methodology 24, 1998).

    With n_u slates and r_u rewards of user u: R = sum r / sum n, Var R = m / (m - 1) sum (r_u - R n_u)^2 / (sum n)^2
    for m users (linearisation; users are independent). The interval is that of Clopper and Pearson for as many slates
    as would vary like that if each were a user's only one, R (1 - R) / Var R, times (t of sum n - 1 / t of m - 1)^2
    and at most sum n; where no user differs from R, for m of them. It holds where rewards are rare, too, where a
    symmetric one holds the truth far too seldom. A single user says nothing: 0 to 1.
    """
    slates, rewarded = (np.array([getattr(row, name) for row in rows], np.float64) for name in ("slates", "rewarded"))
    users, total = len(rows), slates.sum()
    rate = float(rewarded.sum() / total)
    if users == 1:
        return Rate(1, int(total), rate, 0.0, 1.0)
    variance = users / (users - 1) * ((rewarded - rate * slates) ** 2).sum() / total**2
    independent = float(users)
    if variance > TINY:
        few_users = _quantile(total - 1) / _quantile(users - 1)
        independent = min(rate * (1 - rate) / variance * few_users**2, total)
    return Rate(users, int(total), rate, *_clopper_pearson(rate * independent, independent))


def difference(new: Sequence[OfUser], old: Sequence[OfUser]) -> tuple[float, float, float]:
    """How much more of the slates of one model earned something, with its 95 % interval.

    Of the two rates' own intervals, by Newcombe's hybrid score method (Statistics in Medicine 17, 1998, method 10).
    """
    one, other = rate_of(new), rate_of(old)
    found = one.rate - other.rate
    below = math.hypot(one.rate - one.low, other.high - other.rate)
    above = math.hypot(one.high - one.rate, other.rate - other.low)
    return found, max(found - below, -1.0), min(found + above, 1.0)


def _clopper_pearson(successes: float, trials: float) -> tuple[float, float]:
    """The 95 % interval of a share; numbers need not be whole."""
    low = betaincinv(successes, trials - successes + 1, 0.025) if successes > 0 else 0.0
    high = betaincinv(successes + 1, trials - successes, 0.975) if successes < trials else 1.0
    return float(low), float(high)


def _quantile(degrees: float) -> float:
    return float(stdtrit(degrees, 0.975))
