from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm4rec.online.feedback import Feedback
from llm4rec.online.user_state import CorpusCodes, history_with_feedback
from llm4rec.schema import EMPTY_HISTORY, History

CODES = CorpusCodes(items={"a": 0, "b": 1, "c": 2, "d": 3}, events={"rating": 0, "like": 1}, usual_value=4.0)
LOGGED = History(
    item=np.array([3, 0], np.int32),
    timestamp=np.array([10, 20], np.int64),
    value=np.array([5, 3], np.float32),
    event=np.array([0, 0], np.int32),
)


def said(item_id: str, event: str, timestamp: int, value: float | None = None) -> Feedback:
    return Feedback(f"{item_id}{event}{timestamp}", "u", item_id, event, value=value, timestamp=timestamp)


def test_feedback_is_merged_by_time_with_codes_and_usual_values() -> None:
    state = history_with_feedback(LOGGED, [said("b", "like", 15), said("c", "rate", 30, 4.5)], CODES)
    np.testing.assert_array_equal(state.history.item, [3, 1, 0, 2])
    np.testing.assert_array_equal(state.history.timestamp, [10, 15, 20, 30])
    np.testing.assert_array_equal(state.history.value, np.array([5, 4, 3, 4.5], np.float32))
    np.testing.assert_array_equal(state.history.event, [0, 1, 0, 0])
    np.testing.assert_array_equal(state.seen, [0, 1, 2, 3])


def test_negative_feedback_counts_as_seen_only() -> None:
    events = [said("b", "dislike", 30), said("c", "rate", 31, 2.0), said("a", "skip", 32)]
    state = history_with_feedback(EMPTY_HISTORY, events, CODES)
    assert len(state.history) == 0
    np.testing.assert_array_equal(state.seen, [0, 1, 2])


def test_which_ratings_are_dislikes_is_a_question_of_the_scale() -> None:
    events = [said("b", "rate", 30, 4.0), said("c", "rate", 31, 4.5), said("a", "rate", 32, 2.0)]
    state = history_with_feedback(EMPTY_HISTORY, events, replace(CODES, disliked_rating=4.0))
    np.testing.assert_array_equal(state.history.item, [2])


def test_a_low_value_is_negative_for_ratings_only() -> None:
    state = history_with_feedback(EMPTY_HISTORY, [said("b", "click", 30, 1.0)], CODES)
    np.testing.assert_array_equal(state.history.item, [1])


def test_the_last_word_on_an_item_counts() -> None:
    taken_back = history_with_feedback(EMPTY_HISTORY, [said("b", "like", 1), said("b", "dislike", 2)], CODES)
    assert len(taken_back.history) == 0
    forgiven = history_with_feedback(EMPTY_HISTORY, [said("b", "dislike", 1), said("b", "like", 2)], CODES)
    np.testing.assert_array_equal(forgiven.history.item, [1])


def test_items_outside_the_corpus_are_left_out() -> None:
    state = history_with_feedback(LOGGED, [said("new", "like", 30)], CODES)
    np.testing.assert_array_equal(state.history.item, LOGGED.item)
    np.testing.assert_array_equal(state.seen, [0, 3])


def test_on_ties_the_logged_history_comes_first() -> None:
    state = history_with_feedback(LOGGED, [said("b", "like", 20)], CODES)
    np.testing.assert_array_equal(state.history.item, [3, 0, 1])


FEEDBACK = st.builds(
    said,
    item_id=st.sampled_from(["a", "b", "c", "d", "new"]),
    event=st.sampled_from(["like", "dislike", "skip", "view", "rate"]),
    timestamp=st.integers(0, 40),
    value=st.none() | st.floats(1, 5, width=32),
)


@given(st.lists(FEEDBACK, max_size=12))
def test_any_feedback_keeps_order_types_and_the_logged_items(events: list[Feedback]) -> None:
    history, seen = (state := history_with_feedback(LOGGED, events, CODES)).history, state.seen
    assert np.all(np.diff(history.timestamp) >= 0)
    assert {3, 0} <= set(history.item.tolist()) <= set(seen.tolist())
    assert [array.dtype for array in vars(history).values()] == [array.dtype for array in vars(LOGGED).values()]
    assert seen.dtype == np.int32 and len(set(seen.tolist())) == len(seen)
