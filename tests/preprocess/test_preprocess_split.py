import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm4rec.preprocess.split import k_core, leave_one_out, temporal
from llm4rec.schema import TEST, TRAIN, VALID


def test_k_core_repeats_until_nothing_changes():
    # Item 2 is thin; without it user 2 is thin; without user 2 item 1 is thin; what is left is users 0, 1 x item 0, 3.
    user = np.array([0, 0, 1, 1, 2, 2, 0], np.int32)
    item = np.array([0, 3, 0, 3, 2, 1, 1], np.int32)
    assert k_core(user, item, 2, 2).tolist() == [True, True, True, True, False, False, False]


def test_k_core_may_leave_nothing():
    assert not k_core(np.array([0, 1], np.int32), np.array([0, 1], np.int32), 2, 1).any()


pairs = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=1, max_size=60)


@given(pairs, st.integers(1, 4), st.integers(1, 4))
def test_k_core_is_the_largest_set_that_keeps_its_promise(found, min_user, min_item):
    user, item = np.array(found, np.int32).T
    kept = k_core(user, item, min_user, min_item)
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


def test_leave_one_out_needs_three():
    user = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2], np.int32)
    expected = [TRAIN, TRAIN, VALID, TEST, TRAIN, TRAIN, TRAIN, VALID, TEST]
    assert leave_one_out(user).tolist() == expected


def test_temporal_gives_ties_at_a_cut_to_the_earlier_side():
    # Cuts fall behind the 8th and the 9th of ten moments; two more share the moment of the first cut.
    timestamp = np.array([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    assert temporal(timestamp, 0.1, 0.1).tolist() == [TRAIN] * 8 + [VALID, TEST]
    timestamp = np.array([10, 8, 8, 1, 2, 3, 4, 5, 6, 7])
    assert temporal(timestamp, 0.2, 0.1).tolist() == [TEST, VALID, VALID] + [TRAIN] * 7
    timestamp = np.array([10, 8, 8, 8, 1, 2, 3, 4, 5, 6])
    assert temporal(timestamp, 0.2, 0.1).tolist() == [TEST] + [TRAIN] * 9


def test_temporal_without_held_out_parts_is_all_train():
    assert temporal(np.array([3, 1, 2]), 0.0, 0.0).tolist() == [TRAIN] * 3
