"""Which items of a catalogue too large to score whole are scored for a request."""

from collections.abc import Callable

import numpy as np

from llm4rec.index.parts import SearchableIndex
from llm4rec.recommend.config import RecommendConfig
from llm4rec.recommend.slate import by_taste_alone
from llm4rec.schema import BoolVector, FloatVector, IntVector

SAMPLE = 10_000
"""Items drawn once that are scored for everybody, so that scores are standardised by the spread of the catalogue, not
by that of its best."""


def may_decide(config: RecommendConfig, popularity_weight: float, *, worded: bool) -> bool:
    """Whether the items nearest to a state compete; words, filters, prices and written ids look elsewhere."""
    return config.candidates_from == "scores" and by_taste_alone(config, popularity_weight, worded=worded)


class Candidates:
    """The items nearest to a state, those of the sample, and others that do better than the last of the nearest."""

    def __init__(self, near: SearchableIndex, seed: int) -> None:
        self._near = near
        drawn = np.random.default_rng(seed).choice(near.num_items, min(SAMPLE, near.num_items), replace=False)
        self._sample = np.sort(drawn).astype(np.int32)

    def logits(
        self,
        score: Callable[[IntVector], FloatVector],
        state: FloatVector,
        wanted: int,
        hidden: BoolVector,
        seen: IntVector,
        others: IntVector,
    ) -> FloatVector:
        """Logits of those items, -inf of all others, shape (I,).

        Args:
            score: gives the logits of items by code.
            state: h_u with what was learnt online, shape (D,).
            wanted: how many of the nearest.
            hidden: items that are not shown, shape (I,); those behind the items of the index are new.
            seen: codes of further ones.
            others: codes that the index cannot judge: items whose vectors have moved, and those that go with the user's
                last items whatever their vectors.
        """
        known = self._near.num_items
        out = np.union1d(np.flatnonzero(hidden[:known]), seen[seen < known])
        nearest = self._near.search(state[None], wanted, [out.astype(np.int32)])[0][0]
        nearest = nearest[nearest >= 0]
        judged = np.concatenate([nearest, self._sample])
        codes = np.unique(np.concatenate([judged, others, np.arange(known, len(hidden))])).astype(np.int32)
        scores = score(codes)
        last = scores[np.isin(codes, nearest)].min(initial=np.inf)
        kept = np.isin(codes, judged) | (scores >= last) | (len(nearest) < wanted)
        logits = np.full(len(hidden), -np.inf, np.float32)
        logits[codes[kept]] = scores[kept]
        return logits
