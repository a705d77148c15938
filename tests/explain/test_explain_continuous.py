"""Writing with OpenVINO, on the packaged model itself: what is asserted holds whatever it writes."""

import threading
import time

import pytest

from llm4rec.explain.chat import finished
from llm4rec.explain.config import ExplainConfig
from llm4rec.explain.continuous import ContinuousGenerator
from llm4rec.explain.engine import load_generator
from llm4rec.explain.grounds import Grounds
from llm4rec.explain.prompt import build_prompt
from llm4rec.explain.reason import explain

GROUNDS = [
    Grounds("2", "Aliens (1986)", ("Action", "Horror"), ("Alien (1979)",), ("Horror",)),
    Grounds("3", "Heat (1995)", ("Crime", "Thriller")),
    Grounds("4", "Amélie (2001)", ("Comedy", "Romance"), ("Heat (1995)",)),
]
PROMPTS = [build_prompt(grounds) for grounds in GROUNDS]


@pytest.fixture(scope="module")
def generator() -> ContinuousGenerator:
    found = load_generator(ExplainConfig(engine="openvino"), None, threads=2)
    assert isinstance(found, ContinuousGenerator)
    return found


@pytest.fixture(scope="module")
def alone(generator: ContinuousGenerator) -> list[str | None]:
    return [generator.write([prompt], soon())[0] for prompt in PROMPTS]


def soon() -> float:
    return time.monotonic() + 60


def test_sentences_begin_with_their_openings_and_end(alone: list[str | None]) -> None:
    for prompt, text in zip(PROMPTS, alone, strict=True):
        assert text is not None and text.startswith(prompt.opening)
        assert finished(prompt.opening, text[len(prompt.opening) :]) == text


def test_some_of_what_it_writes_passes_the_check(generator: ContinuousGenerator) -> None:
    assert "llm" in {reason.source for reason in explain(GROUNDS, generator, soon())}


def test_what_is_written_together_is_what_is_written_alone(
    generator: ContinuousGenerator, alone: list[str | None]
) -> None:
    # Sums in another order can turn a tie between two tokens, so not every sentence needs to be the same.
    together = generator.write(PROMPTS, soon())
    assert sum(a == b for a, b in zip(together, alone, strict=True)) >= len(PROMPTS) - 1


def test_threads_get_their_own_sentences(generator: ContinuousGenerator, alone: list[str | None]) -> None:
    found: dict[int, list[str | None]] = {}

    def ask(place: int) -> None:
        found[place] = generator.write([PROMPTS[place % len(PROMPTS)]], soon())

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Sums in another order can turn ties, so that one is written otherwise, or does not end in time.
    assert len(found) == len(threads)
    same = sum(text == alone[place % len(PROMPTS)] for place, (text,) in found.items())
    assert same > len(threads) // 2


def test_a_stream_is_the_sentence_in_pieces(generator: ContinuousGenerator, alone: list[str | None]) -> None:
    pieces = list(generator.stream(PROMPTS[2], soon()))
    assert pieces[0] == PROMPTS[2].opening and len(pieces) > 2
    assert finished(pieces[0], "".join(pieces[1:])) is not None


def test_writing_stops_at_the_deadline_and_the_next_is_written(generator: ContinuousGenerator) -> None:
    start = time.monotonic()
    assert generator.write(PROMPTS * 10, start + 0.2).count(None) > 0
    assert time.monotonic() - start < 2
    assert generator.write(PROMPTS, time.monotonic() - 1) == [None] * len(PROMPTS)
    assert list(generator.stream(PROMPTS[0], time.monotonic() - 1)) == [PROMPTS[0].opening]
    assert generator.write(PROMPTS[:1], soon())[0] is not None
    assert generator.healthy


def test_a_request_that_cannot_be_begun_ends_alone(
    generator: ContinuousGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = generator._begin

    def refuse_one(request: object) -> None:
        if request.prompt is PROMPTS[1]:  # type: ignore[attr-defined]
            raise ValueError("broken")
        begin(request)  # type: ignore[arg-type]

    monkeypatch.setattr(generator, "_begin", refuse_one)
    first, second, third = generator.write(PROMPTS, soon())
    assert second is None and (first or third)
    assert list(generator.stream(PROMPTS[1], soon())) == [PROMPTS[1].opening]


def test_who_stops_listening_is_not_written_for(generator: ContinuousGenerator) -> None:
    stream = generator.stream(PROMPTS[0], soon())
    assert [next(stream), bool(next(stream))] == [PROMPTS[0].opening, True]
    stream.close()  # type: ignore[attr-defined]
    assert generator.write(PROMPTS[:1], soon())[0] is not None
    end = time.monotonic() + 5
    while generator._pipeline.has_non_finished_requests() and time.monotonic() < end:
        time.sleep(0.01)
    assert not generator._pipeline.has_non_finished_requests()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_writer_that_died_is_not_waited_for(generator: ContinuousGenerator) -> None:  # the last: nobody lives again
    generator._arrivals.put(None)  # type: ignore[arg-type]  # what a fault inside the thread looks like
    generator._worker.join(10)
    start = time.monotonic()
    assert not generator.healthy
    assert generator.write(PROMPTS, soon()) == [None] * len(PROMPTS)
    assert list(generator.stream(PROMPTS[0], soon())) == [PROMPTS[0].opening]
    assert time.monotonic() - start < 5
