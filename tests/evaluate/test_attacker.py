"""What attackers find in states, and what they cannot."""

import numpy as np
import pytest

from llm4rec.evaluate import attacker
from llm4rec.evaluate.attacker import attacker_auc
from llm4rec.schema import evenly

RNG = np.random.default_rng(0)
STATES = RNG.normal(size=(800, 4)).astype(np.float32)


def attacked(labels: np.ndarray) -> dict[str, float]:
    return attacker_auc(STATES, labels.astype(str), min_group_size=20, seed=0)


def test_a_linear_trace_is_found_by_both() -> None:
    found = attacked(STATES[:, 0] + 0.1 * STATES[:, 1] > 0)
    assert min(found.values()) > 0.95


def test_a_trace_that_is_not_linear_is_found_by_the_network_alone() -> None:
    found = attacked(np.abs(STATES[:, 0]) > 0.7)
    assert found["linear"] < 0.6
    assert found["network"] > 0.85


@pytest.mark.parametrize("levels", [2, 4])
def test_of_noise_nobody_learns_anything(levels: int) -> None:
    found = attacked(RNG.integers(levels, size=800))
    assert all(0.43 < auc < 0.57 for auc in found.values())


def test_unknown_and_rare_labels_are_left_out() -> None:
    labels = np.where(STATES[:, 0] > 0, "a", "b")
    clean = attacker_auc(STATES[10:], labels[10:], min_group_size=20, seed=0)
    labels = labels.astype(object)
    labels[:5], labels[5:10] = "unknown", "rare"
    assert attacker_auc(STATES, labels.astype(str), min_group_size=20, seed=0) == clean


def test_with_one_label_there_is_nothing_to_attack() -> None:
    assert attacked(np.zeros(800, int)) == {}


@pytest.mark.parametrize(("count", "most", "rows"), [(5, 3, [0, 2, 4]), (3, 9, [0, 1, 2]), (1, 4, [0]), (0, 4, [])])
def test_rows_that_are_looked_at_are_spread_evenly(count: int, most: int, rows: list[int]) -> None:
    assert evenly(count, most).tolist() == rows


def test_a_label_that_is_rare_among_those_who_are_looked_at_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a fold would hold none of it, which the area under the curve does not stand."""
    labels = np.where(STATES[:, 0] > 0, "a", "b").astype(object)
    labels[400:425] = "c"
    monkeypatch.setattr(attacker, "MAX_USERS", 200)
    found = attacker_auc(STATES, labels.astype(str), min_group_size=20, seed=0)
    assert found["linear"] > 0.9 and found.keys() == {"linear", "network"}
