"""Histories as a sparse user-item matrix."""

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_matrix

from llm4rec.schema import History, IntVector, LongVector


def binary_matrix(histories: Sequence[History], num_items: int) -> csr_matrix:
    """A float32 matrix of shape (len(histories), num_items): 1 where the history holds the item, however often."""
    matrix = weighted_matrix(histories, [np.ones(len(history), np.float32) for history in histories], num_items)
    matrix.data[:] = 1.0
    return matrix


def weighted_matrix(histories: Sequence[History], weights: Sequence[np.ndarray], num_items: int) -> csr_matrix:
    """As `binary_matrix`, each interaction with its own weight; the weights of a repeated item add up."""
    if not histories:
        return csr_matrix((0, num_items), dtype=np.float32)
    items = np.concatenate([history.item for history in histories])
    bounds = np.concatenate([[0], np.cumsum([len(history) for history in histories])])
    matrix = csr_matrix((np.concatenate(weights), items, bounds), shape=(len(histories), num_items), dtype=np.float32)
    matrix.sum_duplicates()
    return matrix


def newest_places(history: History) -> tuple[IntVector, LongVector]:
    """The items of a history, each once, by code; and of each how many interactions came after its newest."""
    return np.unique(history.item[::-1], return_index=True)


def decayed_matrix(histories: Sequence[History], num_items: int, decay: float) -> csr_matrix:
    """As `binary_matrix`, an item's newest place, the n-th from the end (from 0), weighing decay ** n."""
    if not histories:
        return csr_matrix((0, num_items), dtype=np.float32)
    newest = [newest_places(history) for history in histories]
    items, ages = (np.concatenate(part) for part in zip(*newest, strict=True))
    bounds = np.concatenate([[0], np.cumsum([len(own) for own, _ in newest])])
    return csr_matrix((decay**ages, items, bounds), shape=(len(histories), num_items), dtype=np.float32)
