"""The loss, against logarithms taken by hand."""

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as log_loss

from llm4rec.model.inputs import PADDING
from llm4rec.model.loss import outcome_loss, parity_penalty, weighted_softmax_loss

# softmax: [1/2, 1/4, 1/4], [1/4, 3/4, 0+], uniform
SCORES = torch.tensor([[[math.log(2), 0.0, 0.0], [0.0, math.log(3), -1e9]], [[0.0, 0.0, 0.0], [5.0, 1.0, 2.0]]])
TARGET = torch.tensor([[0, 1], [2, PADDING]])
WEIGHT = torch.tensor([[1.0, 3.0], [0.0, 100.0]])
LOSSES = [math.log(2), math.log(4 / 3), math.log(3)]
PLAIN = sum(LOSSES) / 3
CAUSAL = (1 * LOSSES[0] + 3 * LOSSES[1]) / 4


@pytest.mark.parametrize("beta", [0.0, 0.1, 1.0, 5.0])
def test_by_hand(beta: float) -> None:
    found = weighted_softmax_loss(SCORES, TARGET, WEIGHT, beta)
    assert float(found) == pytest.approx((PLAIN + beta * CAUSAL) / (1 + beta), rel=1e-5)


def test_the_weights_are_self_normalised() -> None:
    twice = weighted_softmax_loss(SCORES, TARGET, WEIGHT * 7, 1.0)
    assert float(twice) == pytest.approx(float(weighted_softmax_loss(SCORES, TARGET, WEIGHT, 1.0)), rel=1e-6)


def test_equal_weights_leave_the_plain_loss() -> None:
    assert float(weighted_softmax_loss(SCORES, TARGET, torch.ones(2, 2), 3.0)) == pytest.approx(PLAIN, rel=1e-6)


def test_padding_takes_no_part_and_gets_no_gradient() -> None:
    scores = SCORES.clone().requires_grad_()
    weighted_softmax_loss(scores, TARGET, WEIGHT, 1.0).backward()
    assert not scores.grad[1, 1].any() and scores.grad[0, 0].any()


def test_a_batch_whose_weights_are_all_zero_keeps_the_plain_loss_finite() -> None:
    found = weighted_softmax_loss(SCORES, TARGET, torch.zeros(2, 2), 1.0)
    assert float(found) == pytest.approx(PLAIN / 2, rel=1e-6)


def test_bfloat16_scores_are_summed_in_float32() -> None:
    found = weighted_softmax_loss(SCORES.bfloat16(), TARGET, WEIGHT, 0.0)
    assert found.dtype == torch.float32 and float(found) == pytest.approx(PLAIN, rel=1e-2)


# Two rows, two items; item 0 was observed in the first and was good, item 1 in the second and was not.
LOGIT = torch.tensor([[0.0, 5.0], [-5.0, math.log(3)]])
OBSERVED, GOOD, WEIGHTS = torch.tensor([0, 1]), torch.tensor([1.0, 0.0]), torch.tensor([0.5, 1.5])
FIRST, SECOND = math.log(2), math.log(4)  # log losses of the observed: -log 1/2, -log (1 - 3/4)


def test_naive_and_weighted_outcome_losses_by_hand() -> None:
    naive = outcome_loss(LOGIT, OBSERVED, GOOD, WEIGHTS, None, "naive")
    weighted = outcome_loss(LOGIT, OBSERVED, GOOD, WEIGHTS, None, "weighted")
    assert float(naive) == pytest.approx((FIRST + SECOND) / 2)
    assert float(weighted) == pytest.approx((0.5 * FIRST + 1.5 * SECOND) / 2)


def test_doubly_robust_outcome_loss_by_hand() -> None:
    half = torch.full((2, 2), 0.5)
    everywhere = log_loss(LOGIT, half)
    errors = [FIRST - math.log(2), SECOND - float(log_loss(LOGIT[1, 1], torch.tensor(0.5)))]
    expected = float(everywhere) + (0.5 * errors[0] + 1.5 * errors[1]) / 2
    assert float(outcome_loss(LOGIT, OBSERVED, GOOD, WEIGHTS, half, "doubly_robust")) == pytest.approx(expected)


def selected(seed: int, rows: int = 4000) -> tuple[torch.Tensor, ...]:
    """Each row shows one of two items; which one depends on its outcome there, with known propensity."""
    generator = torch.Generator().manual_seed(seed)
    chances = torch.tensor([[0.8, 0.3]]).expand(rows, 2)
    outcome = torch.bernoulli(chances, generator=generator)
    first = 0.2 + 0.6 * outcome[:, 0]
    target = (torch.rand(rows, generator=generator) > first).long()
    propensity = torch.where(target == 0, first, 1 - first)
    return chances, outcome, target, outcome[torch.arange(rows), target], 0.5 / propensity


@pytest.mark.parametrize("wrong", ["nothing", "weights", "imputed", "both"])
def test_doubly_robust_is_right_if_weights_or_imputed_outcomes_are(wrong: str) -> None:
    chances, outcome, target, good, weight = selected(0, 200_000)
    logit = torch.tensor([[0.4, -0.9]]).expand(len(target), 2)
    truth = float(log_loss(logit, outcome))
    imputed = outcome if wrong in {"nothing", "weights"} else torch.full_like(chances, 0.9)
    weight = weight if wrong in {"nothing", "imputed"} else torch.ones(len(target))
    found = float(outcome_loss(logit, target, good, weight, imputed, "doubly_robust"))
    assert (abs(found - truth) < 0.01) == (wrong != "both")
    naive = float(outcome_loss(logit, target, good, weight, None, "naive"))
    assert abs(naive - truth) > 0.03


def test_parity_penalty_by_hand() -> None:
    # popular mass 3/4 for user 0 at both positions, 1/2 for user 1, whose second position is padding
    scores = torch.tensor([[[math.log(3), 0.0]] * 2, [[0.0, 0.0], [9.0, 0.0]]])
    kept = torch.tensor([[True, True], [True, False]])
    popular = torch.tensor([True, False])
    codes = torch.tensor([[1, 1], [2, 1]])  # the second attribute is the same for both: no gap
    assert float(parity_penalty(scores, kept, popular, codes[:, :1], 0.0)) == pytest.approx(0.125)
    assert float(parity_penalty(scores, kept, popular, codes, 0.0)) == pytest.approx(0.125 / 2)
    assert float(parity_penalty(scores, kept, popular, codes[:, :1], 0.1)) == pytest.approx(0.025, rel=1e-5)
    assert float(parity_penalty(scores, kept, popular, codes[:, :1], 0.2)) == 0
