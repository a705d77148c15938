"""Models that are published, refused, tried and rolled back: real run folders, opened as replicas open them."""

from pathlib import Path

import pytest

from llm4rec.artifacts import RunStore
from llm4rec.cluster import releases
from llm4rec.cluster.publish import Canary, canary, current, publish
from llm4rec.cluster.releases import Engines
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.errors import ArtifactError
from llm4rec.online.feedback import Feedback
from llm4rec.online.log import EventLog
from llm4rec.serve.contract import RecommendRequest
from llm4rec.serve.errors import NotReadyError
from tests.cluster.small_run import WordsAsNumbers, write_run


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("runs")
    return [write_run(folder / str(seed), seed) for seed in range(3)]


def settings(run: str, **serve: object) -> RunConfig:
    return RunConfig.model_validate(
        {
            "source": {"format": "movielens", "path": "unused"},
            "run": {"path": run, "refit": False},
            "serve": {"canary_loss": 0.99, **serve},
        }
    )


@pytest.fixture
def engines(runs: list[str], log: EventLog, monkeypatch: pytest.MonkeyPatch) -> Engines:
    monkeypatch.setattr(releases, "TextEncoder", WordsAsNumbers)
    return Engines(settings(runs[0]), log)


def version(run: str) -> str:
    return RunStore(run).open("index").hash[:12]


def answered(engines: Engines, user_id: str) -> str:
    request = RecommendRequest(user_id=user_id, k=2)
    engine = engines.of(user_id)
    return engine.rank(request, engine.retrieve(request)).logged.model_version


