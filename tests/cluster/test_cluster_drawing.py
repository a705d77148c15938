"""Slates drawn within the event loop of a replica: others are heard between them, and nobody waits for long in vain."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from llm4rec.cluster import releases
from llm4rec.cluster.releases import Engines
from llm4rec.cluster.run_config import ClusterSection, RunConfig
from llm4rec.cluster.serve import places
from llm4rec.cluster.service import SLATES_A_ROUND, LocalDrawing
from llm4rec.online.log import EventLog
from llm4rec.serve import admission
from llm4rec.serve.admission import Queue
from llm4rec.serve.contract import RecommendRequest
from llm4rec.serve.errors import BusyError
from tests.cluster.small_run import WordsAsNumbers, write_run

REQUEST = RecommendRequest(user_id="u0", k=2)


@pytest.fixture
def engines(tmp_path: Path, log: EventLog, monkeypatch: pytest.MonkeyPatch) -> Engines:
    monkeypatch.setattr(releases, "TextEncoder", WordsAsNumbers)
    source = {"format": "movielens", "path": "unused"}
    run = {"path": write_run(tmp_path, 0), "refit": False}
    return Engines(RunConfig.model_validate({"source": source, "run": run}), log)


@pytest.mark.parametrize(("replicas", "each"), [((1, 1), 10), ((2, 2), 5), ((3, 3), 4)])
def test_replicas_of_one_machine_share_the_places_of_those_who_wait(replicas: tuple[int, int], each: int) -> None:
    assert places(ClusterSection(queued_requests=10, replicas=replicas)) == each


def test_the_loop_hears_of_others_between_a_few_slates(engines: Engines) -> None:
    async def seen() -> set[int]:
        drawing = LocalDrawing(engines, Queue(64))
        tasks = [asyncio.create_task(drawing.draw(REQUEST)) for _ in range(3 * SLATES_A_ROUND)]
        counts = set()
        while not all(task.done() for task in tasks):
            await asyncio.sleep(0)
            counts.add(sum(task.done() for task in tasks))
        return counts

    counts = sorted(asyncio.run(seen()))
    assert counts[-1] == 3 * SLATES_A_ROUND
    assert max(np.diff(counts)) <= SLATES_A_ROUND


def test_who_waited_for_long_gives_up_only_where_others_were_refused(
    engines: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission, "STANDING_S", 0.0)
    queue = Queue(1)
    drawing = LocalDrawing(engines, queue)
    assert asyncio.run(drawing.draw(REQUEST)).titles
    with queue:
        assert queue.refuses()
        with pytest.raises(BusyError):
            asyncio.run(drawing.draw(REQUEST))
