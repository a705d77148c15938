"""Taking the trace of protected attributes out of user states. Shapes: n users, D width, A attributes, G levels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load, save

from llm4rec.artifacts import Artifact, ArtifactWriter
from llm4rec.errors import ArtifactError
from llm4rec.model.inputs import MISSING, IntMatrix
from llm4rec.schema import FloatMatrix

Matrix = npt.NDArray[np.float64]
FILE = "repair.safetensors"
PASSES = 4
"""Times that all attributes are gone through: where they go together, repairing one brings back some of another."""
ROUNDS = 20
PRIOR_USERS = 1000
"""So many users of all levels together steady the covariance of a level with few."""
LEAST = 1e-6
"""Share of the largest variance that is added to all: a state hardly moves along the smallest ones, what is told there
is rounding, and dividing by it would make it the loudest."""


@dataclass(frozen=True)
class Step:
    """The maps of one attribute: a state of level g becomes A_g h + b_g.

    Attributes:
        attribute: its place among those that are repaired.
        maps: A, shape (G, D, D).
        shifts: b, shape (G, D).
    """

    attribute: int
    maps: FloatMatrix
    shifts: FloatMatrix

    def move(self, states: FloatMatrix, codes: IntMatrix) -> FloatMatrix:
        """Moved states, shape (n, D), of users with codes (n, A)."""
        moved = states.copy()
        for level in np.unique(codes[:, self.attribute]):
            rows = codes[:, self.attribute] == level
            moved[rows] = states[rows] @ self.maps[level].T + self.shifts[level]
        return moved


@dataclass(frozen=True)
class Repair:
    """Moves the states of every level of an attribute to one distribution between those of the levels.

    Each level's states are taken as Gaussian and sent by the optimal transport map

        T_g(h) = m + A_g (h - m_g),   A_g = C_g^(-1/2) (C_g^(1/2) C C_g^(1/2))^(1/2) C_g^(-1/2)

    to the barycentre N(m, C) of all levels (Agueh and Carlier 2011; fixed point of Alvarez-Esteban et al. 2016), one
    attribute after the other, several times over; then mean and covariance hardly tell any of them. States end at
    (1 - s) h + s T(h), the geometric repair of Feldman et al. 2015; s trades accuracy for privacy and parity. It needs
    the attribute of the user who is served; a user without a known level is left as is.

    Attributes:
        steps: in the order they are taken.
        strength: s; 0 changes nothing.
    """

    steps: tuple[Step, ...]
    strength: float

    @classmethod
    def fit(cls, states: FloatMatrix, codes: IntMatrix, sizes: Sequence[int], strength: float) -> Self:
        """Learn from users' states.

        Args:
            states: each after the user's whole history, shape (n, D).
            codes: of the attributes, shape (n, A), MISSING where one is not known.
            sizes: G of each attribute.
            strength: s.
        """
        moved, steps = states, []
        for _ in range(PASSES if len(sizes) > 1 else 1):
            for attribute, size in enumerate(sizes):
                maps, shifts = _transport(moved.astype(np.float64), codes[:, attribute], size)
                steps.append(Step(attribute, maps.astype(np.float32), shifts.astype(np.float32)))
                moved = steps[-1].move(moved, codes)
        return cls(tuple(steps), strength)

    def __call__(self, states: FloatMatrix, codes: IntMatrix, strength: float | None = None) -> FloatMatrix:
        """Repaired states, shape (n, D).

        Args:
            states: shape (n, D).
            codes: of the attributes, shape (n, A).
            strength: another s.
        """
        s = np.float32(self.strength if strength is None else strength)
        moved = states
        for step in self.steps:
            moved = step.move(moved, codes)
        return (1 - s) * states + s * moved

    def write(self, writer: ArtifactWriter) -> None:
        """Write the maps as one file of an artifact."""
        tensors: dict[str, FloatMatrix] = {}
        for place, step in enumerate(self.steps):
            tensors |= {f"{place}.{step.attribute}.maps": step.maps, f"{place}.{step.attribute}.shifts": step.shifts}
        writer.write_bytes(FILE, save(tensors))

    @classmethod
    def read(cls, artifact: Artifact, strength: float) -> Self:
        """Read what `write` wrote.

        Raises:
            ArtifactError: the artifact holds no repair.
        """
        if FILE not in artifact.manifest["files"]:
            raise ArtifactError(f"{artifact.path} holds no repair of user states; run {artifact.job} again")
        tensors = load(artifact.read_bytes(FILE))
        names = sorted({name.rpartition(".")[0] for name in tensors}, key=lambda name: int(name.partition(".")[0]))
        steps = (Step(int(n.partition(".")[2]), tensors[f"{n}.maps"], tensors[f"{n}.shifts"]) for n in names)
        return cls(tuple(steps), strength)


def _transport(states: Matrix, codes: npt.NDArray[np.integer], size: int) -> tuple[Matrix, Matrix]:
    """A_g and m - A_g m_g of every level; the identity for MISSING and for levels of fewer than two users."""
    width = states.shape[1]
    maps, shifts = np.tile(np.eye(width), (size, 1, 1)), np.zeros((size, width))
    groups = {code: states[codes == code] for code in range(size) if code != MISSING}
    groups = {code: group for code, group in groups.items() if len(group) > 1}
    if len(groups) < 2:
        return maps, shifts
    shares = {code: len(group) / sum(map(len, groups.values())) for code, group in groups.items()}
    own = {code: np.cov(group.T, bias=True).reshape(width, width) for code, group in groups.items()}
    within = np.sum([shares[code] * own[code] for code in groups], axis=0)
    floor = max(LEAST * float(np.linalg.eigvalsh(within)[-1]), np.finfo(np.float64).tiny) * np.eye(width)
    covariances = {code: _steadied(own[code], len(group), within) + floor for code, group in groups.items()}
    middle = np.sum([shares[code] * group.mean(axis=0) for code, group in groups.items()], axis=0)
    barycentre = _barycentre([(shares[code], covariances[code]) for code in groups])
    for code, group in groups.items():
        root, inverse = _power(covariances[code], 0.5), _power(covariances[code], -0.5)
        maps[code] = inverse @ _power(root @ barycentre @ root, 0.5) @ inverse
        shifts[code] = middle - maps[code] @ group.mean(axis=0)
    return maps, shifts


def _steadied(own: Matrix, users: int, within: Matrix) -> Matrix:
    share = users / (users + PRIOR_USERS)
    return share * own + (1 - share) * within


def _barycentre(parts: Sequence[tuple[float, Matrix]]) -> Matrix:
    """The C that is the mean over levels of (C^(1/2) C_g C^(1/2))^(1/2), weighted by their shares."""
    current: Matrix = np.sum([share * covariance for share, covariance in parts], axis=0)
    for _ in range(ROUNDS):
        root, inverse = _power(current, 0.5), _power(current, -0.5)
        mean = np.sum([share * _power(root @ covariance @ root, 0.5) for share, covariance in parts], axis=0)
        current = inverse @ mean @ mean @ inverse
    return current


def _power(matrix: Matrix, exponent: float) -> Matrix:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * np.maximum(values, np.finfo(np.float64).tiny) ** exponent) @ vectors.T
