"""What the repair moves, and where to."""

from pathlib import Path

import numpy as np
import pytest

from llm4rec.artifacts import RunStore
from llm4rec.errors import ArtifactError
from llm4rec.model.repair import Repair


def drawn(count: int, together: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """States that two attributes move, of which a share of the users have both alike; and codes 1 and 2, (n, 2)."""
    rng = np.random.default_rng(0)
    first = rng.integers(1, 3, count)
    second = np.where(rng.random(count) < together, first, 3 - first)
    states = rng.normal(size=(count, 4))
    states[first == 2] = states[first == 2] * [3.0, 1.0, 1.0, 0.5] + [2.0, 0.0, 0.0, 0.0]
    states[second == 2] += [0.0, 3.0, 1.0, 0.0]
    return states.astype(np.float32), np.column_stack([first, second])


def fitted(states: np.ndarray, codes: np.ndarray, strength: float = 1.0) -> Repair:
    return Repair.fit(states, codes, [3] * codes.shape[1], strength)


def test_two_levels_on_a_line_meet_in_the_middle() -> None:
    # level 1: mean 0, deviation 1; level 2: mean 4, deviation 3; of equal size they meet at mean 2, deviation 2
    one = np.tile([-1.0, 1.0], 200_000)
    states = np.concatenate([one, 4 + 3 * one])[:, None].astype(np.float32)
    codes = np.repeat([1, 2], 400_000)[:, None]
    moved = fitted(states, codes)(np.array([[1.0], [7.0], [-1.0]], np.float32), np.array([[1], [2], [1]]))
    assert moved.ravel().tolist() == pytest.approx([4.0, 4.0, 0.0], abs=0.02)


@pytest.mark.parametrize("together", [0.5, 0.85])
def test_levels_have_one_mean_and_one_covariance_afterwards(together: float) -> None:
    states, codes = drawn(40_000, together)
    moved = fitted(states, codes)(states, codes)
    for column, far in zip(codes.T, (2.0, 3.0), strict=True):
        one, two = moved[column == 1], moved[column == 2]
        assert np.linalg.norm(one.mean(axis=0) - two.mean(axis=0)) < 0.15 * far
        assert np.abs(np.cov(one.T) - np.cov(two.T)).max() < 0.8  # they were 8 apart


def test_states_move_less_than_if_a_direction_were_taken_out() -> None:
    states, codes = drawn(5_000)
    moved = fitted(states, codes[:, :1])(states, codes[:, :1])
    taken_out = states.copy()
    taken_out[:, 0] = states[:, 0].mean()
    assert np.square(moved - states).mean() < np.square(taken_out - states).mean()


@pytest.mark.parametrize("strength", [0.0, 0.3])
def test_strength_goes_from_nothing_to_everything(strength: float) -> None:
    states, codes = drawn(500)
    whole, part = fitted(states, codes)(states, codes), fitted(states, codes, strength)(states, codes)
    np.testing.assert_allclose(part, (1 - strength) * states + strength * whole, atol=1e-5)
    np.testing.assert_allclose(fitted(states, codes)(states, codes, strength), part, atol=1e-5)


def test_users_without_a_known_level_are_left_as_they_are() -> None:
    states, codes = drawn(500)
    codes[:50] = 0
    moved = fitted(states, codes)(states, codes)
    np.testing.assert_array_equal(moved[:50], states[:50])
    assert not np.allclose(moved[50:], states[50:])


def test_one_level_has_nobody_to_meet_and_a_constant_direction_does_no_harm() -> None:
    states, codes = drawn(200)
    states[:, 3] = 1.0
    assert np.isfinite(fitted(states, codes)(states, codes)).all()
    codes = np.ones((200, 1), np.int64)
    codes[0] = 2  # one user is no distribution
    np.testing.assert_allclose(fitted(states, codes)(states, codes), states, atol=1e-6)


def test_on_disk_and_back(tmp_path: Path) -> None:
    states, codes = drawn(300)
    repair, store = fitted(states, codes, 0.5), RunStore(str(tmp_path))
    with store.write("index", {}) as writer:
        repair.write(writer)
    back = Repair.read(store.open("index"), 0.5)
    np.testing.assert_array_equal(back(states, codes), repair(states, codes))


def test_an_artifact_without_a_repair_is_refused(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path))
    with store.write("index", {}) as writer:
        writer.write_json("other.json", {})
    with pytest.raises(ArtifactError, match="holds no repair"):
        Repair.read(store.open("index"), 1.0)
