"""The effect of popularity on being chosen, in worlds where it is known what made items popular."""

import numpy as np
import pytest

from llm4rec.debias.choice import choice_sample
from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.covariates import Covariates, build_covariates
from llm4rec.debias.effects import fit_popularity, naive_slope
from llm4rec.schema import TRAIN, Modality
from tests.debias.synthetic_log import make_corpus

CONFIG = DebiasConfig(negatives=1, min_group_users=5)


def world(advertised: float, *, num_users: int = 300, num_items: int = 200) -> Covariates:
    """Users choose by what items are (`content`, known) and by how much they are advertised (not known)."""
    rng = np.random.default_rng(0)
    content, budget = rng.normal(size=num_items), rng.normal(size=num_items)
    logit = -2.5 + content + advertised * budget
    user, item = np.nonzero(rng.random((num_users, num_items)) < 1 / (1 + np.exp(-logit)))
    ones = np.ones(len(user))
    split = np.full(len(user), TRAIN, np.int32)
    gender = ["f", "m"] * (num_users // 2)
    log = (user.astype(np.int32), item.astype(np.int32), np.arange(len(user)), ones, split)
    corpus = make_corpus(*log, gender, num_items)
    known = Modality(content[:, None].astype(np.float32), np.ones(num_items, np.bool_))
    return build_covariates(corpus, {"text": known}, CONFIG)


def test_without_advertising_popularity_has_no_effect_though_chosen_items_are_popular():
    sample = choice_sample(world(advertised=0.0), CONFIG, np.random.default_rng(0))
    found = fit_popularity(sample, 3, 0).average(sample.modifiers)
    assert naive_slope(sample)["ci95"][0] > 0.1
    assert found["ci95"][0] < 0 < found["ci95"][1]


def test_with_advertising_it_has_one():
    sample = choice_sample(world(advertised=1.0), CONFIG, np.random.default_rng(0))
    assert fit_popularity(sample, 3, 0).average(sample.modifiers)["ci95"][0] > 0.05


def test_popularity_is_that_among_other_users():
    covariates = world(advertised=0.5)
    sample = choice_sample(covariates, CONFIG, np.random.default_rng(0))
    count = np.bincount(covariates.train.item, minlength=200)[sample.item]
    expected = np.where(sample.outcome == 1, count - 1, count)
    np.testing.assert_allclose(sample.treatment, covariates.scale.apply(expected), rtol=1e-5)


@pytest.mark.parametrize("negatives", [1, 3])
def test_so_many_unobserved_pairs_stand_beside_an_observed_one(negatives: int):
    config = CONFIG.model_copy(update={"negatives": negatives, "max_rows": 1000})
    sample = choice_sample(world(advertised=0.5), config, np.random.default_rng(0))
    assert (sample.outcome == 0).sum() == negatives * (sample.outcome == 1).sum()
    assert len(sample.outcome) <= 1000
    assert sample.outcome.mean() == pytest.approx(1 / (1 + negatives), abs=0.01)


def test_where_everything_was_chosen_there_is_nothing_to_compare_with():
    every = np.indices((20, 30)).reshape(2, -1).astype(np.int32)
    split, values = np.full(600, TRAIN, np.int32), np.ones(600)
    corpus = make_corpus(every[0], every[1], np.arange(600), values, split, ["f", "m"] * 10, 30)
    assert choice_sample(build_covariates(corpus, {}, CONFIG), CONFIG, np.random.default_rng(0)) is None
