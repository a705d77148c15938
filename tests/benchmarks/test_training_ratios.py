"""The ratios that the benchmark of training publishes."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from training import ratios


def test_ratios_are_of_medians_over_rounds():
    found = ratios(
        {
            "bare": [100.0, 10.0, 900.0],
            "one worker": [95.0, 90.0, 80.0],
            "two workers": [135.0, 180.0, 1.0],
            "two bare": [200.0, 150.0, 180.0],
            "two in step": [150.0, 140.0, 160.0],
        }
    )
    assert found["ratio_to_bare_loop"] == pytest.approx(0.9)
    assert found["two_worker_speedup"] == pytest.approx(1.5)
    assert found["two_bare_speedup"] == pytest.approx(1.8)
    assert found["two_workers_to_two_bare"] == pytest.approx(0.75)
    assert found["two_workers_to_two_in_step"] == pytest.approx(0.9)
    assert found["tokens_per_second"]["bare"] == [100, 10, 900]


def test_one_gpu_has_the_one_ratio():
    assert ratios({"bare": [100.0], "one worker": [97.0]}).keys() == {"ratio_to_bare_loop", "tokens_per_second"}
