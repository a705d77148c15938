import numpy as np
import pytest
from scipy import stats

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


def test_ratings_are_good_above_what_the_log_takes_for_a_dislike(log: EventLog) -> None:
    log.disliked_rating = 4.0
    for slate_id in ("1", "2"):
        show(log, slate_id, "u", "v1")
        log.append_feedback([Feedback(slate_id, "u", "a", "rate", 3.0 + float(slate_id), slate_id)])
    assert log.rewards() == [OfUser("v1", "u", 2, 1)]


def test_the_interval_is_that_of_users_by_hand() -> None:
    rows = [OfUser("v", "a", 4, 1), OfUser("v", "b", 2, 1), OfUser("v", "c", 4, 3), OfUser("v", "d", 10, 5)]
    found = rate_of(rows)
    # R = 10 / 20; r - R n: -1, 0, 1, 0; times m / (m - 1) = 4 / 3: Var R = (4 / 3) 2 / 400 = 1 / 150. As many slates:
    # .25 150 = 37.5, times (t of 19 = 2.0930 / t of 3 = 3.1824)^2 = 16.22, which is fewer than the 20 there are.
    independent = 37.5 * (2.0930 / 3.1824) ** 2
    assert (found.users, found.slates, found.rate) == (4, 20, 0.5)
    low, high = stats.beta.ppf((0.025, 0.975), [independent / 2, independent / 2 + 1], [independent / 2 + 1] * 2)
    assert found.low == pytest.approx(low, abs=1e-4)
    assert found.high == pytest.approx(1 - low, abs=1e-4)
    other = [OfUser("w", "e", 10, 3), OfUser("w", "f", 10, 1)]
    theirs = rate_of(other)
    better, low, high = difference(rows, other)
    assert better == pytest.approx(0.3)
    assert low == pytest.approx(max(0.3 - np.hypot(0.5 - found.low, theirs.high - 0.2), -1))
    assert high == pytest.approx(min(0.3 + np.hypot(found.high - 0.5, 0.2 - theirs.low), 1))
    assert difference(other, rows) == pytest.approx((-better, -high, -low))


def test_where_nobody_differs_users_are_counted() -> None:
    nothing = rate_of([OfUser("v", str(user), 5, 0) for user in range(20)])
    # None of 20: 1 - .025^(1/20).
    assert (nothing.rate, nothing.low, nothing.high) == (0.0, 0.0, pytest.approx(1 - 0.025 ** (1 / 20)))
    alike = rate_of([OfUser("v", str(user), 49, 1) for user in range(20)])  # 49 (1 / 49) is not 1
    one_user_more = rate_of([OfUser("v", str(user), 49, 1) for user in range(21)])
    assert alike.high - alike.low > 0.1 and one_user_more.high < alike.high
    everything = rate_of([OfUser("v", str(user), 5, 5) for user in range(20)])
    assert (everything.rate, everything.low, everything.high) == (1.0, pytest.approx(0.025 ** (1 / 20)), 1.0)


def test_a_single_user_says_nothing() -> None:
    found = rate_of([OfUser("v", "a", 4, 1)])
    assert (found.rate, found.low, found.high) == (0.25, 0.0, 1.0)


def drawn(rng: np.random.Generator, users: int, rate: float) -> list[OfUser]:
    """Users who differ, so that slates of one user are alike."""
    slates = rng.integers(1, 10, users)
    chance = rng.beta(5 * rate, 5 * (1 - rate), users)
    return [
        OfUser("v", str(user), int(n), int(rng.binomial(n, p)))
        for user, (n, p) in enumerate(zip(slates, chance, strict=True))
    ]


@pytest.mark.parametrize(("users", "rate"), [(200, 0.4), (200, 0.02), (20, 0.1), (20, 0.02), (5, 0.05)])
def test_the_interval_holds_the_truth_at_least_about_as_often_as_it_says(users: int, rate: float) -> None:
    rng = np.random.default_rng(0)
    rates = [rate_of(drawn(rng, users, rate)) for _ in range(400)]
    assert np.mean([found.low <= rate <= found.high for found in rates]) > 0.92
    differences = [difference(drawn(rng, users, rate), drawn(rng, users, rate)) for _ in range(400)]
    assert np.mean([low <= 0 <= high for _, low, high in differences]) > 0.92


def test_many_users_make_the_interval_no_wider_than_it_must_be() -> None:
    rng = np.random.default_rng(0)
    held = [found.low <= 0.4 <= found.high for found in (rate_of(drawn(rng, 500, 0.4)) for _ in range(400))]
    assert np.mean(held) < 0.98
