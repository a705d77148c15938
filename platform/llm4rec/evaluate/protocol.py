"""Whom to rank for, from what history, against which target."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from llm4rec.errors import DataError
from llm4rec.schema import SPLIT_NAMES, TEST, TRAIN, VALID, Corpus, History, IntVector, LongVector

HISTORY_SPLITS: dict[int, tuple[int, ...]] = {VALID: (TRAIN,), TEST: (TRAIN, VALID)}


@dataclass(frozen=True)
class EvaluationSet:
    """E users, each with a history and the one item that came next.

    Attributes:
        users: user codes, shape (E,).
        histories: each user's interactions in the splits before the target's, which are the items seen.
        targets: item codes, shape (E,): the user's first interaction in the target split.
        num_items: size of the ranked catalogue (warm items).
        split_hash: a hash of all the above in external ids: equal hash, comparable figures.
    """

    users: IntVector
    histories: Sequence[History]
    targets: IntVector
    num_items: int
    split_hash: str

    @classmethod
    def build(cls, corpus: Corpus, target_split: int = TEST) -> Self:
        """The users with a warm target in the split (VALID or TEST) and a history that is not empty.

        Raises:
            DataError: no user qualifies.
        """
        targets = corpus.part(target_split)
        users, first = np.unique(targets.user, return_index=True)
        items = targets.item[first]
        histories = corpus.histories(*HISTORY_SPLITS[target_split])
        has_history = np.array([len(histories[user]) > 0 for user in users], np.bool_)
        kept = np.flatnonzero(has_history & (items < corpus.num_warm_items))
        if not len(kept):
            raise DataError(
                f"no user has both a history and a warm item in the {SPLIT_NAMES[target_split]} split; "
                "check the split and k-core settings of preprocess"
            )
        chosen = [histories[user] for user in users[kept]]
        digest = _hash(corpus, users[kept], chosen, items[kept])
        return cls(users[kept], chosen, items[kept], corpus.num_warm_items, digest)

    def __len__(self) -> int:
        return len(self.users)


def evenly(count: int, most: int) -> LongVector:
    """At most `most` of `count` rows, evenly spread, first and last among them."""
    return np.linspace(0, max(count - 1, 0), min(count, most)).round().astype(np.int64)


def _hash(corpus: Corpus, users: IntVector, histories: Sequence[History], targets: IntVector) -> str:
    digest = hashlib.sha256()
    for user, history, target in zip(users, histories, targets, strict=True):
        ids = [corpus.user_ids[user], *(corpus.item_ids[item] for item in history.item), corpus.item_ids[target]]
        digest.update("\t".join(ids).encode() + b"\n")
    return digest.hexdigest()[:16]
