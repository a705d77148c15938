"""Parts of an index: who is asked again, what is never left out, and which models' parts are at hand."""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError
from ray.serve._private.common import DeploymentID  # noqa: PLC2701
from ray.serve.exceptions import DeploymentUnavailableError

from llm4rec.artifacts import Artifact, RunStore
from llm4rec.cluster import shards
from llm4rec.cluster.publish import publish
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.shards import IndexUnavailableError, ModelParts, ShardedIndex
from llm4rec.errors import ArtifactError, DataError
from llm4rec.index.parts import cut, merge
from llm4rec.index.vectors import ItemIndex
from llm4rec.online.log import EventLog
from llm4rec.serve.errors import NotReadyError
from tests.cluster.small_run import write_run
from tests.cluster.test_cluster_releases import settings, version

VECTORS = np.random.default_rng(0).normal(size=(7, 4)).astype(np.float32)
QUERY = np.ones((1, 4), np.float32)
DEAD, UNAVAILABLE = ActorDiedError(), ActorUnavailableError("it does not answer", b"0" * 16)
GONE = DeploymentUnavailableError(DeploymentID("index-1", "app"))


class Scripted:
    """A part that answers once it has failed in each of some ways; also what it returns at once."""

    def __init__(self, first: int, stop: int, failures: Sequence[Exception] = ()) -> None:
        self._found = shards.Part(ItemIndex.build(VECTORS[first:stop]), first)
        self._failures, self._question = list(failures), ()
        self.asked = self.cancelled = 0

    def __call__(self, *question: Any) -> "Scripted":
        self.asked, self._question = self.asked + 1, question
        return self

    def result(self, *, timeout_s: float | None) -> Any:
        if self._failures:
            raise self._failures.pop(0)
        return self._found.search(*self._question)

    def cancel(self) -> None:
        """As Serve's, which raises what a request has come to meanwhile."""
        self.cancelled += 1
        if self._failures:
            raise self._failures[0]


def whole(k: int) -> list[list[int]]:
    return ItemIndex.build(VECTORS).search(QUERY, k)[0].tolist()


@pytest.mark.parametrize(
    "failures", [[], [DEAD], [UNAVAILABLE, TimeoutError()], [TimeoutError()] * 3, [GONE, DEAD], [NotReadyError("no")]]
)
def test_a_part_is_asked_until_it_answers(failures: list[Exception], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "PAUSE_S", 0.0)
    first, second = Scripted(0, 3), Scripted(3, 7, failures)
    index = ShardedIndex([first, second], 7, patience_s=60)
    assert index.search(QUERY, 4)[0].tolist() == whole(4) and index.num_items == 7
    assert (first.asked, second.asked, second.cancelled) == (1, 1 + len(failures), len(failures))


def test_a_part_that_stays_away_is_an_error_not_fewer_items() -> None:
    away = Scripted(3, 7, [DEAD] * 1000)
    with pytest.raises(IndexUnavailableError, match=r"part 2 of 2 of the index has not answered for 0\.3 s") as raised:
        ShardedIndex([Scripted(0, 3), away], 7, patience_s=0.3).search(QUERY, 4)
    assert "try again" in raised.value.told
    assert 2 <= away.asked <= 4


