"""Splits of an interaction log, on integer codes."""

import numpy as np

from llm4rec.schema import TEST, TRAIN, VALID, IntVector, LongVector


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


def cut_ranks(count: int, valid_fraction: float, test_fraction: float) -> tuple[int, int]:
    """Places, in a log sorted by time, of the last interactions before the temporal split's VALID and TEST parts.

    Args:
        count: interactions in the log.
        valid_fraction: share of interactions between the cuts.
        test_fraction: share of interactions behind the second cut.
    """
    end_of_valid = count - round(count * test_fraction) - 1
    return max(end_of_valid - round(count * valid_fraction), 0), end_of_valid


def temporal(timestamp: LongVector, end_of_train: int, end_of_valid: int) -> IntVector:
    """Cut a log at two moments; interactions at the moment of a cut go to the earlier side.

    Args:
        timestamp: shape (N,), seconds, any order.
        end_of_train: the last moment of TRAIN.
        end_of_valid: the last moment of VALID.
    """
    split = np.full(len(timestamp), TRAIN, np.int32)
    split[timestamp > end_of_train] = VALID
    split[timestamp > end_of_valid] = TEST
    return split
