"""Whom to rank for, from what history, against which target."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from llm4rec.errors import DataError
from llm4rec.schema import SPLIT_NAMES, TEST, TRAIN, VALID, Corpus, History, IntVector, LongVector, evenly

HISTORY_SPLITS: dict[int, tuple[int, ...]] = {VALID: (TRAIN,), TEST: (TRAIN, VALID)}


@dataclass(frozen=True)
class EvaluationSet:
    """E rows, each a user with a history and the one item that came next.

    Attributes:
        users: user codes, shape (E,).
        histories: of each row, which hold the items seen; `build`: the user's interactions in the splits before the
            target's.
        targets: item codes, shape (E,); `build`: the user's first interaction in the target split.
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
        chosen = [histories[user] for user in users[kept]]
        return cls._of(corpus, target_split, users[kept], chosen, items[kept])

    @classmethod
    def successive(cls, corpus: Corpus, target_split: int = TEST) -> Self:
        """A row for every interaction of the split with a warm item, from the user's history up to that moment.

        Where each user has one interaction in the split, as leave-one-out has it, these are the rows of `build`.
        Histories hold earlier interactions of the target split too (`Corpus.choices`); nothing is trained on those.

        Raises:
            DataError: no interaction qualifies.
        """
        chosen = corpus.choices(target_split, HISTORY_SPLITS[target_split])
        return cls._of(corpus, target_split, chosen.users, chosen.histories, chosen.items)

    @classmethod
    def _of(
        cls, corpus: Corpus, split: int, users: IntVector, histories: Sequence[History], targets: IntVector
    ) -> Self:
        name = SPLIT_NAMES[split]
        if not len(users) and not len(corpus.part(split)):
            raise DataError(
                f"the {name} split holds no interaction: with leave_one_out no user has three, with temporal one "
                f"moment of the log holds more than preprocess.{name}_fraction; give finer times, or a larger fraction"
            )
        if not len(users):
            raise DataError(
                f"no user has both a history and a warm item in the {name} split; "
                "check the split and k-core settings of preprocess"
            )
        digest = _hash(corpus, users, histories, targets)
        return cls(users, histories, targets, corpus.num_warm_items, digest)

    def at_most(self, count: int) -> Self:
        """At most so many of the rows, evenly spread, first and last among them."""
        return self.rows(evenly(len(self), count))

    def rows(self, chosen: LongVector) -> Self:
        """Some of the rows, with a hash of their own; all of them have this one's."""
        histories = [self.histories[row] for row in chosen]
        digest = self.split_hash
        if len(chosen) != len(self):
            digest = hashlib.sha256(digest.encode() + chosen.astype(np.int64).tobytes()).hexdigest()[:16]
        users, targets = self.users[chosen], self.targets[chosen]
        return replace(self, users=users, histories=histories, targets=targets, split_hash=digest)

    def __len__(self) -> int:
        return len(self.users)


def _hash(corpus: Corpus, users: IntVector, histories: Sequence[History], targets: IntVector) -> str:
    digest = hashlib.sha256()
    for user, history, target in zip(users, histories, targets, strict=True):
        ids = [corpus.user_ids[user], *(corpus.item_ids[item] for item in history.item), corpus.item_ids[target]]
        digest.update("\t".join(ids).encode() + b"\n")
    return digest.hexdigest()[:16]
