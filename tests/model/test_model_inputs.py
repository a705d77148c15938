"""Codes of attributes and histories, by hand."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm4rec.model.inputs import NUM_GAPS, PADDING, AttributeCodec, HistoryCodec, time_gaps
from llm4rec.schema import EMPTY_HISTORY
from tests.corpora import history

USERS = pa.table(
    {
        "user_id": [f"u{n}" for n in range(9)],
        "job": ["b", "a", None, "c", "b", "a", "a", "a", "a"],
        "age": pa.array([10, 20, 30, 40, 50, 60, 70, 80, 90], pa.int64()),
        "paying": [True, False, None, True, True, True, True, True, True],
        "nothing": pa.nulls(9),
    }
)


def test_attributes_by_hand() -> None:
    codec = AttributeCodec.fit(USERS)
    assert codec.names == ["age", "job", "nothing", "paying"]
    assert codec.vocabularies == {"job": ["a", "b", "c"], "nothing": [], "paying": ["False", "True"]}
    assert codec.edges == {"age": [20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0]}
    assert codec.sizes == [9, 4, 1, 3]
    assert codec.encode({"age": 10, "job": "a", "paying": True}) == [1, 1, 0, 2]
    assert codec.encode({"age": 20, "job": "c", "paying": False}) == [2, 3, 0, 1]
    assert codec.encode({"age": 79.9, "job": "b"}) == [7, 2, 0, 0]
    assert codec.encode({"age": 1e9}) == [8, 0, 0, 0]


@pytest.mark.parametrize(
    "attributes", [{}, {"age": None, "job": None}, {"job": "pilot", "age": "old"}, {"age": True}, {"zodiac": "leo"}]
)
def test_what_is_missing_or_unknown_is_code_0(attributes: dict[str, object]) -> None:
    assert AttributeCodec.fit(USERS).encode(attributes) == [0, 0, 0, 0]


def test_a_table_is_coded_row_by_row() -> None:
    codec = AttributeCodec.fit(USERS)
    codes = codec.encode_table(USERS)
    assert (codes.shape, codes.dtype) == ((9, 4), np.int64)
    assert codes[2].tolist() == [3, 0, 0, 0]
    assert (codes < codec.sizes).all()
    assert codec.encode_table(USERS.select(["user_id", "job"]))[:, 1].tolist() == codes[:, 1].tolist()


def test_users_without_attributes_have_no_codes() -> None:
    users = USERS.select(["user_id"])
    assert AttributeCodec.fit(users).encode_table(users).shape == (9, 0)


def test_histories_by_hand() -> None:
    codec = HistoryCodec(num_events=2, value_edges=[2.0, 4.0], history_length=3)
    long = history(5, 6, 7, 8, times=[0, 10, 10, 17], values=[1, 2, 3.9, 4])
    batch = codec.encode([long, EMPTY_HISTORY, history(9, values=[0.5])])
    assert batch.item.tolist() == [[6, 7, 8], [PADDING] * 3, [9, PADDING, PADDING]]
    assert batch.value.tolist() == [[1, 1, 2], [0, 0, 0], [0, 0, 0]]
    # gaps: first 0; 0 s -> 1 + log2(1); 7 s -> 1 + log2(8)
    assert batch.gap.tolist() == [[0, 1, 4], [0, 0, 0], [0, 0, 0]]
    assert batch.rows(slice(2, 3)).item.tolist() == [[9, PADDING, PADDING]]
    assert codec.num_values == 3


def test_a_batch_without_any_interaction_has_one_padded_column() -> None:
    assert HistoryCodec(1, [], 5).encode([EMPTY_HISTORY]).item.tolist() == [[PADDING]]


@pytest.mark.parametrize(
    ("times", "gaps"),
    [
        ([], []),
        ([100], [0]),
        ([0, 0, 1, 4, 1027], [0, 1, 2, 3, 11]),
        ([10, 5], [0, 1]),  # a clock that went back
        ([0, 2**60], [0, NUM_GAPS - 1]),
    ],
)
def test_time_gaps_by_hand(times: list[int], gaps: list[int]) -> None:
    assert time_gaps(np.array(times, np.int64)).tolist() == gaps


@given(st.lists(st.integers(0, 2**40), max_size=30))
def test_time_gaps_stay_inside_their_table(times: list[int]) -> None:
    gaps = time_gaps(np.array(sorted(times), np.int64))
    assert ((gaps >= 0) & (gaps < NUM_GAPS)).all() and (gaps[1:] >= 1).all()
