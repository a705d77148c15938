"""The budget of tokens, by a clock that tests turn."""

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
    assert budget(Clock(), tokens_per_request=8).reasons(5) == 1, "one reason is always allowed"


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
