"""What the eraser takes out, and what it leaves."""

import pytest
import torch
from torch import Tensor

from llm4rec.model.erase import Eraser


@pytest.fixture
def states() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(500, 6) @ torch.randn(6, 6)


def fitted(states: Tensor, concept: Tensor) -> Eraser:
    eraser = Eraser(states.shape[1])
    eraser.fit(states, concept)
    return eraser


def covariance(states: Tensor, concept: Tensor) -> Tensor:
    return (states - states.mean(0)).T @ (concept - concept.mean(0)) / len(states)


def test_it_changes_nothing_before_it_is_fitted(states: Tensor) -> None:
    assert torch.equal(Eraser(6)(states), states)


def test_of_a_whitened_axis_that_is_the_concept_only_the_mean_is_left() -> None:
    # x1 is the concept itself and x2 independent of it
    states = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]) + torch.tensor([5.0, 0.0])
    erased = fitted(states, states[:, :1])(states)
    assert torch.allclose(erased, torch.tensor([[5.0, 1.0], [5.0, -1.0], [5.0, 1.0], [5.0, -1.0]]))


def test_no_linear_trace_is_left_of_any_level(states: Tensor) -> None:
    level = (states[:, 0] + 0.5 * states[:, 1] > 0).long() + (states[:, 2] > 1).long()
    concept = torch.nn.functional.one_hot(level, 3).float()
    assert covariance(states, concept).abs().max() > 0.1
    assert covariance(fitted(states, concept)(states), concept).abs().max() < 1e-5


def test_as_many_dimensions_are_lost_as_the_concept_has_and_no_more(states: Tensor) -> None:
    level = torch.arange(500) % 3
    concept = torch.nn.functional.one_hot(level, 3).float()  # three indicators, two dimensions
    states = states + 3 * concept @ torch.randn(3, 6)
    assert torch.linalg.matrix_rank(torch.cov(fitted(states, concept)(states).T), rtol=1e-4) == 4


def test_what_is_erased_stays_erased(states: Tensor) -> None:
    eraser = fitted(states, (states[:, :1] > 0).float())
    assert torch.allclose(eraser(eraser(states)), eraser(states), atol=1e-5)


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_strength_goes_from_nothing_to_everything(states: Tensor, strength: float) -> None:
    eraser = fitted(states, (states[:, :1] > 0).float())
    everything = eraser(states)
    eraser.strength = strength
    assert torch.allclose(eraser(states), torch.lerp(states, everything, strength), atol=1e-5)


def test_a_constant_direction_and_a_constant_concept_do_no_harm(states: Tensor) -> None:
    states = torch.cat([states, torch.full((500, 1), 2.0)], dim=1)
    assert torch.allclose(fitted(states, torch.ones(500, 1))(states), states)
    assert torch.isfinite(fitted(states, (states[:, :1] > 0).float())(states)).all()
