"""The heaviest rows, of all and of each group."""

import numpy as np
import numpy.typing as npt

from llm4rec.schema import LongVector


def heaviest(weight: np.ndarray, count: int) -> LongVector:
    """The `count` heaviest rows of all, by falling weight, equal ones as they stand; sorts only these.

    Args:
        weight: shape (N,).
        count: at least 1; of fewer rows all.
    """
    rows = np.arange(len(weight))
    if len(weight) > count:
        rows = np.flatnonzero(weight >= np.partition(weight, -count)[-count])
    order: LongVector = rows[np.argsort(-weight[rows], kind="stable")[:count]]
    return order


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
