"""Items by the words of their texts: TF-IDF rows that a new item can be added to at once.

Shapes: I items, V places for words.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.preprocessing import normalize

from llm4rec.schema import FloatVector

PLACES = 2**20
"""V: so many that words hardly ever share one."""
_counts = HashingVectorizer(n_features=PLACES, alternate_sign=False, norm=None, stop_words="english", dtype=np.float32)


class WordIndex:
    """Which words items' texts hold, and how rare these are.

    Words are told apart by hash, so that no vocabulary has to be known; how rare each is is counted once, when the
    index is made, and items added later do not change it.
    """

    def __init__(self, rows: sparse.csr_matrix, rarity: FloatVector) -> None:
        self._rows, self._rarity = rows, rarity

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        """The index of a catalogue's texts."""
        counts = _counts.transform(texts)
        holding = np.bincount(counts.indices, minlength=PLACES)
        rarity = (np.log((1 + len(texts)) / (1 + holding)) + 1).astype(np.float32)
        return cls(_weighted(counts, rarity), rarity)

    def cosine(self, text: str) -> FloatVector:
        """The cosine of a text with that of each item, shape (I,)."""
        row = _weighted(_counts.transform([text]), self._rarity)
        found: FloatVector = (self._rows @ row.T).toarray()[:, 0].astype(np.float32)
        return found

    def put(self, code: int, text: str) -> "WordIndex":
        """With the text of one item replaced, or added where the code is the next free one."""
        row = _weighted(_counts.transform([text]), self._rarity)
        rows = sparse.vstack([self._rows[:code], row, self._rows[code + 1 :]], format="csr")
        return WordIndex(rows, self._rarity)


def _weighted(counts: sparse.csr_matrix, rarity: FloatVector) -> sparse.csr_matrix:
    """Counts of words (1 + log) times rarity, each row of length one."""
    weighted = counts.copy()
    weighted.data = (1 + np.log(counts.data)) * rarity[counts.indices]
    return normalize(weighted)
