"""Filters and splits of an interaction log, on integer codes."""

import numpy as np

from llm4rec.schema import TEST, TRAIN, VALID, BoolVector, IntVector, LongVector


def k_core(user: IntVector, item: IntVector, min_user: int, min_item: int) -> BoolVector:
    """Which interactions remain when thin users and items are removed until every one left is thick enough.

    Args:
        user: shape (N,), codes.
        item: shape (N,), codes.
        min_user: interactions that a user must keep.
        min_item: interactions that an item must keep.
    """
    keep = np.ones(len(user), bool)
    while True:
        thick_user = np.bincount(user[keep], minlength=_size(user)) >= min_user
        thick_item = np.bincount(item[keep], minlength=_size(item)) >= min_item
        kept = keep & thick_user[user] & thick_item[item]
        if kept.sum() == keep.sum():
            return kept
        keep = kept


def leave_one_out(user: IntVector) -> IntVector:
    """Each user's last interaction is TEST, the one before VALID; users with fewer than 3 are all TRAIN.

    Args:
        user: shape (N,), codes, sorted, each user's interactions in time order.
    """
    counts = np.bincount(user)
    from_end = np.cumsum(counts)[user] - 1 - np.arange(len(user))
    long_enough = counts[user] >= 3
    split = np.full(len(user), TRAIN, np.int32)
    split[long_enough & (from_end == 0)] = TEST
    split[long_enough & (from_end == 1)] = VALID
    return split


def temporal(timestamp: LongVector, valid_fraction: float, test_fraction: float) -> IntVector:
    """Cut the whole log at two moments; interactions at the moment of a cut go to the earlier side.

    Args:
        timestamp: shape (N,), seconds, any order.
        valid_fraction: share of interactions between the cuts.
        test_fraction: share of interactions behind the second cut.
    """
    ordered = np.sort(timestamp)
    num_test = round(len(ordered) * test_fraction)
    num_valid = round(len(ordered) * valid_fraction)
    end_of_valid = ordered[len(ordered) - num_test - 1]
    end_of_train = ordered[max(len(ordered) - num_test - num_valid - 1, 0)]
    split = np.full(len(timestamp), TRAIN, np.int32)
    split[timestamp > end_of_train] = VALID
    split[timestamp > end_of_valid] = TEST
    return split


def _size(codes: IntVector) -> int:
    return int(codes.max()) + 1 if len(codes) else 0
