"""Items by the words of their texts: BM25 rows that a new item can be added to at once.

Shapes: I items, V places for words.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer

from llm4rec.schema import FloatVector

PLACES = 2**20
"""V: so many that words hardly ever share one."""
K1, B = 1.5, 0.75
"""Of BM25: how soon more of a word adds nothing, and how much a long text's words count less."""
_counts = HashingVectorizer(n_features=PLACES, alternate_sign=False, norm=None, stop_words="english", dtype=np.float32)


class WordIndex:
    """BM25 (Robertson and Zaragoza 2009) over items' texts, with the idf of Lucene.

    Words are told apart by hash, so that no vocabulary has to be known; how rare each is, and how long a text is on
    average, is counted once, when the index is made, and items added later do not change it.
    """

    def __init__(self, rows: sparse.csr_matrix, rarity: FloatVector, mean_length: float) -> None:
        self._rows, self._rarity, self._mean_length = rows, rarity, mean_length

    @classmethod
    def of(cls, texts: Sequence[str]) -> Self:
        """The index of a catalogue's texts."""
        counts = _counts.transform(texts)
        holding = np.bincount(counts.indices, minlength=PLACES)
        rarity = np.log1p((len(texts) - holding + 0.5) / (holding + 0.5)).astype(np.float32)
        mean_length = max(1.0, float(counts.sum() / max(1, len(texts))))
        return cls(_weighted(counts, rarity, mean_length), rarity, mean_length)

    def score(self, text: str) -> FloatVector:
        """How well each item's text answers the words of another, shape (I,); 0 where they share none."""
        asked = _counts.transform([text])
        asked.data[:] = 1
        found: FloatVector = (self._rows @ asked.T).toarray()[:, 0].astype(np.float32)
        return found

    def put(self, codes: Sequence[int], texts: Sequence[str]) -> "WordIndex":
        """With the texts of some items replaced, or added where codes are the next free ones."""
        own = _weighted(_counts.transform(texts), self._rarity, self._mean_length)
        order = np.arange(max(self._rows.shape[0], max(codes) + 1))
        order[codes] = self._rows.shape[0] + np.arange(len(codes))  # behind those that were
        return WordIndex(sparse.vstack([self._rows, own], format="csr")[order], self._rarity, self._mean_length)


def _weighted(counts: sparse.csr_matrix, rarity: FloatVector, mean_length: float) -> sparse.csr_matrix:
    """What each word of each text is worth."""
    length = np.repeat(np.asarray(counts.sum(axis=1))[:, 0], np.diff(counts.indptr))
    weighted = counts.copy()
    room = K1 * (1 - B + B * length / mean_length)
    weighted.data = (rarity[counts.indices] * counts.data * (K1 + 1) / (counts.data + room)).astype(np.float32)
    return weighted
