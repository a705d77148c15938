"""The streaming filters: k-core, first users and moments, whatever the buckets."""

import hashlib
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm4rec.preprocess.core import first_users, k_core, moments_of_ranks


def core_of(user, item, min_user, min_item, cuts=(), may_stay=None):
    """Which interactions stay, with the users from each of `cuts` on in a bucket of their own."""
    user, item = np.asarray(user, np.int32), np.asarray(item, np.int32)
    bounds = [0, *cuts, int(user.max()) + 1]
    buckets = [(user >= a) & (user < b) for a, b in zip(bounds[:-1], bounds[1:], strict=True)]
    users = [np.ones(b - a, bool) if may_stay is None else may_stay[a:b] for a, b in itertools.pairwise(bounds)]

    def read(bucket):
        return user[buckets[bucket]] - bounds[bucket], item[buckets[bucket]]

    core = k_core(read, users, int(item.max()) + 1, min_user, min_item)
    stays = np.zeros(len(user), bool)
    for bucket, rows in enumerate(buckets):
        stays[rows] = core.kept(bucket, *read(bucket))
    assert core.counts.tolist() == np.bincount(item[stays], minlength=len(core.counts)).tolist()
    return stays


def test_k_core_repeats_until_nothing_changes():
    # Item 2 is thin; without it user 2 is thin; without user 2 item 1 is thin; what is left is users 0, 1 x item 0, 3.
    user, item = [0, 0, 1, 1, 2, 2, 0], [0, 3, 0, 3, 2, 1, 1]
    assert core_of(user, item, 2, 2).tolist() == [True, True, True, True, False, False, False]


def test_k_core_may_leave_nothing():
    assert not core_of([0, 1], [0, 1], 2, 1).any()


def test_users_that_may_not_stay_do_not_count():
    may_stay = np.array([True, False, True])
    assert core_of([0, 1, 2], [0, 0, 1], 1, 2, may_stay=may_stay).tolist() == [False] * 3
    assert core_of([0, 1, 2], [0, 0, 0], 1, 2, may_stay=may_stay).tolist() == [True, False, True]


pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


@given(pairs, st.integers(1, 4), st.integers(1, 4), st.integers(0, 7))
def test_k_core_is_the_largest_set_that_keeps_its_promise_in_any_buckets(found, min_user, min_item, cut):
    user, item = np.array(found, np.int32).T
    kept = core_of(user, item, min_user, min_item)
    inside = [cut] if 0 < cut <= user.max() else []
    assert (core_of(user, item, min_user, min_item, inside) == kept).all()
    for codes, least in ((user, min_user), (item, min_item)):
        counts = np.bincount(codes[kept])
        assert (counts[counts > 0] >= least).all()
    # Taking one row at a time out of a thin user or item must end at the same set.
    alive = np.ones(len(user), bool)
    while True:
        thin = [
            row
            for row in np.flatnonzero(alive)
            if (user[alive] == user[row]).sum() < min_user or (item[alive] == item[row]).sum() < min_item
        ]
        if not thin:
            break
        alive[thin[0]] = False
    assert (alive == kept).all()


def test_first_users_are_those_of_the_lowest_digest_over_all_buckets():
    ids = [[f"u{n}" for n in range(5)], [], [f"v{n}" for n in range(5)]]
    lowest = sorted((hashlib.sha256(user_id.encode()).digest(), user_id) for bucket in ids for user_id in bucket)[:4]
    chosen = {user_id for _, user_id in lowest}
    masks = first_users(iter(ids), 4)
    found = {user_id for bucket, mask in zip(ids, masks, strict=True) for user_id in itertools.compress(bucket, mask)}
    assert found == chosen
    assert sum(mask.sum() for mask in first_users(iter(ids), 99)) == 10


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(-(10**6), 10**6), max_size=30), min_size=1), st.data())
def test_moments_are_those_a_sorted_log_has_at_these_ranks(buckets, data):
    everything = sorted(moment for bucket in buckets for moment in bucket)
    if not everything:
        return
    ranks = data.draw(st.lists(st.integers(0, len(everything) - 1), max_size=3))
    found = moments_of_ranks(lambda: (np.array(b, np.int64) for b in buckets), ranks)
    assert found == [everything[rank] for rank in ranks]


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_moments_of_one_second_are_alike(rank):
    assert moments_of_ranks(lambda: iter([np.array([7, 7, 7])]), [rank]) == [7]
