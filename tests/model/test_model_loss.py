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


def of_scores(scores: torch.Tensor, *arguments: object) -> torch.Tensor:
    """The loss where the inner products of states and items are these scores."""
    return weighted_softmax_loss(scores, torch.eye(scores.shape[-1], dtype=scores.dtype), *arguments)


@pytest.mark.parametrize("beta", [0.0, 0.1, 1.0, 5.0])
def test_by_hand(beta: float) -> None:
    found = of_scores(SCORES, TARGET, WEIGHT, beta)
    assert float(found) == pytest.approx((PLAIN + beta * CAUSAL) / (1 + beta), rel=1e-5)


def test_the_weights_are_self_normalised() -> None:
    twice = of_scores(SCORES, TARGET, WEIGHT * 7, 1.0)
    assert float(twice) == pytest.approx(float(of_scores(SCORES, TARGET, WEIGHT, 1.0)), rel=1e-6)


def test_equal_weights_leave_the_plain_loss() -> None:
    assert float(of_scores(SCORES, TARGET, torch.ones(2, 2), 3.0)) == pytest.approx(PLAIN, rel=1e-6)


def test_padding_takes_no_part_and_gets_no_gradient() -> None:
    scores = SCORES.clone().requires_grad_()
    of_scores(scores, TARGET, WEIGHT, 1.0).backward()
    assert not scores.grad[1, 1].any() and scores.grad[0, 0].any()


def test_a_batch_whose_weights_are_all_zero_keeps_the_plain_loss_finite() -> None:
    found = of_scores(SCORES, TARGET, torch.zeros(2, 2), 1.0)
    assert float(found) == pytest.approx(PLAIN / 2, rel=1e-6)


def test_bfloat16_scores_are_summed_in_float32() -> None:
    found = of_scores(SCORES.bfloat16(), TARGET, WEIGHT, 0.0)
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


def test_doubly_robust_counts_every_user_alike() -> None:
    """Half of the users are four times as active; propensities are right, imputed outcomes are not."""
    generator = torch.Generator().manual_seed(1)
    users, items = 400, 60
    busy = torch.arange(users) % 2 == 0
    chance = torch.where(busy, 0.4, 0.1)[:, None].expand(users, items)
    outcome = (torch.rand(users, items, generator=generator) < torch.where(busy, 0.9, 0.2)[:, None]).float()
    user, item = (torch.rand(users, items, generator=generator) < chance).nonzero().T
    logit, imputed = torch.where(busy, 1.5, -0.5)[:, None].expand(users, items), torch.full((users, items), 0.5)
    truth = float(log_loss(logit, outcome))
    rows = torch.bincount(user, minlength=users)
    share = len(user) / (users * rows)[user]
    weight = (len(user) / (users * items)) / chance[user, item]
    call = (logit[user], item, outcome[user, item], weight, imputed[user], "doubly_robust")
    assert float(outcome_loss(*call, share)) == pytest.approx(truth, abs=0.02)
    assert abs(float(outcome_loss(*call)) - truth) > 0.05


def test_parity_penalty_by_hand() -> None:
    """Popular mass 3/4 for two rows, 1/2 for two; the second position of the last is padding."""
    high, low = [[math.log(3), 0.0]] * 2, [[0.0, 0.0]] * 2
    scores = torch.tensor([high, high, low, [[0.0, 0.0], [9.0, 0.0]]])
    kept = torch.tensor([[True, True]] * 3 + [[True, False]])
    popular = torch.tensor([True, False])
    codes = torch.tensor([[1, 1], [1, 1], [2, 1], [2, 1]])  # the second attribute is the same for all: no gap
    # gap 1/8, variance (4 / 64) / 3 of four rows, of which two stand in a group
    square = 1 / 64 - 1 / 48 * (1 / 2 - 1 / 4)
    assert float(parity_penalty(scores, kept, popular, codes[:, :1], 0.0)) == pytest.approx(square, rel=1e-5)
    assert float(parity_penalty(scores, kept, popular, codes, 0.0)) == pytest.approx(square / 2, rel=1e-5)
    found = parity_penalty(scores, kept, popular, codes[:, :1], 0.05)
    assert float(found) == pytest.approx(square - 0.0025, rel=1e-4)
    assert float(parity_penalty(scores, kept, popular, codes[:, :1], 0.2)) == 0


def test_persons_who_differ_without_their_groups_differing_cost_little() -> None:
    generator = torch.Generator().manual_seed(2)
    popular, kept = torch.tensor([True, False]), torch.ones(32, 1, dtype=torch.bool)
    alike, apart = [], []
    for _ in range(60):
        codes = torch.randint(0, 4, (32, 1), generator=generator)
        scores = torch.randn(32, 1, 2, generator=generator)
        alike.append(float(parity_penalty(scores, kept, popular, codes, 0.0)))
        scores[..., 0] += (codes == 0) * 2.0
        apart.append(float(parity_penalty(scores, kept, popular, codes, 0.0)))
    assert sum(alike) / 60 < 0.015 < 0.04 < sum(apart) / 60
