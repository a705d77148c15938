"""Items that the same users liked, by the cosine of the items' sets of likers."""

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from llm4rec.index.config import IndexConfig
from llm4rec.schema import Interactions, IntVector

BLOCK = 1024


def liked(interactions: Interactions) -> Interactions:
    """The interactions whose value is at least the mean value; all of them where values do not vary."""
    if not len(interactions):
        return interactions
    return interactions.where(interactions.value >= interactions.value.mean(dtype=np.float64))


def liked_together(
    interactions: Interactions, num_users: int, titles: Sequence[str], config: IndexConfig
) -> list[IntVector]:
    """For each item its most similar items, best first, at most `config.num_neighbours`.

    Similarity is |A and B| / sqrt(|A| |B|) over the sets of users who liked each; pairs below `config.min_support`
    shared users or `config.min_cosine` are left out. A catalogue may hold one thing twice: an item's namesakes are none
    of its neighbours, and of neighbours with one title the most similar stands for all.

    Args:
        interactions: what is known of users.
        num_users: users of the corpus.
        titles: as they are shown, by item code.
        config: of the index stage.
    """
    num_items, known = len(titles), {title: number for number, title in enumerate(dict.fromkeys(titles))}
    names = np.array([known[title] for title in titles], np.int64)
    likes = liked(interactions)
    ones = np.ones(len(likes), np.float32)
    matrix = sp.csc_matrix((ones, (likes.user, likes.item)), shape=(num_users, num_items))
    matrix.data[:] = 1  # a user who liked an item twice is one liker
    likers = np.diff(matrix.indptr).astype(np.float64)
    found: list[IntVector] = []
    for start in range(0, num_items, BLOCK):
        # A block of items at a time: the whole item-by-item matrix of a large log does not fit in memory.
        shared = (matrix[:, start : start + BLOCK].T @ matrix).tocoo()
        found += _best(shared, start, likers, names, config)
    return found


def _best(
    shared: sp.coo_matrix, start: int, likers: np.ndarray, names: np.ndarray, config: IndexConfig
) -> list[IntVector]:
    rows, columns, counts = shared.row, shared.col, shared.data
    cosine = counts / np.sqrt(likers[rows + start] * likers[columns])
    keep = (names[rows + start] != names[columns]) & (counts >= config.min_support) & (cosine >= config.min_cosine)
    rows, columns, cosine = rows[keep], columns[keep], cosine[keep]
    order = np.lexsort((columns, -cosine, rows))
    rows, columns = rows[order], columns[order].astype(np.int32)
    _, firsts = np.unique(rows * np.int64(len(names)) + names[columns], return_index=True)
    rows, columns = rows[np.sort(firsts)], columns[np.sort(firsts)]
    bounds = np.searchsorted(rows, np.arange(shared.shape[0] + 1))
    return [columns[a : min(b, a + config.num_neighbours)] for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
