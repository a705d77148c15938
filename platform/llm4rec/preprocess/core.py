"""What is kept of a settled log, and where it is cut in time: few numbers out of many rows, one bucket at a time."""

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from llm4rec.schema import BoolVector, IntVector, LongVector

_DAY = 86_400


@dataclass(frozen=True)
class Core:
    """The k-core.

    Attributes:
        items: shape (I,), which provisional items stay.
        users: by bucket, shape (users of the bucket,), which users stay.
        counts: shape (I,), interactions of each item that stay.
    """

    items: BoolVector
    users: list[BoolVector]
    counts: LongVector

    def kept(self, bucket: int, user: IntVector, item: IntVector) -> BoolVector:
        """Which interactions of a bucket stay."""
        kept: BoolVector = self.users[bucket][user] & self.items[item]
        return kept


def k_core(
    read: Callable[[int], tuple[IntVector, IntVector]],
    users: Sequence[BoolVector],
    num_items: int,
    min_user: int,
    min_item: int,
) -> Core:
    """Remove thin users and items until every one left is thick enough; what is left does not depend on the order.

    Args:
        read: user and item codes of a bucket's interactions, by number.
        users: by bucket, which users may stay at all.
        num_items: I.
        min_user: interactions that a user must keep.
        min_item: interactions that an item must keep.
    """
    core = Core(np.ones(num_items, bool), [mask.copy() for mask in users], np.zeros(num_items, np.int64))
    while True:
        counts, changed = np.zeros(num_items, np.int64), False
        for bucket, alive in enumerate(core.users):
            user, item = read(bucket)
            kept = core.kept(bucket, user, item)
            thick = alive & (np.bincount(user[kept], minlength=len(alive)) >= min_user)
            changed |= bool((thick != alive).any())
            core.users[bucket] = thick
            counts += np.bincount(item[kept & thick[user]], minlength=num_items)
        items = core.items & (counts >= min_item)
        changed |= bool((items != core.items).any())
        core = Core(items, core.users, np.where(items, counts, 0))
        if not changed:
            return core


def first_users(user_ids: Iterable[Sequence[str]], count: int) -> list[BoolVector]:
    """Which users are the first `count` by sha256 of their id: the same ones whatever the order of the log."""
    buckets = [[hashlib.sha256(user_id.encode()).digest() for user_id in ids] for ids in user_ids]
    chosen = heapq.nsmallest(count, (digest for digests in buckets for digest in digests))
    limit = chosen[-1] if chosen else b""
    return [np.asarray([digest <= limit for digest in digests], bool) for digests in buckets]


def moment_of_rank(read: Callable[[], Iterator[LongVector]], rank: int) -> int:
    """The timestamp at a place in the sorted log, found in two passes that hold no more than a day.

    Args:
        read: the timestamps, bucket by bucket, in any order.
        rank: from 0, below the number of timestamps.
    """
    days: dict[int, int] = {}
    for timestamps in read():
        for day, count in zip(*np.unique(timestamps // _DAY, return_counts=True), strict=True):
            days[int(day)] = days.get(int(day), 0) + int(count)
    before = 0
    for day in sorted(days):
        if rank < before + days[day]:
            break
        before += days[day]
    inside = np.concatenate([timestamps[timestamps // _DAY == day] for timestamps in read()])
    return int(np.partition(inside, rank - before)[rank - before])
