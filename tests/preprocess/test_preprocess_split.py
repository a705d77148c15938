import numpy as np

from llm4rec.preprocess.split import cut_ranks, leave_one_out, temporal
from llm4rec.schema import TEST, TRAIN, VALID


def test_leave_one_out_needs_three():
    user = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2], np.int32)
    expected = [TRAIN, TRAIN, VALID, TEST, TRAIN, TRAIN, TRAIN, VALID, TEST]
    assert leave_one_out(user).tolist() == expected


def cut(timestamps, valid_fraction, test_fraction):
    moments = np.array(timestamps)
    first, second = cut_ranks(len(moments), valid_fraction, test_fraction)
    return temporal(moments, np.sort(moments)[first], np.sort(moments)[second]).tolist()


def test_temporal_gives_ties_at_a_cut_to_the_earlier_side():
    # Cuts fall behind the 8th and the 9th of ten moments; two more share the moment of the first cut.
    assert cut([1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.1, 0.1) == [TRAIN] * 8 + [VALID, TEST]
    assert cut([10, 8, 8, 1, 2, 3, 4, 5, 6, 7], 0.2, 0.1) == [TEST, VALID, VALID] + [TRAIN] * 7
    assert cut([10, 8, 8, 8, 1, 2, 3, 4, 5, 6], 0.2, 0.1) == [TEST] + [TRAIN] * 9


def test_temporal_without_held_out_parts_is_all_train():
    assert cut([3, 1, 2], 0.0, 0.0) == [TRAIN] * 3
