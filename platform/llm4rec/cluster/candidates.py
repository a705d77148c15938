"""Which items of a catalogue too large to score whole are scored for a request."""

import numpy as np

from llm4rec.index.approximate import ApproximateIndex
from llm4rec.index.vectors import ItemIndex
from llm4rec.schema import BoolVector, FloatVector, IntVector

SAMPLE = 10_000
"""Items drawn once that are scored for everybody, so that scores are standardised by the spread of the catalogue, not
by that of its best."""


class Candidates:
    """The items nearest to a state, those of the sample, and those that the index does not know as they are now."""

    def __init__(self, near: ApproximateIndex | ItemIndex, seed: int) -> None:
        self._near = near
        drawn = np.random.default_rng(seed).choice(near.num_items, min(SAMPLE, near.num_items), replace=False)
        self._sample = np.sort(drawn).astype(np.int32)

    def of(self, state: FloatVector, wanted: int, hidden: BoolVector, seen: IntVector, changed: IntVector) -> IntVector:
        """Codes of the items to score, ascending.

        Args:
            state: h_u with what was learnt online, shape (D,).
            wanted: how many of the nearest.
            hidden: items that are not shown, shape (at least I of the index,); those beyond its items are new.
            seen: codes of further ones.
            changed: codes of items whose vectors have moved since.
        """
        num_items = self._near.num_items
        out = np.union1d(np.flatnonzero(hidden[:num_items]), seen[seen < num_items])
        nearest = self._near.search(state[None], wanted, [out.astype(np.int32)])[0][0]
        new = np.arange(num_items, len(hidden))
        codes = np.unique(np.concatenate([nearest[nearest >= 0], self._sample, changed, new]))
        return codes.astype(np.int32)
