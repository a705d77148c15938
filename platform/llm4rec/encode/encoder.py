"""What every encoder does, whatever it reads: one column in, a vector or a reason a row out.

Shapes: n values, D width of a vector.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np

from llm4rec.errors import DataError
from llm4rec.schema import FloatMatrix

Value = TypeVar("Value")
Ready = TypeVar("Ready")


class UnreadableError(Exception):
    """A value that no vector can be made of; the message is the reason that the quarantine shows."""


@dataclass(frozen=True)
class Encoded:
    """What became of n values.

    Attributes:
        vectors: shape (n, D), zero where there is a reason.
        reasons: why there is no vector, by value; None where there is one.
    """

    vectors: FloatMatrix
    reasons: list[str | None]


class Encoder(ABC, Generic[Value, Ready]):
    """Turns values into vectors, in two steps: `read` looks at one value, `run` computes many.

    An encoder loads in its constructor, so that Ray Data can make actors of the class.
    """

    INPUT: ClassVar[Mapping[str, str]]
    """The one column it needs, and what it means."""
    OUTPUT: ClassVar[Mapping[str, str]] = {
        "vector": "the vector, all zero where there is a reason",
        "reason": "why there is no vector, null where there is one",
    }
    """The columns it adds."""

    @property
    @abstractmethod
    def width(self) -> int:
        """D, the width of a vector."""

    @abstractmethod
    def read(self, value: Value) -> Ready:
        """Check one value and make it ready for `run`.

        Raises:
            UnreadableError: no vector can be made of it.
        """

    @abstractmethod
    def run(self, ready: Sequence[Ready]) -> FloatMatrix:
        """The vectors of at least one value, shape (n, D), in the order given; one does not depend on another."""

    def encode(self, values: Sequence[Value]) -> FloatMatrix:
        """Vectors of values that are all known to be good.

        Returns:
            Shape (n, D), in the order given.

        Raises:
            DataError: one of them is not.
        """
        encoded = self.encode_readable(values)
        for place, reason in enumerate(encoded.reasons):
            if reason is not None:
                raise DataError(f"{type(self).__name__} cannot encode value {place + 1} of {len(values)}: {reason}")
        return encoded.vectors

    def encode_readable(self, values: Sequence[Value | UnreadableError]) -> Encoded:
        """Vectors of the values that are good and reasons for the others; a bad value harms no other.

        A value that could not even be had may be given as the error that says so.
        """
        ready: list[Ready] = []
        reasons: list[str | None] = []
        for value in values:
            try:
                if isinstance(value, UnreadableError):
                    raise value
                ready.append(self.read(value))
                reasons.append(None)
            except UnreadableError as error:
                reasons.append(str(error))
        good = np.asarray([reason is None for reason in reasons], bool)
        vectors = np.zeros((len(values), self.width), np.float32)
        if ready:
            vectors[good] = self.run(ready)
        for place in np.flatnonzero(~np.isfinite(vectors).all(axis=1)):
            vectors[place], reasons[place] = 0, "its vector came out as no finite numbers"
        return Encoded(vectors, reasons)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Add the columns of `OUTPUT` to a batch of columns.

        Raises:
            DataError: the column of `INPUT` is missing.
        """
        ((column, meaning),) = self.INPUT.items()
        if column not in batch:
            raise DataError(
                f"{type(self).__name__} needs the column {column}: {meaning}; the batch has {sorted(batch)}"
            )
        encoded = self.encode_readable(list(batch[column]))
        return {**batch, "vector": encoded.vectors, "reason": np.asarray(encoded.reasons, object)}


def unit_length(vectors: FloatMatrix) -> FloatMatrix:
    """Rows scaled to length 1, shape kept; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(lengths > 0, lengths, 1), np.float32)
