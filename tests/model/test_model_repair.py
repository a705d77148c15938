"""What the repair moves, and where to."""

import pytest
import torch
from torch import Tensor

from llm4rec.model.repair import Repair


def drawn(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """States of two levels (codes 1 and 2) that differ in mean and covariance, and the codes, shape (n, 1)."""
    torch.manual_seed(seed)
    codes = torch.arange(count) % 2 + 1
    states = torch.randn(count, 4)
    states[codes == 2] = states[codes == 2] @ torch.diag(torch.tensor([3.0, 1.0, 1.0, 0.5])) + torch.tensor(
        [2.0, 0, 0, 0]
    )
    return states, codes[:, None]


def fitted(states: Tensor, codes: Tensor, strength: float = 1.0) -> Repair:
    repair = Repair(states.shape[1], {"group": 3}, strength)
    repair.fit(states, codes)
    return repair


def test_nothing_changes_before_it_is_fitted() -> None:
    states, codes = drawn(10)
    assert torch.equal(Repair(4, {"group": 3}, 1.0)(states[:, None], codes)[:, 0], states)


def test_two_levels_on_a_line_meet_in_the_middle() -> None:
    # level 1: mean 0, deviation 1; level 2: mean 4, deviation 3; of equal size they meet at mean 2, deviation 2
    one = torch.tensor([-1.0, 1.0]).repeat(50_000)
    states = torch.cat([one, 4 + 3 * one])[:, None]
    codes = torch.cat([torch.ones(100_000), torch.full((100_000,), 2.0)]).long()[:, None]
    moved = fitted(states, codes)(torch.tensor([[[1.0]], [[7.0]], [[-1.0]]]), torch.tensor([[1], [2], [1]]))
    assert moved.flatten().tolist() == pytest.approx([4.0, 4.0, 0.0], abs=0.01)


def test_levels_have_one_mean_and_one_covariance_afterwards() -> None:
    states, codes = drawn(20_000)
    moved = fitted(states, codes)(states[:, None], codes)[:, 0]
    one, two = moved[codes[:, 0] == 1], moved[codes[:, 0] == 2]
    assert torch.allclose(one.mean(0), two.mean(0), atol=1e-4)
    assert torch.allclose(torch.cov(one.T), torch.cov(two.T), atol=0.2)  # 64 users of all steady each


def test_states_move_less_than_if_everything_were_erased() -> None:
    states, codes = drawn(5_000)
    moved = fitted(states, codes)(states[:, None], codes)[:, 0]
    erased = states.clone()
    erased[:, 0] = states[:, 0].mean()
    assert (moved - states).square().mean() < (erased - states).square().mean()


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_strength_goes_from_nothing_to_everything(strength: float) -> None:
    states, codes = drawn(500)
    whole = fitted(states, codes)(states[:, None], codes)
    part = fitted(states, codes, strength)(states[:, None], codes)
    assert torch.allclose(part, torch.lerp(states[:, None], whole, strength), atol=1e-5)


def test_another_strength_for_a_while() -> None:
    states, codes = drawn(100)
    repair = fitted(states, codes)
    with pytest.raises(RuntimeError), repair.at(0.0):
        assert torch.equal(repair(states[:, None], codes)[:, 0], states)
        raise RuntimeError
    assert repair.strength == 1.0


def test_users_without_a_known_level_are_left_as_they_are() -> None:
    states, codes = drawn(500)
    codes[:50] = 0
    moved = fitted(states, codes)(states[:, None], codes)[:, 0]
    assert torch.allclose(moved[:50], states[:50])
    assert not torch.allclose(moved[50:], states[50:])


def test_one_attribute_after_the_other() -> None:
    states, first = drawn(20_000)
    second = (torch.arange(20_000)[:, None] // 2) % 2 + 1
    states = states + 3.0 * (second == 2)
    repair = Repair(4, {"one": 3, "two": 3}, 1.0)
    codes = torch.cat([first, second], dim=1)
    repair.fit(states, codes)
    moved = repair(states[:, None], codes)[:, 0]
    for column in codes.T:
        assert torch.allclose(moved[column == 1].mean(0), moved[column == 2].mean(0), atol=0.02)


def test_a_level_of_one_user_and_a_direction_without_variance_do_no_harm() -> None:
    states, codes = drawn(200)
    states[:, 3] = 1.0
    codes[0] = 2
    codes[codes == 2] = 1
    codes[0] = 2
    moved = fitted(states, codes)(states[:, None], codes)
    assert torch.isfinite(moved).all()
    assert torch.allclose(moved[:, 0], states)  # one level has nobody to meet


def test_it_is_kept_with_the_weights() -> None:
    states, codes = drawn(300)
    repair, other = fitted(states, codes), Repair(4, {"group": 3}, 1.0)
    other.load_state_dict(repair.state_dict())
    assert torch.equal(other(states[:, None], codes), repair(states[:, None], codes))
