"""The loss, against logarithms taken by hand."""

import math

import pytest
import torch

from llm4rec.model.inputs import PADDING
from llm4rec.model.loss import weighted_softmax_loss

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
