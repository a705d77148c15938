"""The value of a policy from the log of another: IPS, SNIPS, DM, DR and SWITCH-DR, each with its interval.

Shape n: logged decisions. What is estimated is V = E[sum over a of pi(a | x) r(x, a)], the mean reward had `pi` chosen.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from llm4rec.errors import DataError
from llm4rec.evaluate.bootstrap import resampled_means

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Decisions:
    """Logged decisions, seen from the policy that is to be valued; all of shape (n,).

    Attributes:
        reward: what the logged choice earned.
        logged: its propensity under the policy that made it, above 0.
        target: its probability under the policy to be valued.
        predicted: what a reward model expects of it, q(x, a).
        expected: what the model expects of the policy to be valued, sum over a of pi(a | x) q(x, a).
    """

    reward: Values
    logged: Values
    target: Values
    predicted: Values
    expected: Values

    def __post_init__(self) -> None:
        shapes = {field.name: np.shape(getattr(self, field.name)) for field in fields(self)}
        if len(set(shapes.values())) > 1 or len(shapes["reward"]) != 1 or not shapes["reward"][0]:
            raise DataError(f"decisions must be arrays of one length, at least 1; got shapes {shapes}")
        for field in fields(self):
            if not np.isfinite(getattr(self, field.name)).all():
                raise DataError(f"{field.name} of a decision is no finite number; leave such decisions out")
        if not ((self.logged > 0) & (self.logged <= 1)).all():
            raise DataError(
                f"logged propensities must be above 0 and at most 1, got {self.logged.min():g} to "
                f"{self.logged.max():g}; a choice that the logging policy could not make cannot be in its log"
            )
        if not ((self.target >= 0) & (self.target <= 1)).all():
            raise DataError(f"target must be probabilities, got {self.target.min():g} to {self.target.max():g}")

    @property
    def weight(self) -> Values:
        """pi(a | x) / pi_logged(a | x)."""
        return self.target / self.logged


def ips(decisions: Decisions) -> Values:
    """The rewards times w: unbiased where the propensities are right (Horvitz and Thompson 1952)."""
    return decisions.weight * decisions.reward


def snips(decisions: Decisions) -> Values:
    """The rewards times w / mean(w): bounded by them, biased in small samples (Swaminathan and Joachims 2015).

    Raises:
        DataError: the policy to be valued makes none of the logged choices.
    """
    mean = decisions.weight.mean()
    if mean == 0:
        raise DataError("the policy to be valued makes none of the logged choices: the log says nothing about it")
    return ips(decisions) / mean


def direct_method(decisions: Decisions) -> Values:
    """What the reward model expects of the policy, sum over a of pi(a | x) q(x, a): as good as the reward model."""
    return decisions.expected


def doubly_robust(decisions: Decisions) -> Values:
    """The direct method plus w (r - q): unbiased if propensities or reward model are right (Dudik et al. 2011)."""
    return decisions.expected + decisions.weight * (decisions.reward - decisions.predicted)


def switch_doubly_robust(decisions: Decisions, max_weight: float) -> Values:
    """DR whose correction is left out where w > `max_weight` (Wang, Agarwal and Dudik 2017, SWITCH-DR)."""
    kept = decisions.weight <= max_weight
    return decisions.expected + kept * decisions.weight * (decisions.reward - decisions.predicted)


@dataclass(frozen=True)
class PolicyValue:
    """An estimate of a policy's value.

    Attributes:
        value: the estimate.
        ci95: its 95 % percentile bootstrap interval over decisions.
    """

    value: float
    ci95: tuple[float, float]


def policy_values(decisions: Decisions, *, max_weight: float, samples: int, seed: int) -> dict[str, PolicyValue]:
    """The policy's value by every estimator.

    Args:
        decisions: the log.
        max_weight: of `switch_doubly_robust`.
        samples: bootstrap resamples.
        seed: of the bootstrap.

    Raises:
        DataError: the policy to be valued makes none of the logged choices.
    """
    estimators: dict[str, Callable[[Decisions], Values]] = {
        "ips": ips,
        "dm": direct_method,
        "dr": doubly_robust,
        "switch_dr": lambda d: switch_doubly_robust(d, max_weight),
    }
    found = {}
    for name, terms in estimators.items():
        values = terms(decisions)
        found[name] = _value(float(values.mean()), resampled_means(values, samples, seed))
    # The sum of the weights is resampled with the rewards: equal seeds draw equal decisions.
    weights = resampled_means(decisions.weight, samples, seed)
    rewards = resampled_means(ips(decisions), samples, seed)
    found["snips"] = _value(float(snips(decisions).mean()), rewards[weights > 0] / weights[weights > 0])
    return found


def snips_by_user(decisions: Decisions, users: npt.NDArray[np.int64], *, samples: int, seed: int) -> PolicyValue:
    """SNIPS with an interval over users, whose decisions go well or ill together.

    Args:
        decisions: the log.
        users: whose each is, numbered from 0 without gaps, shape (n,).
        samples: bootstrap resamples of users.
        seed: of the bootstrap.

    Raises:
        DataError: the policy to be valued makes none of the logged choices.
    """
    value = float(snips(decisions).mean())
    # The sums of the weights are resampled with those of the rewards: equal seeds draw equal users.
    weights, rewards = (
        resampled_means(np.bincount(users, terms).astype(np.float64), samples, seed)
        for terms in (decisions.weight, ips(decisions))
    )
    return _value(value, rewards[weights > 0] / weights[weights > 0])


def effective_sample_size(decisions: Decisions) -> float:
    """Decisions of equal weight that would tell as much: (sum w)^2 / sum w^2 (Kish 1965); 0 if all weights are 0."""
    squares = float(np.square(decisions.weight).sum())
    return float(decisions.weight.sum()) ** 2 / squares if squares else 0.0


def _value(value: float, resampled: Values) -> PolicyValue:
    low, high = np.quantile(resampled, [0.025, 0.975])
    return PolicyValue(value, (float(low), float(high)))
