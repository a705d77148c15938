"""The budget of tokens, by a clock that tests turn."""

import pytest

from llm4rec.explain.budget import TokenBudget
from llm4rec.explain.config import ExplainConfig


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def budget(clock: Clock, **settings: int) -> TokenBudget:
    return TokenBudget(ExplainConfig(max_new_tokens=10, **settings), clock)


def test_a_request_gets_what_it_may_cost() -> None:
    assert budget(Clock(), tokens_per_request=35).reasons(10) == 3
    assert budget(Clock(), tokens_per_request=35).reasons(2) == 2


def test_a_budget_that_pays_no_reason_is_refused() -> None:
    for name in ("tokens_per_request", "tokens_per_minute"):
        with pytest.raises(ValueError, match=f"{name} is 9, less than the 10 that one reason may take"):
            ExplainConfig(max_new_tokens=10, **{name: 9})


def test_a_minute_gets_what_it_may_cost_and_time_gives_it_back() -> None:
    clock = Clock()
    tokens = budget(clock, tokens_per_minute=60)
    assert [tokens.reasons(4), tokens.reasons(4), tokens.reasons(4)] == [4, 2, 0]
    clock.now += 9.5
    assert tokens.reasons(1) == 0
    clock.now += 0.5
    assert tokens.reasons(3) == 1
    clock.now += 3600
    assert tokens.reasons(100) == 6, "no more than a minute's tokens gather"
