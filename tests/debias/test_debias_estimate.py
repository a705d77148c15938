import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from llm4rec.artifacts import RunStore
from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.estimate import estimate, estimate_weights
from llm4rec.debias.result import Effects, read_effects, read_weights, write_effects, write_weights
from llm4rec.errors import ArtifactError, DataError
from llm4rec.schema import TRAIN
from tests.debias.synthetic_log import World, build_world, make_corpus

CONFIG = DebiasConfig(min_group_users=5)


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(2, num_users=150, num_items=60, length=25)


@pytest.fixture(scope="module")
def effects(world: World) -> Effects:
    return estimate(world.corpus, world.features, CONFIG, seed=4)


def with_values(world: World, value: np.ndarray, gender: list[str | None] | None = None):
    log = world.corpus.interactions
    gender = gender or world.corpus.users["gender"].to_pylist()
    return make_corpus(log.user, log.item, log.timestamp, value, log.split, gender, world.corpus.num_items)


def test_weights_belong_to_train_rows_and_average_one(world, effects):
    train = world.corpus.interactions.split == TRAIN
    assert effects.weight[train].mean() == pytest.approx(1, abs=1e-5)
    assert not effects.weight[~train].any()
    assert np.isnan(effects.propensity[~train]).all()
    assert ((effects.propensity[train] > 0) & (effects.propensity[train] < 1)).all()


def test_weights_alone_are_those_of_the_whole_estimate(world, effects):
    np.testing.assert_array_equal(estimate_weights(world.corpus, world.features, CONFIG, seed=4), effects.weight)


def test_weights_of_all_interactions_where_none_is_held_out(world, tmp_path):
    weight = estimate_weights(world.corpus.as_train(), world.features, CONFIG, seed=4)
    assert weight.shape == (len(world.corpus.interactions),)
    assert (weight > 0).all() and weight.mean() == pytest.approx(1, abs=1e-5)
    store = RunStore(str(tmp_path))
    with store.write("refit/weights", {}) as writer:
        write_weights(writer, weight)
    np.testing.assert_array_equal(read_weights(store.open("refit/weights")), weight)


def test_weights_are_the_clipped_inverse_of_the_propensities(world, effects):
    train = world.corpus.interactions.split == TRAIN
    threshold = effects.summary["propensity"]["clip_threshold"]
    inverse = 1 / np.maximum(effects.propensity[train], threshold)
    np.testing.assert_allclose(effects.weight[train], inverse / inverse.mean(), rtol=1e-4)
    clipped = effects.summary["propensity"]["clip_quantile"]
    assert effects.summary["propensity"]["clipped_share"] == pytest.approx(clipped, abs=0.01)


def test_a_quantile_that_is_set_is_used(world):
    config = CONFIG.model_copy(update={"clip_quantile": 0.3})
    summary = estimate(world.corpus, world.features, config, seed=0).summary
    assert summary["propensity"]["clip_quantile"] == 0.3
    assert summary["propensity"]["clipped_share"] == pytest.approx(0.3, abs=0.01)


def test_popular_items_weigh_less(world, effects):
    log = world.corpus.interactions
    train = log.split == TRAIN
    correlation = np.corrcoef(effects.weight[train], effects.popularity[log.item[train]])[0, 1]
    assert correlation < -0.6


def test_popularity_is_standardised_over_items(effects):
    assert effects.popularity.mean() == pytest.approx(0, abs=1e-5)
    assert effects.popularity.std() == pytest.approx(1, abs=1e-5)


def test_summary_reports_groups_placebo_and_both_effects(world, effects):
    popularity = effects.summary["popularity_effect"]
    assert [entry["group"] for entry in popularity["by_group"]["gender"]] == ["F", "M"]
    assert sum(entry["num_users"] for entry in popularity["by_group"]["gender"]) == 150
    assert popularity["naive"]["effect"] > popularity["effect"]
    assert abs(popularity["refutations"]["placebo"]["effect"]) < 0.1 * popularity["effect"]
    assert effects.summary["exposure_effect"]["estimator"] == "LinearDRLearner"
    female = np.array(world.corpus.users["gender"].to_pylist()) == "F"
    assert effects.user_effect[female].mean() > effects.user_effect[~female].mean() + 0.1


def test_same_seed_same_effects(world, effects):
    again = estimate(world.corpus, world.features, CONFIG, seed=4)
    assert json.dumps(again.summary) == json.dumps(effects.summary)
    for name in ("propensity", "weight", "user_effect", "popularity"):
        np.testing.assert_array_equal(getattr(again, name), getattr(effects, name))


def test_effects_of_an_older_version_are_refused(tmp_path):
    store = RunStore(str(tmp_path))
    with store.write("effects", {}) as writer:
        for name in ("weights", "users", "items"):
            writer.write_table(name, pa.table({"x": [1]}))
        writer.write_json("effects.json", {"warnings": []})
    with pytest.raises(ArtifactError, match="older version; run jobs/debias.py again"):
        read_effects(store.open("effects"))


