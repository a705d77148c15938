"""How long a fault is said to have lasted."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from chaos import KILL_AT_S, SECONDS, lasted


def test_a_fault_lasted_until_the_last_bad_request_was_due() -> None:
    assert lasted([KILL_AT_S + 2.04, KILL_AT_S + 0.5]) == 2.0
    assert lasted([]) == 0.0


def test_what_was_bad_before_the_kill_is_not_of_the_fault() -> None:
    assert lasted([KILL_AT_S - 3]) == 0.0


def test_what_goes_on_to_the_end_has_no_length() -> None:
    assert lasted([KILL_AT_S + 1, SECONDS - 0.5]) is None
