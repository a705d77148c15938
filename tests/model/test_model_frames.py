"""The recurrent encoder of frames, against the recurrence written out, and its bounded training step."""

import pytest
import torch
from torch import Tensor

from llm4rec.model import frames
from llm4rec.model.frames import FrameEncoder

NUM_FRAMES, WIDTH, SIZE = 4, 3, 5


@pytest.fixture
def encoder() -> FrameEncoder:
    torch.manual_seed(0)
    return FrameEncoder(NUM_FRAMES, WIDTH, SIZE)


def series(num_items: int) -> Tensor:
    return torch.randn(num_items, NUM_FRAMES * WIDTH, generator=torch.Generator().manual_seed(1))


def everyone(num_items: int) -> Tensor:
    return torch.ones(num_items, dtype=torch.bool)


def by_hand(encoder: FrameEncoder, flat: Tensor) -> Tensor:
    """h_t = (1 - z) n + z h_(t-1), the mean of all h_t through the linear layer."""
    gru, state, total = encoder.gru, torch.zeros(SIZE), torch.zeros(SIZE)
    for frame in flat.view(NUM_FRAMES, WIDTH):
        scaled = (frame - frame.mean()) / torch.sqrt(frame.var(unbiased=False) + 1e-5)
        read = gru.weight_ih_l0 @ scaled + gru.bias_ih_l0
        kept = gru.weight_hh_l0 @ state + gru.bias_hh_l0
        reset = torch.sigmoid(read[:SIZE] + kept[:SIZE])
        z = torch.sigmoid(read[SIZE : 2 * SIZE] + kept[SIZE : 2 * SIZE])
        new = torch.tanh(read[2 * SIZE :] + reset * kept[2 * SIZE :])
        state = (1 - z) * new + z * state
        total = total + state
    return encoder.out(total / NUM_FRAMES)


def test_by_hand(encoder: FrameEncoder) -> None:
    flat = series(3)
    found = encoder(flat, torch.tensor([True, False, True]))
    torch.testing.assert_close(found[0], by_hand(encoder, flat[0]))
    torch.testing.assert_close(found[2], by_hand(encoder, flat[2]))
    assert not found[1].any()


def test_every_frame_and_their_order_count(encoder: FrameEncoder) -> None:
    flat = series(1)
    found = encoder(flat, everyone(1))
    for frame in range(NUM_FRAMES):
        changed = flat.clone()
        changed[0, frame * WIDTH] += 1
        assert (encoder(changed, everyone(1)) - found).abs().max() > 1e-4
    backwards = flat.view(NUM_FRAMES, WIDTH).flip(0).reshape(1, -1)
    assert (encoder(backwards, everyone(1)) - found).abs().max() > 1e-4


def test_a_catalogue_in_pieces_is_the_catalogue_at_once(encoder: FrameEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    flat, whole = series(7), encoder(series(7), everyone(7))
    monkeypatch.setattr(frames, "MAX_ROWS", 3)
    torch.testing.assert_close(encoder.eval()(flat, everyone(7)), whole)


def test_a_training_step_follows_the_gradient_of_a_few_items_only(
    encoder: FrameEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MAX_ROWS", 2)
    flat = series(5).requires_grad_()
    present = torch.tensor([True, True, False, True, True])
    found = encoder.train()(flat, present)
    found.sum().backward()
    assert flat.grad is not None
    followed = flat.grad.abs().amax(1) > 0
    assert followed.sum() == 2 and not followed[2] and not found[2].any()
    torch.testing.assert_close(found, encoder.eval()(flat, present))  # the first step knows all items


def test_items_that_are_not_run_keep_their_last_vector_until_they_are(
    encoder: FrameEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "MAX_ROWS", 2)
    flat, seen = series(5), []
    before = encoder.train()(flat, everyone(5)).detach()
    with torch.no_grad():
        encoder.out.bias += 1
    for _ in range(40):
        after = encoder(flat, everyone(5)).detach()
        moved = ((after - before).abs().amax(1) > 0.5).sum()
        assert moved >= (seen[-1] if seen else 2)
        seen.append(int(moved))
    assert seen[0] == 2 and seen[-1] == 5
    torch.testing.assert_close(after, before + 1)


@pytest.mark.parametrize("rows", [2, 512])
def test_half_precision(encoder: FrameEncoder, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(frames, "MAX_ROWS", rows)
    exact = encoder.eval()(series(5), everyone(5)).detach()
    with torch.autocast("cpu", torch.bfloat16):
        for _ in range(2):
            loss = encoder.train()(series(5), everyone(5)).float().sum()
            loss.backward()
    half = encoder.bfloat16()
    half._last_IF = None
    for _ in range(2):
        found = half(series(5).bfloat16(), everyone(5))
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.float(), exact, atol=0.03, rtol=0.03)
