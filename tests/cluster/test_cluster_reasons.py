"""Reasons by the deadline, whatever the writer in the other process does."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest

from llm4rec.cluster.reasons import MARGIN_S, DeadlineReasons
from llm4rec.explain.grounds import Grounds
from llm4rec.explain.reason import Reason
from llm4rec.explain.template import template_reason

GROUNDS = [Grounds("2", "Aliens", ("Action", "Horror"), ("Alien",), ("Horror",)), Grounds("3", "Heat", ("Crime",))]
TRUE_TEXT = 'Because you watched "Alien", you may like "Aliens": both are filed under horror.'
WRITTEN = [Reason(TRUE_TEXT, "llm", ()), Reason('"Heat" is worth a look.', "llm", ())]
TEMPLATES = [Reason(template_reason(grounds), "template", ()) for grounds in GROUNDS]
SECONDS = 0.5


class Writer:
    """Another process as the service sees it: takes its time, answers or fails."""

    def __init__(self, answer: object = None, pieces: Sequence[object] = (), wait: float = 0.0) -> None:
        self._answer, self._pieces, self._wait = answer, pieces, wait
        self.seconds: list[float] = []

    async def write(self, items: Sequence[Grounds], seconds: float) -> list[Reason]:
        self.seconds.append(seconds)
        await asyncio.sleep(self._wait)
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer  # type: ignore[return-value]

    async def stream(self, grounds: Grounds, seconds: float) -> AsyncIterator[str]:
        self.seconds.append(seconds)
        for piece in self._pieces:
            await asyncio.sleep(self._wait)
            if isinstance(piece, Exception):
                raise piece
            yield piece  # type: ignore[misc]


def reasons_of(writer: Writer | None, items: Sequence[Grounds] = GROUNDS) -> tuple[list[Reason], float]:
    started = time.monotonic()
    found = asyncio.run(DeadlineReasons(writer, SECONDS, ["Action", "Crime", "Horror"]).write(items))
    return found, time.monotonic() - started


def streamed(writer: Writer | None) -> tuple[list[object], float]:
    async def collect() -> list[object]:
        reasons = DeadlineReasons(writer, SECONDS, ["Action", "Crime", "Horror"])
        return [part async for part in reasons.stream(GROUNDS[0])]

    started = time.monotonic()
    return asyncio.run(collect()), time.monotonic() - started


def test_what_a_writer_wrote_in_time_is_shown() -> None:
    writer = Writer(WRITTEN)
    assert reasons_of(writer)[0] == WRITTEN
    assert writer.seconds == [pytest.approx(SECONDS - MARGIN_S)]


def test_a_slow_writer_is_not_waited_for() -> None:
    found, seconds = reasons_of(Writer(WRITTEN, wait=30))
    assert found == TEMPLATES and SECONDS - 0.05 <= seconds < SECONDS + 1


@pytest.mark.parametrize("error", [RuntimeError("died"), TimeoutError(), MemoryError(), asyncio.InvalidStateError()])
def test_a_writer_that_fails_is_replaced_at_once(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    found, seconds = reasons_of(Writer(error))
    assert found == TEMPLATES and seconds < SECONDS
    assert type(error).__name__ in caplog.text


GARBAGE = [None, [], WRITTEN[:1], [*WRITTEN, WRITTEN[0]], "text", [None, None], ["a", "b"], 3]


@pytest.mark.parametrize("garbage", GARBAGE)
def test_garbage_from_a_writer_is_replaced(garbage: object) -> None:
    assert reasons_of(Writer(garbage))[0] == TEMPLATES


def test_without_a_writer_templates_answer_and_no_items_need_nothing() -> None:
    assert reasons_of(None)[0] == TEMPLATES
    writer = Writer(WRITTEN)
    assert reasons_of(writer, [])[0] == [] and writer.seconds == []


def test_the_deadline_counts_from_when_the_request_came() -> None:
    writer = Writer(WRITTEN)
    reasons = DeadlineReasons(writer, SECONDS, ["Action", "Crime", "Horror"])
    assert asyncio.run(reasons.write(GROUNDS, time.monotonic() - 0.2)) == WRITTEN
    (left,) = writer.seconds
    assert 0 < left <= SECONDS - 0.2 - MARGIN_S

    async def collect() -> list[object]:
        return [part async for part in reasons.stream(replace(GROUNDS[0], title="Late"), time.monotonic() - SECONDS)]

    late = [replace(grounds, item_id=f"late {grounds.item_id}") for grounds in GROUNDS]
    assert {reason.source for reason in asyncio.run(reasons.write(late, time.monotonic() - SECONDS))} == {"template"}
    assert len(asyncio.run(collect())) == 1 and len(writer.seconds) == 1, "a late request asks nobody"


def test_a_stream_ends_in_the_checked_reason() -> None:
    words = [f"{word} " for word in TRUE_TEXT.split(" ")]
    words[-1] = words[-1].rstrip()
    parts, _ = streamed(Writer(pieces=words))
    assert parts == [*words, Reason(TRUE_TEXT, "llm", ())]


def test_a_streamed_claim_without_evidence_is_replaced() -> None:
    parts, _ = streamed(Writer(pieces=["It won ", "five Oscars", " in 1986."]))
    assert parts[:-1] == ["It won ", "five Oscars", " in 1986."] and parts[-1] == TEMPLATES[0]


@pytest.mark.parametrize("pieces", [[], [""], [RuntimeError("died")], [TRUE_TEXT[:20], RuntimeError("died")]], ids=repr)
def test_a_stream_that_dies_ends_in_the_template(pieces: list[object]) -> None:
    parts, seconds = streamed(Writer(pieces=pieces))
    assert parts[-1] == TEMPLATES[0] and seconds < SECONDS
    assert parts[:-1] == [piece for piece in pieces if isinstance(piece, str)]


def test_a_stream_that_hangs_ends_at_the_deadline() -> None:
    parts, seconds = streamed(Writer(pieces=["Because ", "you "], wait=0.3))
    assert parts == ["Because ", TEMPLATES[0]] and SECONDS - 0.05 <= seconds < SECONDS + 1


def test_a_stream_that_never_ends_is_cut_at_the_deadline() -> None:
    parts, seconds = streamed(Writer(pieces=["word "] * 100_000, wait=0.01))
    assert parts[-1] == TEMPLATES[0] and len(parts) > 5 and seconds < SECONDS + 1


@pytest.mark.parametrize("piece", [None, 3, b"bytes"], ids=repr)
def test_a_stream_of_garbage_ends_in_the_template(piece: object) -> None:
    parts, _ = streamed(Writer(pieces=["Because ", piece]))
    assert parts == ["Because ", TEMPLATES[0]]


def test_a_stream_that_cannot_even_start_ends_in_the_template() -> None:
    class Broken(Writer):
        def stream(self, grounds: Grounds, seconds: float) -> AsyncIterator[str]:
            raise ConnectionError("no replica")

    assert streamed(Broken())[0] == [TEMPLATES[0]]


class Counting(Writer):
    """Writes the true text about "Aliens", nonsense about all else, and counts what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    async def write(self, items: Sequence[Grounds], seconds: float) -> list[Reason]:
        self.asked += [grounds.title for grounds in items]
        return [
            Reason(TRUE_TEXT, "llm", ())
            if grounds.title == "Aliens"
            else Reason(template_reason(grounds), "template", ())
            for grounds in items
        ]


