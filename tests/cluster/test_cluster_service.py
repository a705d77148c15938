"""What stands between the routes and the models: items of any model at hand, feedback, lists."""

import asyncio
import time
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from llm4rec.cluster import releases
from llm4rec.cluster.releases import Engines
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.service import Service
from llm4rec.online.errors import UnavailableError
from llm4rec.online.feedback import Feedback
from llm4rec.online.log import EventLog
from llm4rec.serve.admission import Queue
from llm4rec.serve.contract import FeedbackEvent, ItemRecord
from llm4rec.serve.errors import NotFoundError
from tests.cluster.small_run import WordsAsNumbers, write_run


@pytest.fixture
def engines(tmp_path: Path, log: EventLog, monkeypatch: pytest.MonkeyPatch) -> Engines:
    monkeypatch.setattr(releases, "TextEncoder", WordsAsNumbers)
    run = write_run(tmp_path / "run", 0)
    config = {"source": {"format": "movielens", "path": "unused"}, "run": {"path": run, "refit": False}}
    return Engines(RunConfig.model_validate(config), log)


@pytest.fixture
def service(engines: Engines, log: EventLog) -> Service:
    unused: Any = None
    return Service(engines, log, reasons=unused, drawing=unused, queue=Queue(8))


def send(service: Service, *item_ids: str) -> int:
    events = [FeedbackEvent(event_id=f"e-{i}", user_id="u0", item_id=i, event="purchase") for i in item_ids]
    return asyncio.run(service.feedback(events)).accepted


def test_feedback_on_an_item_that_was_just_withdrawn_is_kept(service: Service, log: EventLog) -> None:
    asyncio.run(service.delete_item("b"))
    assert send(service, "a", "b") == 2
    with pytest.raises(NotFoundError, match="'nothing'"):
        send(service, "c", "nothing")
    assert log.counts("feedback") == {"feedback": 2}


def test_the_nearest_items_are_those_of_the_greatest_cosine(service: Service, engines: Engines) -> None:
    asyncio.run(service.delete_item("c"))
    catalogue = engines.main.catalogue
    cosine = catalogue.ranking.vectors @ catalogue.ranking.vectors[catalogue.codes["a"]]
    order = [catalogue.item_ids[code] for code in np.argsort(-cosine, kind="stable")]
    found = asyncio.run(service.similar("a", 2)).items
    assert [item.item_id for item in found] == [one for one in order if one not in {"a", "c"}][:2]
    assert [item.score for item in found] == sorted((item.score for item in found), reverse=True)
    everything = asyncio.run(service.similar("a", 100)).items
    assert {item.item_id for item in everything} == set(catalogue.item_ids) - {"a", "c"}


def test_items_are_found_by_title_as_many_as_are_wanted(service: Service) -> None:
    asyncio.run(service.put_item("x1", ItemRecord(title="Found here")))
    asyncio.run(service.put_item("x2", ItemRecord(title="found there")))
    assert [item.item_id for item in asyncio.run(service.items("FOUND", 10)).items] == ["x1", "x2"]
    assert [item.item_id for item in asyncio.run(service.items("found", 1)).items] == ["x1"]
    assert [item.item_id for item in asyncio.run(service.items("x2", 10)).items] == ["x2"]


def test_who_asks_again_while_a_user_is_being_deleted_is_answered_when_nothing_is_left(
    service: Service, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, erased = Event(), Event()

    def erase(_: object) -> None:
        begun.set()
        assert erased.wait(10)

    async def ask() -> None:
        first = asyncio.ensure_future(service.delete_user("u0"))
        await asyncio.to_thread(begun.wait, 10)
        log.append_feedback([Feedback("late", "u0", "a", "like")])
        again = asyncio.ensure_future(service.delete_user("u0"))
        await asyncio.sleep(0.05)
        first.cancel()  # as a request that takes too long
        assert not again.done()
        erased.set()
        await again

    monkeypatch.setattr("llm4rec.online.log.erase_remains", erase)
    asyncio.run(ask())
    assert log.counts("feedback") == {"feedback": 0} and not service._forgetting


def test_who_asks_whether_it_is_ready_shares_one_look(
    service: Service, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[float] = []

    def answers() -> bool:
        looks.append(time.monotonic())
        time.sleep(0.05)
        return True

    async def asked() -> list[bool]:
        found = await asyncio.gather(*(service.ready() for _ in range(100)))
        return [*found, await service.ready()]

    monkeypatch.setattr(log, "answers", answers)
    assert asyncio.run(asked()) == [True] * 101 and len(looks) == 1
    monkeypatch.setattr("llm4rec.cluster.service.LOOK_S", 0.0)
    assert asyncio.run(asked())[-1] and len(looks) == 3


def test_a_log_that_does_not_answer_is_looked_at_again(
    service: Service, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm4rec.cluster.service.LOOK_S", 0.0)

    def fails() -> bool:
        raise UnavailableError("the disk is gone")

    async def asked() -> bool:
        with monkeypatch.context() as patch:
            patch.setattr(log, "answers", fails)
            with pytest.raises(UnavailableError):
                await service.ready()
        return await service.ready()

    assert asyncio.run(asked())


def test_an_item_of_the_corpus_may_be_larger_than_one_that_is_put(service: Service, engines: Engines) -> None:
    catalogue = engines.main.catalogue
    record = {"title": "t" * 600, "text": "x" * 30_000, "categories": ["a\tb"] * 200, "numbers": {"size": 1e31}}
    catalogue.records[catalogue.codes["a"]].update(record)
    assert asyncio.run(service.item("a")).model_dump() == {"item_id": "a", **record}
