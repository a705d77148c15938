"""Taking protected attributes out of user states in closed form. Shapes: n users, D width, Z columns."""

import torch
from torch import Tensor, nn

RELATIVE_TOLERANCE = 1e-6
"""Directions with less than this share of the largest variance hold rounding, not states."""


class Eraser(nn.Module):
    """The least change of states after which no linear model tells a concept better than a constant does.

    r(x) = x - s W^+ P W (x - m) with W the whitening of x, P the projection onto the columns of W Cov(x, z) and m the
    mean of x (LEACE, Belrose et al. 2023, arXiv 2306.03819, theorem 4.3). It changes nothing until it is fitted.

    Attributes:
        strength: s; 1 takes out everything, 0 nothing.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.strength = 1.0
        self.mean: Tensor
        self.taken: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("taken", torch.zeros(width, width))

    @torch.no_grad()
    def fit(self, state_nD: Tensor, concept_nZ: Tensor) -> None:
        """Learn what to take out.

        Args:
            state_nD: states.
            concept_nZ: what must not be told from them, an indicator a level for attributes.
        """
        x, z = state_nD.double().cpu(), concept_nZ.double().cpu()
        mean = x.mean(dim=0)
        x, z = x - mean, z - z.mean(dim=0)
        variances, directions = torch.linalg.eigh(x.T @ x / len(x))
        kept = variances > RELATIVE_TOLERANCE * variances.max()
        deviations, directions = variances[kept].sqrt(), directions[:, kept]
        whiten, unwhiten = directions / deviations @ directions.T, directions * deviations @ directions.T
        told, sizes, _ = torch.linalg.svd(whiten @ (x.T @ z / len(x)), full_matrices=False)
        told = told[:, sizes > RELATIVE_TOLERANCE * sizes.max().clamp(min=RELATIVE_TOLERANCE)]
        self.mean.copy_(mean)
        self.taken.copy_(unwhiten @ told @ told.T @ whiten)

    def forward(self, states: Tensor) -> Tensor:
        """States of any shape (..., D) without what is to be erased."""
        return states - self.strength * ((states - self.mean.to(states.dtype)) @ self.taken.T.to(states.dtype))
