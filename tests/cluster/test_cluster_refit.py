"""The refit: what it learns of, what it begins with, and which model answers; real trainings of a small network."""

from pathlib import Path

import numpy as np
import pytest
import torch

from llm4rec.artifacts import RunStore
from llm4rec.cluster import refit, releases
from llm4rec.cluster.publish import current, publish
from llm4rec.cluster.releases import Engines
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.shards import ModelParts
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.cluster.stage import INDEX, MODEL, REFIT_INDEX, REFIT_MODEL, REFIT_WEIGHTS
from llm4rec.cluster.train import train
from llm4rec.cluster.worker import read_parts
from llm4rec.debias.result import write_weights
from llm4rec.errors import ArtifactError, ConfigError
from llm4rec.evaluate.ranking import RankedLists, rank
from llm4rec.index.vectors import ItemIndex
from llm4rec.model.inputs import PADDING
from llm4rec.model.scorer import ModelScorer
from llm4rec.online.log import EventLog
from llm4rec.recommend.gate import Gated
from llm4rec.recommend.repairs import learn_repair
from llm4rec.train.refit import EPOCHS
from tests.cluster.small_run import WordsAsNumbers, write_run

WEIGHT = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], np.float32)


@pytest.fixture(autouse=True)
def one_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a cluster knows how many are free."""
    monkeypatch.setattr("llm4rec.cluster.index.free_cpus", lambda: 1)


def settings(run: str, **sections: dict[str, object]) -> RunConfig:
    network = RunStore(run).open(MODEL).read_json("model.json")["config"]
    config = {
        "source": {"format": "movielens", "path": "unused"},
        "run": {"path": run},
        "train": {"model": network, "num_workers": 0, "precision": "fp32", "learning_rate": 1e-2}
        | sections.get("train", {}),
        "index": sections.get("index", {}),
        "serve": {"canary_loss": 0.99, **sections.get("serve", {})},
    }
    return RunConfig.model_validate(config)


def without_refit(config: RunConfig) -> RunConfig:
    return config.model_copy(update={"run": config.run.model_copy(update={"refit": False})})


def version(run: str, name: str) -> str:
    return RunStore(run).open(name).hash[:12]


def with_refit(folder: Path, seed: int = 0) -> str:
    """A run, its refit done as the stage does it; the weights of interactions are made up."""
    run = write_run(folder, seed)
    store = RunStore(run)
    with store.write(REFIT_WEIGHTS, {}) as writer:
        write_weights(writer, WEIGHT)
    refit.learn(store, settings(run))
    refit.index(store, settings(run))
    return run


@pytest.fixture
def run(tmp_path: Path) -> str:
    return with_refit(tmp_path / "run")


def test_it_learns_of_every_interaction_with_its_weight_and_holds_nothing_out(run: str) -> None:
    parts = read_parts(RunStore(run), settings(run), REFIT_MODEL)
    targets = parts.windows.target != PADDING
    assert targets.sum() == 6 and parts.validation is None and parts.label == "refit"
    assert sorted(parts.windows.weight[targets].tolist()) == WEIGHT.tolist()
    measured = read_parts(RunStore(run), settings(run), MODEL)
    assert (measured.windows.target != PADDING).sum() == 3 and measured.validation is not None


def test_it_begins_with_the_weights_that_were_measured(run: str) -> None:
    before = Snapshot.open(RunStore(run), settings(run), measured=True).scorer.model
    parts = read_parts(RunStore(run), settings(run), REFIT_MODEL)
    for name, weight in before.state_dict().items():
        torch.testing.assert_close(parts.model.state_dict()[name], weight)


def test_items_that_only_held_out_interactions_name_get_vectors_of_their_own(run: str) -> None:
    store = RunStore(run)
    assert read_parts(store, settings(run), MODEL).model.shape.by_content_alone == (2,)
    assert read_parts(store, settings(run), REFIT_MODEL).model.shape.by_content_alone == ()
    before, after = (Snapshot.open(store, settings(run), measured=which).scorer.model for which in (True, False))
    assert not before.items.id_emb.weight[2].any() and after.items.id_emb.weight[2].any()


def test_one_pass_without_validation_is_what_its_curve_shows(run: str) -> None:
    curve = RunStore(run).open(REFIT_MODEL).read_json("model.json")["curve"]
    assert len(curve) == EPOCHS and set(curve[0]) == {"epoch", "loss", "seconds"}


def test_the_refit_answers_and_figures_are_of_the_model_before_it(run: str) -> None:
    store = RunStore(run)
    answers, measured = (Snapshot.open(store, settings(run), measured=which) for which in (False, True))
    assert answers.version == store.open(REFIT_INDEX).hash[:12] != store.open(INDEX).hash[:12] == measured.version
    for one, other in ((answers.index.vectors, measured.index.vectors), (answers.states, measured.states)):
        assert one.shape == other.shape and not np.allclose(one, other)
    np.testing.assert_array_equal(answers.prices.price, measured.prices.price)
    np.testing.assert_allclose(answers.scorer.item_vectors, answers.index.vectors, atol=1e-6)
    assert Snapshot.open(store, without_refit(settings(run))).version == measured.version


def test_what_was_held_out_is_foreseen_better_and_both_figures_are_kept(run: str) -> None:
    found = RunStore(run).open(REFIT_INDEX).read_json(refit.FOUND)
    assert found["index"] == RunStore(run).open(INDEX).hash and found["choices"] == 2
    assert 0 < found["ndcg@10"]["measured"] <= found["ndcg@10"]["refit"] <= 1


def test_a_refit_that_foresees_worse_what_it_has_learnt_is_refused(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (Path(run) / REFIT_INDEX / "manifest.json").unlink()
    figures = iter([0.1, 0.2, 0.1, 0.2])
    config = settings(run, serve={"canary_loss": 0.05})
    monkeypatch.setattr(refit, "MIN_CHOICES", 2)
    monkeypatch.setattr(refit, "ndcg", lambda *_: np.array([next(figures)]))
    with pytest.raises(ArtifactError, match=r"NDCG@10 0\.1000, not 0\.2000; set run\.refit to false"):
        refit.index(RunStore(run), config)
    with pytest.raises(ArtifactError, match=r"jobs/refit\.py"):
        Snapshot.open(RunStore(run), config)
    monkeypatch.setattr(refit, "MIN_CHOICES", 3)
    refit.index(RunStore(run), config)  # two choices tell nothing


def test_a_missing_refit_and_one_of_another_index_are_refused(run: str, tmp_path: Path) -> None:
    bare = write_run(tmp_path / "bare", 1)
    with pytest.raises(ArtifactError, match=r"no refit/index artifact at .*python jobs/refit\.py"):
        Snapshot.open(RunStore(bare), settings(bare))
    store = RunStore(run)
    kept = {name: store.open(INDEX).read_bytes(name) for name in store.open(INDEX).manifest["files"]}
    with store.write(INDEX, {"inputs": {"model": store.open(MODEL).hash}}) as writer:
        for name, data in kept.items():
            writer.write_bytes(name, data + b"\n" if name == "gate.json" else data)
    with pytest.raises(ArtifactError, match=r"made of another index than there is now; run jobs/refit\.py again"):
        Snapshot.open(store, settings(run))


def test_a_second_look_finds_it_done_and_another_model_does_not(run: str) -> None:
    store = RunStore(run)
    before = store.open(REFIT_MODEL).hash, store.open(REFIT_INDEX).hash
    refit.learn(store, settings(run))
    refit.index(store, settings(run))
    assert (store.open(REFIT_MODEL).hash, store.open(REFIT_INDEX).hash) == before
    train(store, settings(run, train={"epochs": 1}), MODEL, ("corpus", "features", "effects"))
    refit.learn(store, settings(run))
    assert store.open(REFIT_MODEL).hash != before[0]


def test_published_is_the_refit_which_the_model_before_it_vouches_for(
    tmp_path: Path, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "TextEncoder", WordsAsNumbers)
    runs = [with_refit(tmp_path / str(seed), seed) for seed in range(2)]
    (first, second), measured = ([version(run, name) for run in runs] for name in (REFIT_INDEX, INDEX))
    engines = Engines(settings(runs[0]), log)
    assert engines.main.version == first
    asked: list[str] = []
    monkeypatch.setattr("llm4rec.cluster.publish._ndcg", lambda snapshot, *_: asked.append(snapshot.version) or 0.5)
    publish(settings(runs[0]), log, runs[1])
    assert asked == [second, measured[1], measured[1], measured[0]]
    engines.look()
    assert engines.main.version == second == current(settings(runs[0]), log)[1].main.version
    parts = ModelParts(settings(runs[0]), log, 0)
    assert {first, second} <= parts._models.keys() and not parts._failed


def test_a_refit_that_answers_nonsense_is_not_published(tmp_path: Path, log: EventLog) -> None:
    runs = [with_refit(tmp_path / str(seed), seed) for seed in range(2)]
    store = RunStore(runs[1])
    sealed = store.open(REFIT_INDEX)
    vectors = ItemIndex.read(sealed).vectors
    kept = {name: sealed.read_bytes(name) for name in sealed.manifest["files"]}
    with store.write(REFIT_INDEX, {"inputs": sealed.manifest["inputs"]}) as writer:
        for name, data in kept.items():
            writer.write_bytes(name, data)
        ItemIndex.build(-vectors).write(writer)
    with pytest.raises(ArtifactError, match=r"is worse than before its refit: NDCG@10"):
        publish(settings(runs[0], serve={"canary_loss": 0.05}), log, runs[1])
    assert log.releases() == []


def test_what_was_released_before_there_were_refits_goes_on_answering(
    tmp_path: Path, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "TextEncoder", WordsAsNumbers)
    runs = [with_refit(tmp_path / str(seed), seed) for seed in range(2)]
    publish(without_refit(settings(runs[0])), log, runs[1])
    engines = Engines(settings(runs[0]), log)
    assert engines.main.version == version(runs[1], INDEX)
    parts = ModelParts(settings(runs[0]), log, 0)
    assert {version(runs[0], REFIT_INDEX), version(runs[1], INDEX)} == parts._models.keys() and not parts._failed
    log.roll_back(engines.first)
    engines.look()
    assert engines.main.version == version(runs[0], REFIT_INDEX)


def test_what_was_released_as_a_refit_goes_on_answering_where_refits_are_no_longer_made(
    tmp_path: Path, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(releases, "TextEncoder", WordsAsNumbers)
    runs = [with_refit(tmp_path / str(seed), seed) for seed in range(2)]
    publish(settings(runs[0]), log, runs[1])
    engines = Engines(without_refit(settings(runs[0])), log)
    assert engines.main.version == version(runs[1], REFIT_INDEX)
    parts = ModelParts(without_refit(settings(runs[0])), log, 0)
    assert {version(runs[0], INDEX), version(runs[1], REFIT_INDEX)} == parts._models.keys() and not parts._failed


@pytest.mark.parametrize("name", [INDEX, REFIT_INDEX])
def test_files_of_another_kind_are_named_whichever_model_they_are_of(tmp_path: Path, log: EventLog, name: str) -> None:
    runs = [with_refit(tmp_path / str(seed), seed) for seed in range(2)]
    store = RunStore(runs[1])
    sealed = store.open(name)
    kept = {file: sealed.read_bytes(file) for file in sealed.manifest["files"]}
    with store.write(name, {"inputs": sealed.manifest["inputs"]}) as writer:
        for file, data in kept.items():
            writer.write_bytes(file, b"nonsense" if file == "linear.safetensors" else data)
    if name == INDEX:  # as whoever made it would have it
        refit_index = store.open(REFIT_INDEX)
        kept = {file: refit_index.read_bytes(file) for file in refit_index.manifest["files"]}
        with store.write(
            REFIT_INDEX, {"inputs": {**refit_index.manifest["inputs"], INDEX: store.open(INDEX).hash}}
        ) as writer:
            for file, data in kept.items():
                writer.write_bytes(file, data)
    with pytest.raises(ArtifactError, match=r"cannot be opened \(.*publish a run whose artifacts jobs/ have made"):
        publish(settings(runs[0]), log, runs[1])
    assert log.releases() == []


def test_a_model_that_was_trained_with_other_settings_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 0)
    with pytest.raises(
        ConfigError, match=r"other settings; run jobs/train\.py and jobs/index\.py before jobs/refit\.py"
    ):
        refit.run(RunStore(run), settings(run))
    assert not Path(run, "refit").exists()


def test_an_index_of_another_model_is_refused(run: str) -> None:
    train(RunStore(run), settings(run, train={"epochs": 1}), MODEL, ("corpus", "features", "effects"))
    refit.learn(RunStore(run), settings(run))
    with pytest.raises(
        ArtifactError, match=r"index was made of another model than there is now; run jobs/train\.py and"
    ):
        refit.index(RunStore(run), settings(run))


def test_a_refit_whose_index_is_of_another_training_is_refused(run: str) -> None:
    store = RunStore(run)
    refit.learn(store, settings(run, train={"learning_rate": 0.05}))
    with pytest.raises(ArtifactError, match=r"made of another refit/model than there is now; run jobs/refit\.py again"):
        Snapshot.open(store, settings(run))
    refit.index(store, settings(run))
    assert Snapshot.open(store, settings(run)).version == version(run, REFIT_INDEX)


def test_nothing_is_done_where_it_is_not_asked_for(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", 0)
    assert refit.run(RunStore(run), without_refit(settings(run))) is None
    assert not Path(run, "refit").exists()
    assert Snapshot.open(RunStore(run), without_refit(settings(run))).version == version(run, INDEX)


def test_both_are_repaired_where_they_are_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run", 0)
    store, config = RunStore(run), settings(run, index={"repaired": ["gender"], "repair": 1.0})
    snapshot = Snapshot.open(store, without_refit(settings(run)))
    snapshot.scorer.repaired = snapshot.scorer.model.shape.attributes.places(["gender"], "index.repaired")
    kept = {name: store.open(INDEX).read_bytes(name) for name in store.open(INDEX).manifest["files"]}
    with store.write(INDEX, {"inputs": {"model": store.open(MODEL).hash}}) as writer:
        for name, data in kept.items():
            writer.write_bytes(name, data)
        learn_repair(snapshot.scorer, snapshot.corpus, 1.0).write(writer)
    with store.write(REFIT_WEIGHTS, {}) as writer:
        write_weights(writer, WEIGHT)
    refit.learn(store, config)
    compared: list[ModelScorer] = []

    def remember(model: Gated, *rest: object) -> RankedLists:
        compared.append(model.scorer)
        return rank(model, *rest)

    monkeypatch.setattr(refit, "rank", remember)
    refit.index(store, config)
    assert [scorer.repair is None for scorer in compared] == [False, False]  # of so few users it changes no rank
    assert Snapshot.open(store, config).scorer.repair is not None
