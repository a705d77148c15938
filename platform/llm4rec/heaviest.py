"""The heaviest rows of each group."""

import numpy as np
import numpy.typing as npt

from llm4rec.schema import LongVector


def heaviest_of_each(group: npt.NDArray[np.integer], weight: np.ndarray, count: int) -> LongVector:
    """The `count` heaviest rows of each group, by group and falling weight, equal ones as they stand.

    Args:
        group: shape (N,), codes.
        weight: shape (N,).
        count: of each group; of smaller ones all.
    """
    order = np.lexsort((-weight, group))
    first = np.searchsorted(group[order], group[order])
    return order[np.arange(len(order)) - first < count]
