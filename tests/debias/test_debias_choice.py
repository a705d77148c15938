"""The effect of popularity on being chosen, in worlds where it is known what made items popular."""

import numpy as np
import pytest

from llm4rec.debias.choice import choice_sample, draw_others
from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.covariates import Covariates, build_covariates
from llm4rec.debias.effects import EffectSample, fit_popularity, naive_slope
from llm4rec.schema import TRAIN, Modality
from tests.debias.synthetic_log import make_corpus

CONFIG = DebiasConfig(negatives=1, min_group_users=5)
NUM_USERS, NUM_ITEMS = 300, 200


def world(advertised: float, *, base: float = -2.5, spread: float = 0.0, core: int = 1, seed: int = 0) -> Covariates:
    """Users choose by what items are (`content`, known) and by how much they are advertised (not known).

    Args:
        advertised: effect of advertisement on the log odds of a choice.
        base: log odds of a choice.
        spread: how much users differ in how much they choose.
        core: items chosen fewer times are not in the log.
        seed: of everything.
    """
    rng = np.random.default_rng(seed)
    content, budget, activity = rng.normal(size=NUM_ITEMS), rng.normal(size=NUM_ITEMS), rng.normal(size=NUM_USERS)
    logit = base + content + advertised * budget + spread * activity[:, None]
    chosen = rng.random((NUM_USERS, NUM_ITEMS)) < 1 / (1 + np.exp(-logit))
    chosen[:, chosen.sum(axis=0) < core] = False
    user, item = np.nonzero(chosen)
    split = np.full(len(user), TRAIN, np.int32)
    log = (user.astype(np.int32), item.astype(np.int32), np.arange(len(user)), np.ones(len(user)), split)
    corpus = make_corpus(*log, ["f", "m"] * (NUM_USERS // 2), NUM_ITEMS)
    known = Modality(content[:, None].astype(np.float32), np.ones(NUM_ITEMS, np.bool_))
    return build_covariates(corpus, {"text": known}, CONFIG)


def sample(covariates: Covariates, config: DebiasConfig = CONFIG) -> EffectSample:
    found = choice_sample(covariates, config, np.random.default_rng(0))
    assert found is not None
    return found


def effect(rows: EffectSample) -> dict:
    return fit_popularity(rows, 3, 0).average(rows.modifiers)


def test_without_advertising_popularity_has_no_effect_though_chosen_items_are_popular():
    rows = sample(world(advertised=0.0))
    assert naive_slope(rows)["ci95"][0] > 0.1
    assert effect(rows)["ci95"][0] < 0 < effect(rows)["ci95"][1]


def test_with_advertising_it_has_one():
    assert effect(sample(world(advertised=1.0)))["ci95"][0] > 0.05


def test_in_a_sparse_log_with_a_core_there_is_no_effect_where_there_is_none():
    found = [effect(sample(world(0.0, base=-4.0, core=5, seed=seed)))["effect"] for seed in range(4)]
    assert abs(np.mean(found)) < 0.03


def test_users_who_choose_more_are_not_taken_for_users_whom_popularity_moves_more():
    rows = sample(world(advertised=1.0, spread=1.0))
    found = fit_popularity(rows, 3, 0).effect(rows.modifiers)
    busy = rows.modifiers[:, 0] > np.median(rows.modifiers[:, 0])
    assert found[busy].mean() < 1.5 * found[~busy].mean()


def test_popularity_is_that_among_other_users():
    covariates = world(advertised=0.5)
    rows = sample(covariates)
    count = np.bincount(covariates.train.item, minlength=NUM_ITEMS)[rows.item]
    expected = np.where(rows.outcome == 1, count - 1, count)
    np.testing.assert_allclose(rows.treatment, covariates.scale.apply(expected), rtol=1e-5)


@pytest.mark.parametrize("negatives", [1, 3])
def test_every_user_has_so_many_others_for_each_chosen_item(negatives: int):
    covariates = world(advertised=0.5)
    config = CONFIG.model_copy(update={"negatives": negatives, "max_rows": 4000})
    rows = sample(covariates, config)
    observed = set(zip(covariates.train.user.tolist(), covariates.train.item.tolist(), strict=True))
    pairs = list(zip(rows.user.tolist(), rows.item.tolist(), strict=True))
    assert all((pair in observed) == bool(chosen) for pair, chosen in zip(pairs, rows.outcome, strict=True))
    chosen = np.bincount(rows.user[rows.outcome == 1], minlength=NUM_USERS)
    others = np.bincount(rows.user[rows.outcome == 0], minlength=NUM_USERS)
    assert np.abs(others - negatives * chosen).max() <= negatives  # but for the rarest items, which are left out
    assert len(rows.outcome) <= 4000


def test_others_are_uniform_over_what_a_user_did_not_choose():
    keys = np.array([0, 1, 12], np.int64)  # of ten items user 0 chose 0 and 1, user 1 chose 2
    drawn = draw_others(np.zeros(40_000, np.int64), keys, np.arange(10), 10, np.random.default_rng(0))
    np.testing.assert_allclose(np.bincount(drawn, minlength=10) / 40_000, [0, 0, *[1 / 8] * 8], atol=0.01)


def test_where_everything_was_chosen_there_is_nothing_to_compare_with():
    every = np.indices((20, 30)).reshape(2, -1).astype(np.int32)
    split, values = np.full(600, TRAIN, np.int32), np.ones(600)
    corpus = make_corpus(every[0], every[1], np.arange(600), values, split, ["f", "m"] * 10, 30)
    assert choice_sample(build_covariates(corpus, {}, CONFIG), CONFIG, np.random.default_rng(0)) is None