def test_a_published_model_answers_at_the_next_look_and_a_roll_back_needs_no_file(
    engines: Engines, runs: list[str], log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(settings(runs[0]), log, runs[1])
    assert answered(engines, "u0") == version(runs[0])
    engines.look()
    assert answered(engines, "u0") == version(runs[1]) == engines.main.version
    assert engines.of_version(version(runs[0])).version == version(runs[0])  # for requests under way
    monkeypatch.setattr(releases, "Snapshot", None)  # nothing is read any more
    log.roll_back(engines.first)
    engines.look()
    assert answered(engines, "u0") == version(runs[0])


def test_as_many_roll_backs_in_a_row_as_are_kept_need_no_file(
    engines: Engines, runs: list[str], log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run in runs[1:]:
        publish(settings(runs[0]), log, run)
        engines.look()
    monkeypatch.setattr(releases, "Snapshot", None)
    for run in (runs[1], runs[0]):
        log.roll_back(engines.first)
        engines.look()
        assert answered(engines, "u0") == version(run)


def test_a_process_that_starts_later_answers_with_what_was_published(
    runs: list[str], log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "TextEncoder", WordsAsNumbers)
    for run in runs[1:]:
        publish(settings(runs[0]), log, run)
    later = Engines(settings(runs[0]), log)
    assert answered(later, "u1") == version(runs[2])
    assert {engine.version for engine in later.all()} >= {version(runs[1]), version(runs[2])}


def test_a_candidate_gets_its_share_of_the_users_at_every_request(
    engines: Engines, runs: list[str], log: EventLog
) -> None:
    log.publish(version(runs[1]), runs[1], share=0.5)
    engines.look()
    users = [f"new {number}" for number in range(40)]
    for user in users:
        log.put_user(user, {})
    chosen = [answered(engines, user) for user in users]
    assert chosen == [answered(engines, user) for user in users] and set(chosen) == {version(run) for run in runs[:2]}


def test_a_model_that_cannot_be_opened_changes_nothing_and_is_named(
    engines: Engines, runs: list[str], log: EventLog, tmp_path: Path
) -> None:
    log.publish("0123456789ab", str(tmp_path / "nowhere"))
    engines.look()
    assert answered(engines, "u0") == version(runs[0]) and "nowhere" in engines.failed["0123456789ab"]
    publish(settings(runs[0]), EventLog(f"sqlite:///{tmp_path}/other.db"), runs[1])
    log.publish(version(runs[1]), runs[1])
    engines.look()
    assert answered(engines, "u0") == version(runs[1])
    with pytest.raises(NotReadyError, match="0123456789ab"):
        engines.of_version("0123456789ab")


def test_a_fault_of_storage_changes_nothing_either(
    engines: Engines, runs: list[str], log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow_down(*_: object, **__: object) -> Snapshot:
        raise OSError("AWS Error SLOW_DOWN")

    log.publish(version(runs[1]), runs[1])
    with monkeypatch.context() as patched:
        patched.setattr(releases.Snapshot, "open", slow_down)
        engines.look()
    assert answered(engines, "u0") == version(runs[0]) and "SLOW_DOWN" in engines.failed[version(runs[1])]


def test_what_could_not_be_opened_is_tried_again_and_a_broken_candidate_is_not_in_the_way(
    engines: Engines, runs: list[str], log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "AGAIN_S", 0.0)
    late = tmp_path / "late"
    log.publish(version(runs[2]), str(late))
    engines.look()
    assert engines.main.version == version(runs[0]) and engines.failed
    late.symlink_to(runs[2])
    engines.look()
    assert engines.main.version == version(runs[2]) and not engines.failed
    log.publish(version(runs[1]), runs[1])
    log.publish("0123456789ab", str(tmp_path / "nowhere"), share=0.5)
    later = Engines(settings(runs[0]), log)
    assert later.main.version == version(runs[1]) and later.routing.candidate is None
    assert "0123456789ab" in later.failed


def test_a_process_that_starts_while_the_newest_cannot_be_opened_answers_with_the_one_before(
    runs: list[str], log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "TextEncoder", WordsAsNumbers)
    log.publish(version(runs[1]), runs[1])
    log.publish("0123456789ab", str(tmp_path / "nowhere"))
    log.publish("ba9876543210", str(tmp_path / "nowhere either"))
    later = Engines(settings(runs[0]), log)
    assert answered(later, "u1") == version(runs[1]) and set(later.failed) == {"0123456789ab", "ba9876543210"}
    log.publish(version(runs[2]), runs[2])
    later.look()
    assert answered(later, "u1") == version(runs[2])


def test_a_folder_that_holds_another_model_than_was_published_is_not_taken(
    engines: Engines, runs: list[str], log: EventLog
) -> None:
    log.publish(version(runs[1]), runs[2])
    engines.look()
    assert engines.main.version == version(runs[0]) and "holds model" in engines.failed[version(runs[1])]


def damaged(run: str, name: str) -> None:
    path = Path(run, "index", name)
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)


def test_users_who_were_forgotten_and_are_in_a_new_model_are_counted(
    runs: list[str], log: EventLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.append_feedback([Feedback("e1", "u0", "i1", "like")])
    log.delete_user("u0")
    with caplog.at_level("WARNING"):
        publish(settings(runs[0]), log, runs[1])
    assert "made with the interactions of 1 users whom the log has forgotten" in caplog.text


def test_a_damaged_file_is_refused_by_name(runs: list[str], log: EventLog, tmp_path: Path) -> None:
    broken = write_run(tmp_path / "broken", 4)
    damaged(broken, "items.faiss")
    with pytest.raises(ArtifactError, match=r"items\.faiss"):
        publish(settings(runs[0]), log, broken)
    assert log.releases() == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_refused(runs: list[str], log: EventLog, tmp_path: Path, value: float) -> None:
    with pytest.raises(ArtifactError, match="states of users hold NaN or infinity"):
        publish(settings(runs[0]), log, write_run(tmp_path / "broken", 4, wrong_states=value))
    assert log.releases() == []


@pytest.mark.parametrize("name", ["user_states.safetensors", "prices.parquet", "gate.json"])
def test_files_of_another_kind_are_refused_whoever_says_that_they_are_whole(
    runs: list[str], log: EventLog, tmp_path: Path, name: str
) -> None:
    broken = write_run(tmp_path / "broken", 4)
    whole = RunStore(broken).open("index")
    contents = {file: whole.read_bytes(file) for file in whole.manifest["files"]}
    with RunStore(broken).write("index", {}) as writer:
        for file, data in contents.items():
            writer.write_bytes(file, b"\x80\x04cos\nsystem\n" if file == name else data)
    assert name in contents
    with pytest.raises(ArtifactError, match=r"cannot be opened \(.*publish a run whose artifacts jobs/ have made"):
        publish(settings(runs[0]), log, broken)
    assert log.releases() == []


def test_an_older_model_without_a_file_is_refused(runs: list[str], log: EventLog, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="no .*run|does not exist|first"):
        publish(settings(runs[0]), log, str(tmp_path / "nothing"))
    with pytest.raises(ArtifactError, match="answers already"):
        publish(settings(runs[0]), log, runs[0])


def test_a_worse_model_is_refused_and_the_figures_say_why(
    runs: list[str], log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm4rec.cluster.publish.canary", lambda *_: Canary(300, 0.1, 0.2))
    with pytest.raises(ArtifactError, match=r"is worse than .*NDCG@10 0\.1000, not 0\.2000, on 300 known choices"):
        publish(settings(runs[0], canary_loss=0.05), log, runs[1])
    assert publish(settings(runs[0], canary_loss=0.5), log, runs[1]).users == 300
    assert current(settings(runs[0]), log)[1].main.version == version(runs[1])


def test_the_canary_ranks_what_users_chose_last_by_both(runs: list[str]) -> None:
    new, old = (Snapshot.open(RunStore(run), settings(run)) for run in runs[1::-1])
    found, same = canary(new, old, 300), canary(new, new, 300)
    assert found.users == 2 and found.ndcg == same.ndcg == same.before
    assert 0.4 < found.ndcg <= 1 and 0.4 < found.before <= 1  # among one and three items that they had not had
