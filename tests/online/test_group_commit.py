import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from llm4rec.online.errors import ConflictError, UnavailableError
from llm4rec.online.feedback import Appended, Exposure, Feedback, Slate
from llm4rec.online.group_commit import MOST_EVENTS, GroupCommit
from llm4rec.online.log import EventLog

SLATE = Slate("s1", "u1", "v1", 100, (Exposure("b", 2.0, 0.5),))


def like(event_id: str, item_id: str = "a") -> Feedback:
    return Feedback(event_id, "u1", item_id, "like", timestamp=10)


class CountedLog(EventLog):
    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.groups: list[int] = []
        self.broken = False

    def write_group(self, writes: Sequence[Any]) -> list[Any]:
        self.groups.append(len(writes))
        if self.broken:
            raise UnavailableError("no space")
        return super().write_group(writes)


@pytest.fixture
def counted(log_url: str) -> Any:
    log = CountedLog(log_url)
    yield log
    log.close()


def test_writes_at_the_same_time_share_transactions_and_each_hears_of_its_own(counted: CountedLog) -> None:
    async def ask() -> list[Any]:
        commit = GroupCommit(counted)
        feedback = [commit.append_feedback([like(f"e{number}")]) for number in range(40)]
        others = [commit.append_feedback([like("e0", item_id="b")]), commit.record_exposures(SLATE)]
        return await asyncio.gather(*feedback, *others, return_exceptions=True)

    *appended, conflict, recorded = asyncio.run(ask())
    assert appended == [Appended(1, 0)] * 40 and isinstance(conflict, ConflictError) and recorded is None
    assert counted.counts()["feedback"] == 40 and counted.slate("s1") == SLATE
    assert len(counted.groups) < 10 and sum(counted.groups) == 42


def test_a_slate_whose_request_was_given_up_while_it_waited_is_not_written(counted: CountedLog) -> None:
    async def ask() -> None:
        commit = GroupCommit(counted)
        given_up = asyncio.ensure_future(commit.record_exposures(SLATE))
        feedback = asyncio.ensure_future(commit.append_feedback([like("e1")]))
        await asyncio.sleep(0)  # both wait now
        given_up.cancel()
        assert await feedback == Appended(1, 0)

    asyncio.run(ask())
    assert counted.slate("s1") is None and counted.counts()["feedback"] == 1


def test_a_transaction_that_fails_acknowledges_none_and_the_next_one_is_tried(counted: CountedLog) -> None:
    async def ask() -> list[Any]:
        commit = GroupCommit(counted)
        counted.broken = True
        failed = await asyncio.gather(
            *[commit.append_feedback([like(str(n))]) for n in range(5)], return_exceptions=True
        )
        counted.broken = False
        return [*failed, await commit.append_feedback([like("0")])]

    *failed, after = asyncio.run(ask())
    assert all(isinstance(error, UnavailableError) for error in failed) and after == Appended(1, 0)
    assert counted.counts()["feedback"] == 1


def test_one_transaction_holds_so_many_events_and_a_larger_batch_alone(counted: CountedLog) -> None:
    async def ask() -> None:
        commit = GroupCommit(counted)
        large = [like(f"large{number}") for number in range(MOST_EVENTS + 1)]
        halves = [[like(f"{half}-{number}") for number in range(MOST_EVENTS // 2)] for half in range(3)]
        await asyncio.gather(commit.append_feedback(large), *map(commit.append_feedback, halves))

    asyncio.run(ask())
    assert counted.groups == [1, 2, 1] and counted.counts()["feedback"] == MOST_EVENTS + 1 + 3 * (MOST_EVENTS // 2)


def test_a_request_that_is_given_up_does_not_hurt_the_others(counted: CountedLog) -> None:
    async def ask() -> Appended:
        commit = GroupCommit(counted)
        gone = asyncio.create_task(commit.append_feedback([like("gone")]))
        stays = asyncio.create_task(commit.append_feedback([like("stays")]))
        await asyncio.sleep(0)
        gone.cancel()
        return await stays

    assert asyncio.run(ask()) == Appended(1, 0)
    # It was on its way: nobody was told so, and sending it again does no harm.
    assert [event.event_id for event in counted.feedback_of("u1")] == ["gone", "stays"]
