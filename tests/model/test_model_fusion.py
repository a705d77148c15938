"""Fusion: what is missing takes part in nothing, what is present always does."""

import pytest
import torch
from torch import Tensor

from llm4rec.model.adversary import Adversary
from llm4rec.model.fusion import Fusion

WIDTHS = {"text": 6, "image": 4, "audio": 3}
NAMES = sorted(WIDTHS)
PRESENT = torch.tensor([[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 1], [0, 0, 0]], dtype=torch.bool)


def fusion(modality_dropout: float = 0.0) -> Fusion:
    torch.manual_seed(0)
    return Fusion(WIDTHS, 8, modality_dropout)


def inputs(seed: int = 1) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    vectors = {name: torch.randn(len(PRESENT), WIDTHS[name], generator=generator) for name in NAMES}
    return vectors, {name: PRESENT[:, m] for m, name in enumerate(NAMES)}


def test_what_stands_in_rows_of_missing_modalities_cannot_change_the_output() -> None:
    network, (vectors, present) = fusion(), inputs()
    fused, alpha = network(vectors, present)
    noisy = {n: torch.where(present[n][:, None], vectors[n], torch.full_like(vectors[n], 1e6)) for n in NAMES}
    again, alpha_again = network(noisy, present)
    torch.testing.assert_close(again, fused, rtol=0, atol=0)
    torch.testing.assert_close(alpha_again, alpha, rtol=0, atol=0)


@pytest.mark.parametrize("name", NAMES)
def test_a_present_modality_does_change_the_output(name: str) -> None:
    network, (vectors, present) = fusion(), inputs()
    fused, _ = network(vectors, present)
    changed, _ = network({**vectors, name: vectors[name] + 1}, present)
    differs = (changed - fused).abs().amax(1) > 1e-4
    assert differs.tolist() == present[name].tolist()


def test_items_do_not_see_each_other() -> None:
    network, (vectors, present) = fusion(), inputs()
    fused, _ = network(vectors, present)
    rows = torch.tensor([4, 0])
    alone, _ = network({n: v[rows] for n, v in vectors.items()}, {n: p[rows] for n, p in present.items()})
    torch.testing.assert_close(alone, fused[rows])


def test_the_order_in_which_modalities_are_given_does_not_matter() -> None:
    vectors, present = inputs()
    torch.manual_seed(0)
    backwards = Fusion(dict(reversed(WIDTHS.items())), 8, 0.0)
    fused, alpha = backwards(dict(reversed(vectors.items())), present)
    expected, expected_alpha = fusion()(vectors, present)
    torch.testing.assert_close(fused, expected)
    torch.testing.assert_close(alpha, expected_alpha)


def test_alpha_is_a_distribution_over_the_present_modalities() -> None:
    vectors, present = inputs()
    _, alpha = fusion()(vectors, present)
    assert not alpha[~PRESENT].any() and (alpha[PRESENT] > 0).all()
    torch.testing.assert_close(alpha.sum(1), PRESENT.any(1).float())
    assert (alpha[2, :2] != alpha[4, :2]).any() and alpha[0, 0] != alpha[1, 0]  # learned per item


def test_an_item_without_any_modality_is_zero_and_its_gradients_are_finite() -> None:
    network, (vectors, present) = fusion(), inputs()
    fused, _ = network(vectors, present)
    assert not fused[-1].any() and fused[:-1].abs().amax(1).min() > 0
    fused.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


def test_gradients_reach_every_part_of_every_present_modality() -> None:
    network, (vectors, present) = fusion(), inputs()
    fused, _ = network(vectors, present)
    fused.square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_no_gradient_reaches_an_absent_modality() -> None:
    network, (vectors, present) = fusion(), inputs()
    present["image"] = torch.zeros_like(present["image"])
    vectors["image"].requires_grad_()
    fused, _ = network(vectors, present)
    fused.square().sum().backward()
    assert not vectors["image"].grad.any()
    assert not network.project["image"].weight.grad.any()


def test_modality_dropout_hides_some_but_never_the_last_and_only_in_training() -> None:
    network, (vectors, present) = fusion(0.7), inputs()
    torch.manual_seed(0)
    shown = torch.stack([network._visible(PRESENT) for _ in range(300)])
    assert not (shown & ~PRESENT).any()
    assert (shown.any(2) == PRESENT.any(1)).all()
    # both of two hidden (0.49) shows both again: 0.3 on its own + 0.49
    assert shown[:, 1, 0].float().mean() == pytest.approx(0.79, abs=0.07)
    assert network.eval()._visible(PRESENT) is PRESENT
    torch.testing.assert_close(network(vectors, present)[0], fusion()(vectors, present)[0])


def test_a_direction_and_a_scale_that_all_items_share_make_no_difference() -> None:
    network, (vectors, present) = fusion(), inputs()
    network.standardise(vectors, present)
    fused, alpha = network(vectors, present)
    moved = {name: 7 * vector + torch.arange(WIDTHS[name]) for name, vector in vectors.items()}
    network.standardise(moved, present)
    again, alpha_again = network(moved, present)
    torch.testing.assert_close(again, fused, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(alpha_again, alpha, rtol=1e-3, atol=1e-4)


def test_missing_items_have_no_part_in_what_is_standard() -> None:
    network, (vectors, present) = fusion(), inputs()
    noisy = {n: torch.where(present[n][:, None], vectors[n], float("nan")) for n in NAMES}
    network.standardise(noisy, present)
    assert network.mean_text.tolist() == pytest.approx(vectors["text"][present["text"]].mean(0).tolist(), rel=1e-5)
    fused, _ = network(noisy, present)
    assert torch.isfinite(fused).all()


def test_a_modality_that_is_the_same_for_all_items_is_only_centred() -> None:
    network, (vectors, present) = fusion(), inputs()
    network.standardise({**vectors, "text": torch.ones_like(vectors["text"])}, present)
    assert network.scale_text.item() == 1


def test_what_is_standard_is_kept_with_the_weights() -> None:
    network, (vectors, present) = fusion(), inputs()
    network.standardise(vectors, present)
    other = Fusion(WIDTHS, 8, 0.0).eval()
    other.load_state_dict(network.state_dict())
    torch.testing.assert_close(other(vectors, present)[0], network.eval()(vectors, present)[0])


@pytest.mark.parametrize("name", ["type", "half", "keys", "mean", "training"])
def test_a_modality_may_have_any_name(name: str) -> None:
    fusion = Fusion({name: 3, "text": 4}, 5, 0.0)
    vectors = {name: torch.randn(2, 3), "text": torch.randn(2, 4)}
    fused, weights = fusion(vectors, {one: torch.ones(2, dtype=torch.bool) for one in vectors})
    assert fused.shape == (2, 5) and weights.shape == (2, 2)
    again = Fusion({name: 3, "text": 4}, 5, 0.0)
    again.load_state_dict(fusion.state_dict())


def test_an_adversary_may_read_attributes_of_any_name() -> None:
    adversary = Adversary(4, {"type": 3, "user.type": 2, "": 2})
    loss = adversary.loss(torch.randn(2, 3, 4), torch.tensor([[0, 1, 0], [2, 0, 1]]), torch.ones(2, 3) > 0, 0.5)
    assert torch.isfinite(loss)
    Adversary(4, {"type": 3, "user.type": 2, "": 2}).load_state_dict(adversary.state_dict())
