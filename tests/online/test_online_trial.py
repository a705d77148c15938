import numpy as np
import pytest

from llm4rec.online.feedback import Exposure, Feedback, Slate
from llm4rec.online.log import EventLog
from llm4rec.online.trial import OfUser, difference, rate_of


def show(log: EventLog, slate_id: str, user_id: str | None, version: str) -> None:
    log.record_exposures(Slate(slate_id, user_id, version, 1, (Exposure("a", 1.0, 0.5), Exposure("b", 0.5, 0.5))))


def test_a_slate_counts_once_however_much_good_is_said_of_it(log: EventLog) -> None:
    for slate_id, user, version in (("1", "u", "v1"), ("2", "u", "v1"), ("3", "u", "v2"), ("4", "w", "v1")):
        show(log, slate_id, user, version)
    show(log, "5", None, "v1")
    log.append_feedback([Feedback("x1", "other", "a", "like", None, "2"), Feedback("x2", "u", "c", "like", None, "2")])
    said = [("1", "like", None), ("1", "click", None), ("2", "dislike", None), ("3", "rate", 2.0), ("3", "skip", None)]
    log.append_feedback([Feedback("w", "w", "b", "rate", 4.0, "4")])
    log.append_feedback([Feedback(f"e{n}", "u", "a", what, value, on) for n, (on, what, value) in enumerate(said)])
    assert log.rewards() == [OfUser("v1", "u", 2, 1), OfUser("v1", "w", 1, 1), OfUser("v2", "u", 1, 0)]


def test_the_interval_is_that_of_users_by_hand() -> None:
    rows = [OfUser("v", "a", 4, 1), OfUser("v", "b", 2, 1), OfUser("v", "c", 4, 3), OfUser("v", "d", 10, 5)]
    found = rate_of(rows)
    # R = 10 / 20; r - R n: -1, 0, 1, 0; times m / (m - 1) = 4 / 3; t of 3 degrees of freedom is 3.1824.
    error = np.sqrt(4 / 3 * (1 + 0 + 1 + 0)) / 20
    assert (found.users, found.slates, found.rate) == (4, 20, 0.5)
    assert (found.low, found.high) == pytest.approx((0.5 - 3.1824 * error, 0.5 + 3.1824 * error), abs=1e-4)
    other = [OfUser("w", "e", 10, 3), OfUser("w", "f", 10, 1)]
    # R = .2; r - R n: 1, -1; m / (m - 1) = 2; t of 1 degree of freedom is 12.7062.
    half = 12.7062 * np.hypot(error, np.sqrt(2 * 2) / 20)
    better, low, high = difference(rows, other)
    assert better == pytest.approx(0.3)
    assert (low, high) == pytest.approx((max(0.3 - half, -1), min(0.3 + half, 1)), abs=1e-4)


def test_a_single_user_says_nothing() -> None:
    found = rate_of([OfUser("v", "a", 4, 1)])
    assert (found.rate, found.low, found.high) == (0.25, 0.0, 1.0)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        slates = rng.integers(1, 10, 200)
        chance = rng.beta(2, 3, 200)  # users differ, so slates of one user are alike
        rows = [
            OfUser("v", str(u), int(n), int(rng.binomial(n, p)))
            for u, (n, p) in enumerate(zip(slates, chance, strict=True))
        ]
        found = rate_of(rows)
        held += found.low <= 0.4 <= found.high
    assert 0.92 < held / 400 < 0.98
