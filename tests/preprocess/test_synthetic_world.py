"""The synthetic world follows its own equations, is the same for equal settings, and goes through the stage."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from llm4rec.artifacts import RunStore
from llm4rec.errors import DataError
from llm4rec.preprocess.config import PreprocessConfig, SourceConfig, SyntheticConfig
from llm4rec.preprocess.single_process import write_preprocessed
from llm4rec.preprocess.sources import find_layout
from llm4rec.preprocess.world import GENDER_TASTE, KIND_QUALITY, PRICE_QUALITY, draw_world
from llm4rec.schema import Corpus

SMALL = SyntheticConfig(users=60, items=40, interactions=12)


def source(folder: Path, **settings: object) -> SourceConfig:
    config = SMALL.model_copy(update=settings)
    return SourceConfig(format="synthetic", path=str(folder), synthetic=config)


def test_ratings_are_the_sum_of_their_causes():
    world = draw_world(SMALL)
    quality = KIND_QUALITY[world.kind] + PRICE_QUALITY * world.price
    likes = world.female[world.user] == (world.kind[world.item] % 2 == 0)
    taste = np.where(likes, GENDER_TASTE, -GENDER_TASTE)
    theta = np.where(world.female, 0.4, 0.2)
    np.testing.assert_array_equal(theta, world.popularity_effect(SMALL))
    rest = world.rating - 3 - theta[world.user] * world.popularity - 0.3 * world.prominent
    rest = rest - quality[world.item] - taste  # generosity and noise
    assert abs(rest.mean()) < 0.1 and rest.std() == pytest.approx((0.3**2 + 0.5**2) ** 0.5, rel=0.15)
    assert abs(np.corrcoef(rest, quality[world.item])[0, 1]) < 0.12


def test_popularity_counts_the_rounds_before():
    world = draw_world(SMALL)
    for row in (0, 100, len(world.item) - 1):
        earlier = (world.item == world.item[row]) & (world.round < world.round[row])
        assert world.popularity[row] == pytest.approx(np.log1p(earlier.sum()))


def test_nobody_gets_an_item_twice_and_propensities_are_true():
    world = draw_world(SMALL)
    pairs = world.user * SMALL.items + world.item
    assert len(np.unique(pairs)) == len(pairs)
    # In the first round all items are new and equally popular: chances of an item are alike for users of one gender.
    first = world.round == 0
    for gender in (True, False):
        rows = first & (world.female[world.user] == gender)
        for item in np.unique(world.item[rows]):
            assert np.ptp(world.propensity[rows & (world.item == item)]) < 1e-12
    many = draw_world(SMALL.model_copy(update={"users": 4000}))
    rows = (many.round == 0) & many.female[many.user]
    for item in range(5):
        chosen = rows & (many.item == item)
        assert chosen.sum() / rows.sum() == pytest.approx(many.propensity[chosen][0], abs=0.02)
    assert many.prominent.mean() == pytest.approx(many.prominence.mean(), abs=0.01)


def test_equal_settings_give_equal_files_and_are_kept(tmp_path):
    for name in ("a", "b"):
        find_layout(source(tmp_path / name))
    files = sorted(path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 45  # 40 pictures, 4 tables, world.json
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    stamp = (tmp_path / "a" / "items.csv").stat().st_mtime_ns
    find_layout(source(tmp_path / "a"))
    assert (tmp_path / "a" / "items.csv").stat().st_mtime_ns == stamp
    assert not [path for path in tmp_path.iterdir() if path.name not in "ab"]


def test_the_truth_lies_beside_the_log(tmp_path):
    find_layout(source(tmp_path / "w", prominence_effect=0.7))
    truth = json.loads((tmp_path / "w" / "world.json").read_text())["truth"]
    assert truth["popularity_effect"] == {"M": 0.2, "F": 0.4} and truth["prominence_effect"] == 0.7
    rows = pd.read_csv(tmp_path / "w" / "truth.csv")
    spread = 0.7 * 0.3 * (rows["prominence"] * (1 - rows["prominence"])).mean()
    gap = np.mean(list(truth["total_popularity_effect"].values())) - 0.3
    assert gap == pytest.approx(spread, rel=0.05)
    assert len(rows) == truth["interactions"] == 60 * 12
    assert ((rows["propensity"] > 0) & (rows["propensity"] <= 1)).all()


def test_the_stage_reads_it_with_every_modality(tmp_path):
    store = RunStore(str(tmp_path / "run"))
    with store.write("corpus", {}) as writer:
        write_preprocessed(writer, source(tmp_path / "w"), PreprocessConfig(min_item_interactions=1))
    corpus = Corpus.read(store.open("corpus"))
    assert (corpus.num_users, len(corpus.interactions)) == (60, 720)
    assert set(corpus.events) == {"plain", "prominent"}
    assert {"gender", "age"} <= set(corpus.users.column_names)
    item = corpus.items.to_pylist()[0]
    assert item["text"] and item["categories"] and item["numbers"] and item["image"]
    assert store.open("corpus").manifest["rows"]["quarantine"] == 0


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    find_layout(source(tmp_path / "w"))
    with pytest.raises(DataError, match="holds a world of other settings"):
        find_layout(source(tmp_path / "w", seed=1))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="holds no synthetic world"):
        find_layout(source(tmp_path / "other"))
    with pytest.raises(DataError, match="local folder"):
        find_layout(SourceConfig(format="synthetic", path="s3://bucket/world"))
    assert (tmp_path / "other" / "mine.txt").read_text() == "mine"


def test_settings_that_leave_nothing_to_show_are_refused():
    with pytest.raises(ValidationError, match="must stay below items"):
        SyntheticConfig(items=20, interactions=20)
    with pytest.raises(ValidationError, match="needs format 'synthetic'"):
        SourceConfig(format="movielens", path="x", synthetic=SyntheticConfig())
