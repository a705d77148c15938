"""Dropout that is quick on a CPU."""

import torch
from torch import Tensor, nn

RANDOM_BITS = 16


class Dropout(nn.Module):
    """As `torch.nn.Dropout`, whose draws are a large part of a training step on a CPU (docs/log.md).

    One draw of 64 bits decides on four units, so the share dropped is a multiple of 2 ** -16.
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, states: Tensor) -> Tensor:
        """States with a share of their units zero and the others scaled up, in training; else as they are."""
        if not self.training or self.share == 0:
            return states
        size = states.numel()
        draws = torch.randint(-(2**63), 2**63 - 1, (-(-size // 4),), device=states.device)
        bits = draws.view(torch.int16)[:size].view(states.shape)
        kept = bits >= round(self.share * 2**RANDOM_BITS) - 2 ** (RANDOM_BITS - 1)
        return states * (kept.to(states.dtype) / (1 - self.share))
