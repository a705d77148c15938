from dataclasses import replace

import numpy as np
import pytest

from llm4rec.errors import DataError
from llm4rec.evaluate.off_policy import (
    Decisions,
    direct_method,
    doubly_robust,
    effective_sample_size,
    ips,
    policy_values,
    snips,
    switch_doubly_robust,
)

# Two actions; logged 0.5 / 0.25, target 0.25 / 0.75, so weights are 0.5 and 3.
BY_HAND = Decisions(
    reward=np.array([1.0, 2.0]),
    logged=np.array([0.5, 0.25]),
    target=np.array([0.25, 0.75]),
    predicted=np.array([0.5, 1.0]),
    expected=np.array([0.8, 0.6]),
)


def test_estimators_by_hand():
    np.testing.assert_allclose(ips(BY_HAND), [0.5, 6.0])
    np.testing.assert_allclose(snips(BY_HAND).mean(), 6.5 / 3.5)
    np.testing.assert_allclose(direct_method(BY_HAND), [0.8, 0.6])
    np.testing.assert_allclose(doubly_robust(BY_HAND), [0.8 + 0.5 * 0.5, 0.6 + 3.0 * 1.0])
    np.testing.assert_allclose(switch_doubly_robust(BY_HAND, 2.0), [0.8 + 0.5 * 0.5, 0.6])
    assert effective_sample_size(BY_HAND) == pytest.approx(3.5**2 / 9.25)


def test_switch_is_between_the_direct_method_and_doubly_robust():
    np.testing.assert_array_equal(switch_doubly_robust(BY_HAND, 0), direct_method(BY_HAND))
    np.testing.assert_array_equal(switch_doubly_robust(BY_HAND, np.inf), doubly_robust(BY_HAND))


def logged_by_softmax(n: int, seed: int) -> tuple[Decisions, float]:
    """Three actions, two contexts, known rewards: the true value of the target policy comes with them."""
    rng = np.random.default_rng(seed)
    mean_reward = np.array([[0.1, 0.5, 0.9], [0.7, 0.2, 0.4]])
    logging = np.array([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]])
    target = np.array([[0.1, 0.3, 0.6], [0.5, 0.25, 0.25]])
    context = rng.integers(0, 2, n)
    action = (rng.random(n)[:, None] > logging.cumsum(axis=1)[context]).sum(axis=1)
    decisions = Decisions(
        reward=(rng.random(n) < mean_reward[context, action]).astype(float),
        logged=logging[context, action],
        target=target[context, action],
        predicted=mean_reward[context, action],
        expected=(target * mean_reward).sum(axis=1)[context],
    )
    return decisions, float((target * mean_reward).sum(axis=1).mean())


WRONG_PROPENSITY = {"logged": lambda d: np.full(len(d.logged), 1 / 3)}
WRONG_MODEL = {
    "predicted": lambda d: np.full(len(d.reward), 0.9),
    "expected": lambda d: np.full(len(d.reward), 0.9),
}


def spoilt(decisions: Decisions, faults: dict) -> Decisions:
    return replace(decisions, **{name: fault(decisions) for name, fault in faults.items()})


def test_doubly_robust_survives_one_wrong_model_and_not_two():
    decisions, truth = logged_by_softmax(60_000, seed=0)
    for faults in ({}, WRONG_PROPENSITY, WRONG_MODEL):
        assert doubly_robust(spoilt(decisions, faults)).mean() == pytest.approx(truth, abs=0.01)
    assert abs(doubly_robust(spoilt(decisions, {**WRONG_PROPENSITY, **WRONG_MODEL})).mean() - truth) > 0.03
    assert abs(ips(spoilt(decisions, WRONG_PROPENSITY)).mean() - truth) > 0.03
    assert abs(direct_method(spoilt(decisions, WRONG_MODEL)).mean() - truth) > 0.03


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    covered = {name: 0 for name in ("ips", "snips", "dr", "switch_dr")}
    for seed in range(60):
        decisions, truth = logged_by_softmax(400, seed)
        values = policy_values(decisions, max_weight=3, samples=200, seed=seed)
        for name in covered:
            covered[name] += values[name].ci95[0] <= truth <= values[name].ci95[1]
    assert min(covered.values()) >= 51  # binomial(60, .95) is below 52 once in five hundred


def test_rewards_shifted_by_a_constant_shift_snips_by_it():
    decisions, _ = logged_by_softmax(500, seed=3)
    shifted = replace(decisions, reward=decisions.reward + 10)
    assert snips(shifted).mean() == pytest.approx(snips(decisions).mean() + 10)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"logged": np.array([0.0, 0.5])}, "above 0"),
        ({"logged": np.array([0.5, 1.5])}, "at most 1"),
        ({"target": np.array([-0.1, 0.5])}, "target must be probabilities"),
        ({"reward": np.array([np.nan, 1.0])}, "reward of a decision is no finite number"),
        ({"reward": np.array([1.0])}, "arrays of one length"),
    ],
)
def test_impossible_logs_are_refused(change, said):
    with pytest.raises(DataError, match=said):
        replace(BY_HAND, **change)


def test_a_policy_that_the_log_says_nothing_about_is_refused():
    with pytest.raises(DataError, match="says nothing about it"):
        snips(replace(BY_HAND, target=np.zeros(2)))
    assert effective_sample_size(replace(BY_HAND, target=np.zeros(2))) == 0
