"""Batch slates: the table's columns, and lists of users with mistakes in them."""

import numpy as np
import pytest

from llm4rec.errors import DataError
from llm4rec.recommend.batch import known_users, read_user_ids, slates_table
from llm4rec.recommend.slate import Slate
from llm4rec.schema import SLATE_SCHEMA


def slate(codes):
    numbers = np.arange(len(codes), dtype=np.float32)
    return Slate(np.array(codes, np.int32), -numbers, 1 / (1 + numbers))


def test_one_row_a_position_ranked_from_one():
    table = slates_table(["u", "v", "w"], [slate([2, 0]), slate([]), slate([1])], ["a", "b", "c"])
    assert table.schema == SLATE_SCHEMA
    assert table.to_pylist() == [
        {"user_id": "u", "item_id": "c", "rank": 1, "score": 0.0, "propensity": 1.0},
        {"user_id": "u", "item_id": "a", "rank": 2, "score": -1.0, "propensity": 0.5},
        {"user_id": "w", "item_id": "b", "rank": 1, "score": 0.0, "propensity": 1.0},
    ]


@pytest.mark.parametrize("slates", [[], [slate([])]])
def test_no_positions_give_an_empty_table_of_the_same_columns(slates):
    table = slates_table(["u"] * len(slates), slates, ["a"])
    assert table.schema == SLATE_SCHEMA
    assert table.num_rows == 0


def test_user_ids_are_read_once_each(tmp_path):
    path = tmp_path / "users.txt"
    path.write_bytes("\ufeffu 1\r\n\n  v\nv\nü\n".encode())
    assert read_user_ids(path) == ["u 1", "v", "ü"]


def test_unknown_users_are_named_and_the_others_kept():
    codes, messages = known_users(["v", "x", "u", "y"], {"u": 0, "v": 1})
    assert codes == [1, 0]
    assert [message.split(":")[0] for message in messages] == ["unknown user 'x'", "unknown user 'y'"]
    assert all("\n" not in message for message in messages)


def test_unusable_lists_are_refused(tmp_path):
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for name in ("empty", "binary", "missing"):
        with pytest.raises(DataError, match=name):
            read_user_ids(tmp_path / name)
