"""Taking the trace of protected attributes out of user states. Shapes: D width, G levels of an attribute, n users."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from llm4rec.model.inputs import MISSING

ROUNDS = 20
PRIOR_USERS = 64
"""So many users of all levels together steady the covariance of a level with few."""
SMALLEST = 1e-6
"""Variances below this share of the largest are raised to it: a state hardly moves that way, what is told there is
rounding, and dividing by it would make it the loudest."""


class Repair(nn.Module):
    """Moves the states of every level of an attribute to one distribution between those of the levels.

    Each level's states are taken as Gaussian and sent by the optimal transport map

        T_g(h) = m + A_g (h - m_g),   A_g = C_g^(-1/2) (C_g^(1/2) C C_g^(1/2))^(1/2) C_g^(-1/2)

    to the barycentre N(m, C) of all levels (Agueh and Carlier 2011; fixed point of Alvarez-Esteban et al. 2016), one
    attribute after the other. Mean and covariance then say nothing of the attribute. States end at
    (1 - s) h + s T(h), the geometric repair of Feldman et al. 2015; s trades accuracy for privacy and parity. It needs
    the attribute of the user who is served; a user without a known level is left as is.

    Attributes:
        strength: s; 0 changes nothing.
    """

    def __init__(self, width: int, sizes: Mapping[str, int], strength: float) -> None:
        """Build a repair that changes nothing until it is fitted.

        Args:
            width: D.
            sizes: G by attribute, its codes from MISSING to G - 1.
            strength: s.
        """
        super().__init__()
        self.names = list(sizes)
        self.strength = strength
        for name, size in sizes.items():
            self.register_buffer(f"map_{name}", torch.eye(width).repeat(size, 1, 1))
            self.register_buffer(f"shift_{name}", torch.zeros(size, width))

    @contextmanager
    def at(self, strength: float) -> Iterator[None]:
        """With another strength for a while."""
        before, self.strength = self.strength, strength
        try:
            yield
        finally:
            self.strength = before

    @torch.no_grad()
    def fit(self, state_nD: Tensor, code_nA: Tensor) -> None:
        """Learn the maps of all attributes.

        Args:
            state_nD: states of users, each after the whole history.
            code_nA: codes of the attributes, in the order they were given in.
        """
        states = state_nD.double().cpu()
        for name, code_n in zip(self.names, code_nA.cpu().T, strict=True):
            map_GDD, shift_GD = self._parts(name)
            maps, shifts = _transport(states, code_n, len(map_GDD))
            map_GDD.copy_(maps)
            shift_GD.copy_(shifts)
            states = torch.einsum("ned,nd->ne", maps[code_n], states) + shifts[code_n]

    def forward(self, state_BTD: Tensor, code_BA: Tensor) -> Tensor:
        """Repaired states of users whose attributes have these codes, shape (B, T, D)."""
        moved = state_BTD
        for name, code_B in zip(self.names, code_BA.T, strict=True):
            map_GDD, shift_GD = (part.to(state_BTD.dtype) for part in self._parts(name))
            moved = torch.einsum("bed,btd->bte", map_GDD[code_B], moved) + shift_GD[code_B][:, None]
        return torch.lerp(state_BTD, moved, self.strength)

    def _parts(self, name: str) -> tuple[Tensor, Tensor]:
        return getattr(self, f"map_{name}"), getattr(self, f"shift_{name}")


def _transport(states: Tensor, code_n: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """A_g and m - A_g m_g of every level; the identity for MISSING and for levels of fewer than two users."""
    width = states.shape[1]
    maps, shifts = torch.eye(width, dtype=states.dtype).repeat(size, 1, 1), states.new_zeros(size, width)
    groups = {code: states[code_n == code] for code in range(size) if code != MISSING}
    groups = {code: group for code, group in groups.items() if len(group) > 1}
    if len(groups) < 2:
        return maps, shifts
    everybody = torch.cat(list(groups.values()))
    pooled = _covariance(everybody)
    means = {code: group.mean(dim=0) for code, group in groups.items()}
    covariances = {code: _steadied(group, pooled) for code, group in groups.items()}
    shares = {code: len(group) / len(everybody) for code, group in groups.items()}
    middle = sum(shares[code] * means[code] for code in groups)
    barycentre = _barycentre(list(covariances.values()), list(shares.values()))
    for code, covariance in covariances.items():
        root, inverse = _power(covariance, 0.5), _power(covariance, -0.5)
        maps[code] = inverse @ _power(root @ barycentre @ root, 0.5) @ inverse
        shifts[code] = middle - maps[code] @ means[code]
    return maps, shifts


def _steadied(group: Tensor, pooled: Tensor) -> Tensor:
    share = len(group) / (len(group) + PRIOR_USERS)
    mixed = share * _covariance(group) + (1 - share) * pooled
    least = SMALLEST * torch.linalg.eigvalsh(pooled).max().clamp(min=torch.finfo(pooled.dtype).tiny)
    return mixed + least * torch.eye(len(mixed), dtype=mixed.dtype)


def _covariance(states: Tensor) -> Tensor:
    centred = states - states.mean(dim=0)
    return centred.T @ centred / len(states)


def _barycentre(covariances: list[Tensor], shares: list[float]) -> Tensor:
    """C with C = (sum_g share_g (C^(1/2) C_g C^(1/2))^(1/2)) once C^(1/2) is taken out on both sides."""
    current = sum(
        (share * one for share, one in zip(shares, covariances, strict=True)), torch.zeros_like(covariances[0])
    )
    for _ in range(ROUNDS):
        root, inverse = _power(current, 0.5), _power(current, -0.5)
        parts = (share * _power(root @ one @ root, 0.5) for share, one in zip(shares, covariances, strict=True))
        mean = sum(parts, torch.zeros_like(current))
        current = inverse @ mean @ mean @ inverse
    return current


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    return vectors * values.clamp(min=torch.finfo(matrix.dtype).tiny) ** exponent @ vectors.T
