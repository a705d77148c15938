import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm4rec.errors import DataError
from llm4rec.online.config import LearnerConfig
from llm4rec.online.example import Example
from llm4rec.online.feedback import LearnerState
from llm4rec.online.learner import Frozen, Learner
from llm4rec.online.parameters import Shift, restore, to_snapshot, update_since

NOTHING = np.empty(0, np.int32)
PLAIN = LearnerConfig(item_rate=0.1, user_rate=0.0, momentum=0.0, num_negatives=3, surprise=0.01, max_shift=10.0)


def unit(*values: float) -> np.ndarray:
    vector = np.array(values, np.float32)
    return vector / np.linalg.norm(vector)


SMALL = Frozen(np.stack([unit(1, 0), unit(0, 1), unit(1, 1)]), sharpness=2.0)


def choice(item: int = 0, *, user_id: str = "u", wanted: bool = True, propensity: float | None = None) -> Example:
    return Example(user_id, item, wanted, np.array([1, 0], np.float32), propensity, NOTHING)


def chances(logits: list[float]) -> np.ndarray:
    weights = np.exp(logits)
    return weights / weights.sum()


def test_a_step_is_the_gradient_of_the_softmax_loss_by_hand() -> None:
    learner = Learner(SMALL, PLAIN)
    learner.learn(choice(1))
    p = chances([2.0, 0.0, np.sqrt(2)])
    expected = -0.1 * np.outer(p - [0, 1, 0], [1, 0])
    np.testing.assert_allclose(learner.shift, expected, atol=1e-6)
    np.testing.assert_allclose(learner.moved, SMALL.vectors + expected, atol=1e-6)


def test_momentum_goes_on_with_the_last_step() -> None:
    learner = Learner(SMALL, PLAIN.model_copy(update={"momentum": 0.5}))
    learner.learn(choice(1))
    first = learner.shift.copy()
    p = chances((2 * (SMALL.vectors + first) @ [1, 0]).tolist())
    learner.learn(choice(1))
    np.testing.assert_allclose(learner.shift, 1.5 * first - 0.1 * np.outer(p - [0, 1, 0], [1, 0]), atol=1e-6)


def test_the_adapter_moves_towards_what_is_wanted_and_away_from_what_is_not() -> None:
    config = PLAIN.model_copy(update={"item_rate": 0.0, "user_rate": 0.1})
    for wanted, sign in ((True, 1), (False, -1)):
        learner = Learner(SMALL, config)
        learner.learn(choice(1, wanted=wanted))
        assert sign * learner.adapters["u"].value[1] > 0
    p = chances([2.0, 0.0, np.sqrt(2)])
    np.testing.assert_allclose(
        learner.adapters["u"].value, -0.1 * (-p[1] / (1 - p[1])) * ((p - [0, 1, 0]) @ SMALL.vectors), atol=1e-6
    )


def test_only_the_item_and_the_likeliest_others_are_touched() -> None:
    frozen = Frozen(np.stack([unit(1, k / 10) for k in range(30)]), 2.0)
    learner = Learner(frozen, PLAIN.model_copy(update={"num_negatives": 3}))
    learner.learn(choice(20))
    assert set(np.flatnonzero(learner.shift.any(axis=1))) == {0, 1, 2, 20}


def test_items_the_user_had_do_not_compete() -> None:
    learner = Learner(SMALL, PLAIN)
    learner.learn(Example("u", 1, True, np.array([1, 0], np.float32), None, np.array([0], np.int32)))
    assert not learner.shift[0].any() and learner.shift[2, 0] < 0 < learner.shift[1, 0]


def test_rarely_shown_items_count_more_up_to_a_bound_and_relative_to_the_mean() -> None:
    def moved(*propensities: float | None) -> float:
        learner = Learner(SMALL, PLAIN.model_copy(update={"item_rate": 1e-4, "max_weight": 8.0}))
        for propensity in propensities[:-1]:
            learner.learn(choice(1, user_id="other", propensity=propensity))
        before = learner.shift[1, 0]
        learner.learn(choice(1, propensity=propensities[-1]))
        return float(learner.shift[1, 0] - before)

    # means of weights: (2 + 4) / 2 = 3, (2 + 8) / 2 = 5, and 1 for what was not on a slate
    plain = moved(0.5, None)
    assert moved(0.5, 0.25) / plain == pytest.approx(4 / 3, rel=1e-2)
    assert moved(0.5, 0.001) / plain == pytest.approx(8 / 5, rel=1e-2)


def test_what_was_expected_teaches_less() -> None:
    def share(surprise: float) -> float:
        learner = Learner(SMALL, PLAIN.model_copy(update={"surprise": surprise}))
        learner.learn(choice(0))
        return float(learner.shift[0, 0])

    p = chances([2.0, 0.0, np.sqrt(2)])[0]
    assert share(1.0) / share(0.01) == pytest.approx(-np.log(p) / np.log(3), rel=1e-4)