def test_parts_that_hang_together_are_each_asked_again_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where a machine is cut off that holds a replica of each."""
    now = [0.0]
    monkeypatch.setattr(shards.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(shards.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))

    class Hangs(Scripted):
        def result(self, *, timeout_s: float | None) -> Any:
            if self.asked == 1:
                now[0] += timeout_s or 0.0
                raise TimeoutError
            return super().result(timeout_s=timeout_s)

    index = ShardedIndex([Hangs(0, 3), Hangs(3, 5), Hangs(5, 7)], 7, patience_s=10)
    assert index.search(QUERY, 4)[0].tolist() == whole(4)
    assert 5 <= now[0] < 6


def test_nothing_is_left_running_where_a_search_fails() -> None:
    other = Scripted(3, 7)
    with pytest.raises(IndexUnavailableError):
        ShardedIndex([Scripted(0, 3, [DEAD] * 1000), other], 7, patience_s=0.2).search(QUERY, 4)
    assert other.cancelled == 1


def test_what_is_wrong_with_a_question_is_not_asked_again() -> None:
    part = Scripted(0, 7)
    with pytest.raises(DataError):
        ShardedIndex([part], 7, patience_s=60).search(QUERY[:, :2], 4)
    assert part.asked == 1


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("runs")
    return [write_run(folder / str(seed), seed) for seed in range(4)]


def exact_part(artifact: Artifact, index: ItemIndex, limit: int, within: tuple[int, int]) -> ItemIndex:
    """In the place of an approximate index, which needs more items than a small run has."""
    return ItemIndex.build(index.rows(*within))


@pytest.fixture
def parts(runs: list[str], log: EventLog, monkeypatch: pytest.MonkeyPatch) -> list[ModelParts]:
    monkeypatch.setattr(shards, "read_near", exact_part)
    return [ModelParts(divided(runs[0]), log, part) for part in range(2)]


def divided(run: str) -> RunConfig:
    config = settings(run, roll_backs_kept=1)
    return config.model_copy(update={"cluster": config.cluster.model_copy(update={"index_parts": 2})})


def found(parts: list[ModelParts], run: str) -> list[list[int]]:
    width = ItemIndex.read(RunStore(run).open("index")).vectors.shape[1]
    query = np.arange(width, dtype=np.float32)[None]
    return merge([part.search(version(run), query, 5, None) for part in parts], 5)[0].tolist()


def expected(run: str) -> list[list[int]]:
    index = ItemIndex.read(RunStore(run).open("index"))
    return index.search(np.arange(index.vectors.shape[1], dtype=np.float32)[None], 5)[0].tolist()


def look(parts: list[ModelParts]) -> None:
    for part in parts:
        part.look()


def test_each_model_is_searched_in_its_own_parts(parts: list[ModelParts], runs: list[str], log: EventLog) -> None:
    assert cut(5, 2) == [(0, 2), (2, 5)]
    assert found(parts, runs[0]) == expected(runs[0])
    publish(settings(runs[0]), log, runs[1])
    assert not parts[0].ready(version(runs[1]))
    with pytest.raises(NotReadyError, match="is not at hand"):
        found(parts, runs[1])
    look(parts)
    assert parts[0].ready(version(runs[1]))
    assert found(parts, runs[1]) == expected(runs[1]) != expected(runs[0])
    assert found(parts, runs[0]) == expected(runs[0])  # of requests under way


def test_a_part_that_starts_later_has_what_answers_then(
    runs: list[str], log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "read_near", exact_part)
    for run in runs[1:]:
        publish(settings(runs[0]), log, run)
    late = [ModelParts(divided(runs[0]), log, part) for part in range(2)]
    assert found(late, runs[3]) == expected(runs[3])
    assert not late[0].ready(version(runs[1]))
    # Replicas open the run they are configured with before they look what was published.
    assert found(late, runs[0]) == expected(runs[0])


def test_a_model_that_nobody_returns_to_is_let_go(parts: list[ModelParts], runs: list[str], log: EventLog) -> None:
    for run in runs[1:]:
        publish(settings(runs[0]), log, run)
        look(parts)
    assert [parts[0].ready(version(run)) for run in runs] == [True, True, True, True]  # the second is from a moment ago
    publish(settings(runs[0]), log, runs[0])
    look(parts)
    assert [parts[0].ready(version(run)) for run in runs] == [True, False, True, True]


def test_releases_are_followed(parts: list[ModelParts], runs: list[str], log: EventLog) -> None:
    parts[0].follow(0.01)
    publish(settings(runs[0]), log, runs[1])
    deadline = time.monotonic() + 60
    while not parts[0].ready(version(runs[1])):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not parts[1].ready(version(runs[1]))


def test_a_folder_that_holds_another_model_than_was_published_is_not_taken(
    parts: list[ModelParts], runs: list[str], log: EventLog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moved = Path(shutil.copytree(runs[1], tmp_path / "run"))
    publish(settings(runs[0]), log, str(moved))
    shutil.rmtree(moved)
    shutil.copytree(runs[2], moved)
    parts[0].look()
    assert f"holds model {version(runs[2])}, not {version(runs[1])} as published" in caplog.text
    assert not parts[0].ready(version(runs[1])) and not parts[0].ready(version(runs[2]))
    shutil.rmtree(moved)
    shutil.copytree(runs[1], moved)
    parts[0].look()  # tried again until it is right
    assert parts[0].ready(version(runs[1]))


def test_one_release_that_is_gone_stops_no_part_from_starting(
    runs: list[str], log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "read_near", exact_part)
    gone = Path(shutil.copytree(runs[1], tmp_path / "run"))
    for run in (str(gone), runs[2]):
        publish(settings(runs[0]), log, run)
    shutil.rmtree(gone)
    late = [ModelParts(divided(runs[0]), log, part) for part in range(2)]
    assert found(late, runs[2]) == expected(runs[2])


def test_a_part_of_which_nothing_can_be_opened_says_why(runs: list[str], log: EventLog, tmp_path: Path) -> None:
    config = divided(runs[0])
    large = config.model_copy(update={"index": config.index.model_copy(update={"exact_up_to": 0})})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("llm4rec.index.approximate.FEWEST_ITEMS", 1)
        with pytest.raises(ArtifactError, match="has no approximate index"):
            ModelParts(large, log, 0)


def test_nothing_is_read_where_nothing_was_published(
    parts: list[ModelParts], runs: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shards, "RunStore", None)
    look(parts)
    assert parts[0].ready(version(runs[0]))


def test_a_catalogue_that_is_scored_whole_has_no_parts(runs: list[str], log: EventLog) -> None:
    assert not ModelParts(divided(runs[0]), log, 0).ready(version(runs[0]))


def test_only_profile_cluster_has_parts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="index_parts is 2, which needs profile cluster"):
        type(settings(str(tmp_path)).cluster)(index_parts=2)
