"""Softmax over a catalogue, a few rows at a time, against torch's own."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from llm4rec import softmax
from llm4rec.softmax import softmax_loss


def example(positions: int, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    states, items = torch.randn(positions, 5, dtype=dtype), torch.randn(11, 5, dtype=dtype)
    return states.requires_grad_(), items.requires_grad_(), torch.randint(11, (positions,))


@pytest.mark.parametrize("positions", [1, 3, 4, 9])
@pytest.mark.parametrize("weighted", [False, True])
def test_loss_and_gradients_are_those_of_torch(monkeypatch, positions, weighted):
    monkeypatch.setattr(softmax, "CPU_ROWS", 4)
    states, items, target = example(positions)
    share = torch.rand(positions) if weighted else torch.full((positions,), 1 / positions)
    expected = (cross_entropy(states @ items.T, target, reduction="none") * share).sum()
    wanted = torch.autograd.grad(3 * expected, (states, items))
    found = softmax_loss(states, items, target, share if weighted else None)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.autograd.grad(3 * found, (states, items)), wanted, rtol=1e-5, atol=1e-6)


def test_items_that_are_left_out_are_as_if_they_were_not_there():
    states, items, _ = example(9)
    target = torch.tensor([0, 2, 3, 5, 6, 8, 9, 10, 0])
    left_out = torch.zeros(11, dtype=torch.bool)
    left_out[[1, 4, 7]] = True
    place = torch.cumsum(~left_out, 0) - 1
    expected = cross_entropy(states @ items[~left_out].T, place[target])
    wanted = torch.autograd.grad(expected, (states, items))
    found = softmax_loss(states, items, target, left_out_I=left_out)
    torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=1e-6)
    of_states, of_items = torch.autograd.grad(found, (states, items))
    torch.testing.assert_close((of_states, of_items), wanted, rtol=1e-5, atol=1e-6)
    assert not of_items[left_out].any()


def test_items_in_bfloat16_give_gradients_of_both_types():
    states, items, target = example(6, torch.float32)
    loss = softmax_loss(states, items.bfloat16(), target)
    loss.backward()
    assert loss.dtype == states.grad.dtype == items.grad.dtype == torch.float32
    torch.testing.assert_close(loss, cross_entropy(states @ items.T, target), rtol=2e-2, atol=1e-2)


@pytest.mark.parametrize("positions", [1, 5, 32])
def test_rows_that_fill_up_want_no_item_that_is_left_out(positions):
    states, items, _ = example(positions, torch.float32)
    left_out = torch.arange(11) == 0
    target = 1 + torch.arange(positions) % 10
    found = softmax_loss(states, items.bfloat16(), target, left_out_I=left_out)
    torch.testing.assert_close(found, cross_entropy(states @ items[1:].T, target - 1), rtol=2e-2, atol=1e-2)
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(found, (states, items)))


@pytest.mark.parametrize("positions", [1, 4, 6])
def test_rows_that_fill_up_bfloat16_products_count_for_nothing(monkeypatch, positions):
    found = []
    for multiple in (1, 4):
        monkeypatch.setattr(softmax, "COMPILED_ROWS", multiple)
        states, items, target = example(positions, torch.float32)
        loss = softmax_loss(states, items.bfloat16(), target)
        found.append((loss.detach(), *torch.autograd.grad(loss, (states, items))))
    assert found[1][1].shape == (positions, 5)
    torch.testing.assert_close(found[0], found[1], rtol=1e-2, atol=1e-3)


def test_a_certain_loser_costs_a_finite_loss():
    items = torch.tensor([[1.0], [-1.0]])
    loss = softmax_loss(torch.tensor([[1e4]]), items, torch.tensor([1]))
    assert loss == pytest.approx(2e4)


def test_no_positions_no_loss():
    states = torch.zeros(0, 3, requires_grad=True)
    loss = softmax_loss(states, torch.ones(4, 3), torch.zeros(0, dtype=torch.long))
    loss.backward()
    assert loss == 0 and states.grad.shape == (0, 3)