def test_written_effects_are_read_back(tmp_path, world, effects):
    store = RunStore(str(tmp_path))
    with store.write("effects", {"seed": 4}) as writer:
        write_effects(writer, world.corpus, effects)
    artifact = store.open("effects")
    back = read_effects(artifact)
    assert back.summary == effects.summary
    for name in ("propensity", "weight", "user_effect", "popularity"):
        np.testing.assert_array_equal(getattr(back, name), getattr(effects, name))
        assert getattr(back, name).dtype == np.float32
    weights = artifact.read_table("weights")
    log = world.corpus.interactions
    assert weights.column_names == ["user_id", "item_id", "propensity", "weight"]
    assert weights["item_id"].to_pylist() == [f"i{code}" for code in log.item]
    assert weights["propensity"].null_count == (log.split != TRAIN).sum()


def test_constant_outcome_gives_the_effect_on_being_chosen_and_says_so(world):
    corpus = with_values(world, np.full(len(world.corpus.interactions), 4.0))
    result = estimate(corpus, world.features, CONFIG, seed=0)
    assert result.summary["outcome"] == "choice"
    assert "among other users" in result.summary["popularity_effect"]["treatment"]
    assert result.summary["exposure_effect"] is None
    assert any("outcome is constant (4): the effect" in warning for warning in result.summary["warnings"])
    assert result.user_effect.mean() > 0


def test_of_constant_outcomes_the_effect_on_the_value_is_null_where_it_is_asked_for(world):
    corpus = with_values(world, np.full(len(world.corpus.interactions), 4.0))
    result = estimate(corpus, world.features, CONFIG.model_copy(update={"effect_on": "value"}), seed=0)
    assert result.summary["popularity_effect"] is None
    assert result.summary["exposure_effect"] is None
    assert any("outcome is constant (4)" in warning for warning in result.summary["warnings"])
    assert not result.user_effect.any()
    assert result.weight.std() > 0


def test_log_without_times_gives_null_effects(world):
    log = world.corpus.interactions
    gender = world.corpus.users["gender"].to_pylist()
    corpus = make_corpus(log.user, log.item, np.zeros(len(log)), log.value, log.split, gender, 60)
    result = estimate(corpus, world.features, CONFIG, seed=0)
    assert result.summary["popularity_effect"] is None
    assert any("are timestamps missing" in warning for warning in result.summary["warnings"])


def test_fewer_rows_than_features_gives_null_effects():
    user, item = np.repeat(np.arange(4), 3), np.array([0, 1, 2, 1, 2, 3, 2, 3, 4, 0, 3, 4])
    value = np.arange(12) % 5
    corpus = make_corpus(user, item, np.arange(12), value, np.full(12, TRAIN), ["F", "M"] * 2, 5)
    result = estimate(corpus, {}, DebiasConfig(min_group_users=1), seed=0)
    assert result.summary["popularity_effect"] is None
    assert any("12 rows are too few" in warning for warning in result.summary["warnings"])


def test_one_group_only_is_said(world):
    corpus = with_values(world, world.corpus.interactions.value, ["F"] * 150)
    config = DebiasConfig(groups=("gender",))
    result = estimate(corpus, world.features, config, seed=0)
    assert any("'gender' has one group only (F)" in warning for warning in result.summary["warnings"])
    (group,) = result.summary["popularity_effect"]["by_group"]["gender"]
    assert group["effect"] == pytest.approx(result.summary["popularity_effect"]["effect"])


def test_unknown_group_column_stops_the_stage(world):
    with pytest.raises(DataError, match="income"):
        estimate(world.corpus, world.features, DebiasConfig(groups=("income",)), seed=0)


def test_an_average_effect_that_is_not_above_zero_corrects_nothing(world):
    log = world.corpus.interactions
    corpus = with_values(world, np.random.default_rng(0).normal(size=len(log)))
    result = estimate(corpus, world.features, CONFIG, seed=0)
    assert result.summary["popularity_effect"]["ci95"][0] <= 0
    assert not result.user_effect.any() and not result.user_weight.any()
    assert any("no effect above 0" in warning for warning in result.summary["warnings"])


def test_user_weights_are_bounded_multiples_of_the_mean(effects):
    few = replace(effects, user_effect=np.array([-1.0] * 98 + [1.0, 0.5], np.float32))
    assert few.user_weight.tolist() == [0.0] * 98 + [3.0, 3.0]
    alike = replace(effects, user_effect=np.array([0.1, 0.2, 0.3], np.float32))
    assert alike.user_weight == pytest.approx([0.5, 1.0, 1.5])
    assert not replace(effects, user_effect=np.full(3, -0.1, np.float32)).user_weight.any()


def test_where_everything_was_chosen_the_choice_is_not_replaced_silently():
    every = np.indices((60, 40)).reshape(2, -1).astype(np.int32)
    split, values = np.full(2400, TRAIN, np.int32), np.random.default_rng(0).normal(size=2400)
    corpus = make_corpus(every[0], every[1], np.arange(2400), values, split, ["f", "m"] * 30, 40)
    summary = estimate(corpus, {}, CONFIG.model_copy(update={"effect_on": "choice"}), seed=0).summary
    assert summary["outcome"] == "value"
    assert any("every user chose everything" in warning for warning in summary["warnings"])
