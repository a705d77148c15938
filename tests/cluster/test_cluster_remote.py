"""What the parts of the app see of each other: whose index is asked, and what errors say that were raised elsewhere."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, RayTaskError
from ray.serve.exceptions import DeploymentUnavailableError

from llm4rec.cluster import candidates, releases, remote
from llm4rec.cluster.engine import Engine
from llm4rec.cluster.releases import Engines
from llm4rec.cluster.remote import PartSearch, RemoteDrawing, origin, wait_for
from llm4rec.cluster.shards import IndexUnavailableError
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.errors import ArtifactError
from llm4rec.index.vectors import ItemIndex
from llm4rec.online.log import EventLog
from llm4rec.serve.contract import RecommendRequest
from llm4rec.serve.errors import NotFoundError, NotReadyError
from tests.cluster.small_run import WordsAsNumbers, write_run
from tests.cluster.test_cluster_candidates import ONE
from tests.cluster.test_cluster_releases import settings

REQUEST = RecommendRequest(user_id="u1", k=1)


def elsewhere(cause: Exception) -> RayTaskError:
    """As Ray raises it in the process that asked."""
    return RayTaskError("draw", "Traceback of another process, with its paths", cause).as_instanceof_cause()


class Handle:
    """A Serve handle of one method, which answers in this process."""

    def __init__(self, answer: Callable[..., Any]) -> None:
        self._answer = answer
        self.asked: list[tuple[Any, ...]] = []

    def remote(self, *question: Any) -> SimpleNamespace:
        self.asked.append(question)
        return SimpleNamespace(result=lambda timeout_s: self._answer(*question), cancel=lambda: None)


def test_only_those_that_the_index_finds_and_of_that_model_have_scores(
    snapshot: Snapshot, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(candidates, "SAMPLE", 0)
    monkeypatch.setattr(remote, "is_large", lambda *_: True)

    def find(version: str, queries: np.ndarray, k: int, exclude: list[np.ndarray]) -> Any:
        return np.array([[2]], np.int32), np.ones((1, 1), np.float32)

    part = SimpleNamespace(ready=Handle(lambda version: True), search=Handle(find))
    near = PartSearch([part], ONE)(snapshot)  # type: ignore[list-item]
    engine = Engine(snapshot, ONE, log, WordsAsNumbers(ONE.encode), near)  # type: ignore[arg-type]
    assert np.flatnonzero(np.isfinite(engine.retrieve(REQUEST).logits)).tolist() == [2]
    assert part.ready.asked == [("test",)] and part.search.asked[0][0] == "test"


def test_of_a_small_catalogue_no_part_is_asked(snapshot: Snapshot, caplog: pytest.LogCaptureFixture) -> None:
    assert PartSearch([SimpleNamespace()], ONE)(snapshot) is None  # type: ignore[list-item]
    assert "index_parts is 1, but all 5 items of model test are scored" in caplog.text


def test_a_release_whose_parts_are_not_open_is_taken_later(snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "is_large", lambda *_: True)
    open_now = [False]
    part = SimpleNamespace(ready=Handle(lambda _: open_now[0]), search=Handle(lambda *_: None))
    search = PartSearch([part], ONE)  # type: ignore[list-item]
    search.patience_s = 0.0
    with pytest.raises(IndexUnavailableError, match="part 1 of 1 of the index was not opened in time"):
        search(snapshot)
    open_now[0] = True
    assert search(snapshot) is not None


def test_who_searches_elsewhere_holds_no_index(tmp_path: Any, log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(releases, "TextEncoder", WordsAsNumbers)
    monkeypatch.setattr("llm4rec.index.approximate.FEWEST_ITEMS", 1)
    config = settings(write_run(tmp_path / "run", 0))
    config = config.model_copy(update={"index": config.index.model_copy(update={"exact_up_to": 0})})
    with pytest.raises(ArtifactError, match="has no approximate index"):
        Engines(config, log)
    opened: list[str] = []

    def search(one: Snapshot) -> ItemIndex:
        opened.append(one.version)
        return one.index

    engines = Engines(config, log, search=search)
    assert opened == [engines.main.version] and engines.main.snapshot.near is None


def test_a_part_is_waited_for_until_it_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "PAUSE_S", 0.0)
    steps: list[Any] = [ActorDiedError(), TimeoutError(), NotReadyError("not yet"), False, True, "nobody asks again"]

    def ready() -> bool:
        step = steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return bool(step)

    wait_for(Handle(ready).remote, "part 1 of 2", ends=float("inf"))
    assert steps == ["nobody asks again"]
    with pytest.raises(IndexUnavailableError, match="part 2 of 2 of the index was not opened in time"):
        wait_for(Handle(lambda: False).remote, "part 2 of 2", ends=0.0)


@pytest.mark.parametrize("depth", [1, 2])
def test_an_error_says_what_it_said_where_it_was_raised(depth: int) -> None:
    error: Exception = NotFoundError("unknown user 'x'")
    for _ in range(depth):
        error = elsewhere(error)
    assert "pid=" in str(error)  # and the traceback below, were it one

    class Ranker:
        class draw:  # noqa: N801
            @staticmethod
            async def remote(request: RecommendRequest) -> Any:
                raise error

    with pytest.raises(NotFoundError) as raised:
        asyncio.run(RemoteDrawing(Ranker()).draw(REQUEST))  # type: ignore[arg-type]
    assert str(raised.value) == "unknown user 'x'" == str(origin(error))


@pytest.mark.parametrize("lost", [ActorDiedError(), DeploymentUnavailableError("ranker")])
@pytest.mark.parametrize("times", [1, 2])
def test_a_slate_of_a_ranker_that_ended_is_drawn_once_more(lost: Exception, times: int) -> None:
    drawn: Any = object()
    left = [drawn, *[lost] * times]

    class Ranker:
        class draw:  # noqa: N801
            @staticmethod
            async def remote(request: RecommendRequest) -> Any:
                answer = left.pop()
                if answer is not drawn:
                    raise answer
                return answer

    asked = RemoteDrawing(Ranker()).draw(REQUEST)  # type: ignore[arg-type]
    if times == 1:
        assert asyncio.run(asked) is drawn
    else:
        with pytest.raises(NotReadyError, match="are being replaced; try again"):
            asyncio.run(asked)


def test_what_the_caller_can_mend_comes_as_a_value_which_serve_does_not_log() -> None:
    class Ranker:
        class draw:  # noqa: N801
            @staticmethod
            async def remote(request: RecommendRequest) -> Any:
                return NotFoundError("unknown user 'x'")

    with pytest.raises(NotFoundError, match="unknown user 'x'"):
        asyncio.run(RemoteDrawing(Ranker()).draw(REQUEST))  # type: ignore[arg-type]


def test_a_snapshot_with_an_index_of_its_own_needs_no_other(snapshot: Snapshot, log: EventLog) -> None:
    own = replace(snapshot, near=snapshot.index)  # type: ignore[arg-type]
    assert Engine(own, ONE, log, WordsAsNumbers(ONE.encode))._candidates is not None  # type: ignore[arg-type]
    assert Engine(snapshot, ONE, log, WordsAsNumbers(ONE.encode))._candidates is None  # type: ignore[arg-type]