def test_a_dislike_of_what_was_expected_counts_more_than_one_of_what_was_not() -> None:
    def weight(item: int) -> float:
        learner = Learner(SMALL, PLAIN.model_copy(update={"surprise": 1.0}))
        learner.learn(choice(item, wanted=False))
        p = chances([2.0, 0.0, np.sqrt(2)])
        gradient = -p[item] / (1 - p[item]) * (p[item] - 1)
        return float(-learner.shift[item, 0] / 0.1 / gradient)

    p = chances([2.0, 0.0, np.sqrt(2)])
    assert weight(0) == pytest.approx(-np.log(1 - p[0]) / np.log(3), rel=1e-3)
    assert weight(0) > 3 * weight(1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.sampled_from("abc")), max_size=60))
def test_nothing_leaves_its_bounds(events: list[tuple[int, bool, str]]) -> None:
    learner = Learner(SMALL, LearnerConfig(item_rate=0.5, user_rate=0.5, max_shift=0.2, max_adapter=0.3))
    for item, wanted, user in events:
        learner.learn(choice(item, wanted=wanted, user_id=user))
    assert np.linalg.norm(learner.shift, axis=1).max() <= 0.2 + 1e-6
    assert all(np.linalg.norm(adapter.value) <= 0.3 + 1e-6 for adapter in learner.adapters.values())
    assert np.isfinite(learner.shift).all()


def test_the_gain_compares_with_the_frozen_model_before_the_step() -> None:
    learner = Learner(SMALL, PLAIN)
    assert learner.learn(choice(1)) == 0.0
    for _ in range(40):
        learner.learn(choice(1))
    assert learner.learn(choice(1)) == pytest.approx(1 - 0.5)  # from the third place, 1 / log2(4), to the first


def test_learning_that_harms_is_undone() -> None:
    learner = Learner(SMALL, PLAIN.model_copy(update={"drift_window": 20, "user_rate": 0.5}))
    for _ in range(30):
        learner.learn(choice(1, user_id="noise"))
    assert learner.shift.any() and learner.rollbacks == 0 and learner.gain > 0
    for _ in range(40):  # whoever dislikes item 0 is not who comes next: what was learnt is always wrong
        for _ in range(5):
            learner.learn(choice(0, user_id="noise", wanted=False))
        learner.learn(choice(0, user_id="noise"))
        if learner.rollbacks:
            break
    assert learner.rollbacks == 1 and not learner.shift.any() and not learner.adapters
    np.testing.assert_array_equal(learner.moved, SMALL.vectors)


def taught(count: int, learner: Learner | None = None, start: int = 0) -> Learner:
    learner = learner or Learner(SMALL, LearnerConfig(drift_window=30))
    rng = np.random.default_rng(5)
    rows = [(int(rng.integers(3)), str(rng.integers(4)), float(rng.random()), rng.normal(size=2)) for _ in range(count)]
    for item, user, chance, state in rows[start:]:
        learner.learn(Example(user, item, chance > 0.2, state.astype(np.float32), chance, NOTHING))
    return learner


def test_going_on_from_a_snapshot_is_the_same_to_the_last_bit() -> None:
    whole, begun = taught(200), taught(95)
    again = Learner(SMALL, LearnerConfig(drift_window=30))
    restore(again, to_snapshot(begun, 95, 0))
    taught(200, again, start=95)
    assert to_snapshot(again, 200, 0) == to_snapshot(whole, 200, 0)


def test_a_damaged_snapshot_and_one_of_other_items_are_refused() -> None:
    good = to_snapshot(taught(50), 50, 0)
    with pytest.raises(DataError, match="checksum"):
        restore(taught(0), LearnerState(50, 0, good.contents[:-1] + b"x", good.sha256))
    with pytest.raises(DataError, match="of other items"):
        restore(Learner(Frozen(SMALL.vectors[:1], 2.0), LearnerConfig()), good)


def test_updates_one_after_the_other_come_to_the_whole() -> None:
    learner, shift, known = taught(0), Shift.none(2), 0
    for count in (10, 60, 61, 200):
        taught(count, learner, start=known)
        known = count
        shift = shift.with_update(0, update_since(learner, "e", shift.followed(0)[1], 7), 10.0)
    state = np.array([0.3, -1], np.float32)
    np.testing.assert_allclose(shift.products(state, SMALL.vectors), learner.moved @ state, atol=1e-6)
    np.testing.assert_array_equal(shift.state("1", state), state + learner.adapters["1"].value)
    assert shift.state("nobody", state) is state and shift.state(None, state) is state


def test_a_new_epoch_replaces_and_shards_add_up_within_the_bound() -> None:
    one, other = taught(50), taught(120)
    shift = Shift.none(2).with_update(0, update_since(other, "old", 0, 7), 10.0)
    shift = shift.with_update(0, update_since(one, "new", 0, 7), 10.0).with_update(
        1, update_since(other, "e", 0, 7), 10.0
    )
    both = one.shift + other.shift
    np.testing.assert_allclose(shift.shift, both[shift.items], atol=1e-6)
    bounded = shift.with_update(1, update_since(other, "e", 0, 7), 0.01)
    assert np.linalg.norm(bounded.shift, axis=1).max() <= 0.01 + 1e-6