def test_what_was_written_once_is_not_asked_for_again_but_templates_are() -> None:
    writer = Counting()
    reasons = DeadlineReasons(writer, SECONDS, ["Action", "Crime", "Horror"])
    first = asyncio.run(reasons.write([*GROUNDS, GROUNDS[0]]))
    assert [reason.source for reason in first] == ["llm", "template", "llm"]
    assert asyncio.run(reasons.write(GROUNDS)) == first[:2]
    assert writer.asked == ["Aliens", "Heat", "Heat"]


def test_another_history_of_the_user_is_asked_for() -> None:
    writer = Counting()
    reasons = DeadlineReasons(writer, SECONDS, ["Action", "Crime", "Horror"])
    for anchors in (("Alien",), ("Heat",), ("Alien",)):
        asyncio.run(reasons.write([replace(GROUNDS[0], anchors=anchors)]))
    assert writer.asked == ["Aliens", "Aliens"]


def test_a_kept_reason_streams_at_once() -> None:
    async def collect(reasons: DeadlineReasons) -> list[object]:
        return [part async for part in reasons.stream(GROUNDS[0])]

    writer = Writer(pieces=[TRUE_TEXT])
    reasons = DeadlineReasons(writer, SECONDS, ["Action", "Crime", "Horror"])
    assert asyncio.run(collect(reasons)) == asyncio.run(collect(reasons)) == [TRUE_TEXT, Reason(TRUE_TEXT, "llm", ())]
    assert len(writer.seconds) == 1


def test_the_oldest_of_too_many_is_forgotten() -> None:
    writer = Counting()
    reasons = DeadlineReasons(writer, SECONDS, ["Action", "Crime", "Horror"], num_kept=2)
    kinds = [replace(GROUNDS[0], anchors=(anchor,)) for anchor in ("A", "B", "C")]
    for kind in (*kinds, kinds[2], kinds[1], kinds[0]):
        asyncio.run(reasons.write([kind]))
    assert len(writer.asked) == 4, "only the first had to be written again"
