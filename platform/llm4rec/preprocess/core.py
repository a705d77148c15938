"""What is kept of a settled log, and where it is cut in time: few numbers out of many rows, one bucket at a time."""

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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


def moments_of_ranks(read: Callable[[], Iterator[LongVector]], ranks: Sequence[int]) -> list[int]:
    """The timestamps at places in the sorted log, found in two passes that hold no more than a day of each.

    Args:
        read: the timestamps, bucket by bucket, in any order.
        ranks: from 0, below the number of timestamps.
    """
    days: Counter[int] = Counter()
    for timestamps in read():
        found = pc.value_counts(pa.array(timestamps // _DAY))
        days.update(dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True)))
    ordered = sorted(days)
    ends = np.cumsum([days[day] for day in ordered])  # ranks up to the end of each day
    places = [int(np.searchsorted(ends, rank, side="right")) for rank in ranks]
    inside: dict[int, list[LongVector]] = {place: [] for place in places}
    for timestamps in read():
        for place, own in inside.items():
            first = ordered[place] * _DAY
            own.append(timestamps[(timestamps >= first) & (timestamps < first + _DAY)])
    moments = []
    for rank, place in zip(ranks, places, strict=True):
        within = rank - int(ends[place]) + days[ordered[place]]
        moments.append(int(np.partition(np.concatenate(inside[place]), within)[within]))
    return moments
