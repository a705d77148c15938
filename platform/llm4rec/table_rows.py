"""A table with other rows."""

from collections.abc import Sequence
from typing import Any

import numpy as np


def with_rows(array: np.ndarray, places: Sequence[int] | np.ndarray, values: Any) -> np.ndarray:
    """A copy with values in some rows, of which those behind the last follow each other; shape (n + added, ...)."""
    added = max(0, max(places, default=-1) + 1 - len(array))
    changed = np.concatenate([array, np.empty((added, *array.shape[1:]), array.dtype)])
    changed[places] = values
    return changed
