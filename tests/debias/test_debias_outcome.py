"""The outcome model on a log whose true log odds are known, and on logs that cannot have one."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit

from llm4rec.artifacts import RunStore
from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.covariates import Covariates, build_covariates
from llm4rec.debias.estimate import estimate
from llm4rec.debias.outcome import fit_outcome
from llm4rec.debias.result import OutcomeModel, read_effects, write_effects
from llm4rec.schema import TRAIN, FloatVector, Modality
from tests.debias.synthetic_log import make_corpus

CONFIG = DebiasConfig(outcome_model=True, good_above=0.5, min_group_users=5)
USERS, ITEMS, LENGTH = 200, 40, 20


def world(seed: int = 0):
    """Women like items of kind 1, men of kind 0; every user and item has a level of its own."""
    rng = np.random.default_rng(seed)
    female, kind = rng.random(USERS) < 0.5, np.arange(ITEMS) % 2
    likes = np.where(female[:, None] == (kind == 1), 1.5, -1.5)
    odds = likes + rng.normal(0, 0.7, (USERS, 1)) + rng.normal(0, 0.7, ITEMS)
    item = np.argsort(rng.gumbel(size=odds.shape) + 0.5 * odds, axis=1)[:, -LENGTH:].ravel()
    user = np.repeat(np.arange(USERS), LENGTH)
    value = (rng.random(len(user)) < expit(odds[user, item])).astype(float)
    gender = ["F" if f else "M" for f in female]
    corpus = make_corpus(user, item, np.arange(len(user)), value, np.full(len(user), TRAIN), gender, ITEMS)
    kinds = Modality((kind[:, None] == np.arange(2)).astype(np.float32), np.ones(ITEMS, bool))
    return corpus, {"categories": kinds}, odds


def fit(covariates: Covariates, weight: FloatVector | None = None, config: DebiasConfig = CONFIG):
    equal = np.ones(len(covariates.train), np.float32)
    return fit_outcome(covariates, equal if weight is None else weight, config, seed=0)


def test_it_finds_the_true_log_odds():
    corpus, features, odds = world()
    model = fit(build_covariates(corpus, features, CONFIG))
    assert isinstance(model, OutcomeModel)
    found = model.users @ model.items.T
    assert np.corrcoef(found.ravel(), odds.ravel())[0, 1] > 0.9
    log = corpus.interactions
    chances = expit(odds[log.user, log.item])
    oracle = -np.log(np.where(log.value > 0.5, chances, 1 - chances)).mean()
    assert oracle < model.loss < oracle + 0.1


def test_pairs_are_inner_products_of_the_tables():
    corpus, features, _ = world()
    model = fit(build_covariates(corpus, features, CONFIG))
    user, item = np.array([0, 3], np.int32), np.array([1, 2], np.int32)
    expected = expit([model.users[0] @ model.items[1], model.users[3] @ model.items[2]])
    np.testing.assert_allclose(model.predict(user, item), expected, rtol=1e-5)


def test_weights_move_it_towards_the_heavy_rows():
    corpus, features, _ = world()
    covariates = build_covariates(corpus, features, CONFIG)
    heavy = np.where(covariates.train.value > 0.5, 10, 0.1).astype(np.float32)
    users, items = np.repeat(np.arange(USERS), ITEMS), np.tile(np.arange(ITEMS), USERS)
    assert fit(covariates, heavy).predict(users, items).mean() > fit(covariates).predict(users, items).mean() + 0.2


def test_the_threshold_is_the_mean_unless_it_is_given():
    corpus, features, _ = world()
    covariates = build_covariates(corpus, features, CONFIG)
    free = fit(covariates, config=CONFIG.model_copy(update={"good_above": None}))
    assert free.threshold == pytest.approx(float(covariates.train.value.mean()))
    assert free.is_good(np.array([0.0, 1.0], np.float32)).tolist() == [False, True]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_log_of_one_outcome_says_why_there_is_no_model(value):
    corpus, features, _ = world()
    log = corpus.interactions
    same = replace(corpus, interactions=replace(log, value=np.full(len(log), value, np.float32)))
    found = fit(build_covariates(same, features, CONFIG))
    assert isinstance(found, str) and "only 0 of 4000 interactions" in found and "good_above = 0.5" in found
    effects = estimate(same, features, CONFIG, seed=0)
    assert effects.outcome is None and found in effects.summary["warnings"]


def test_a_rare_outcome_of_which_the_drawn_rows_hold_too_few_is_told(monkeypatch):
    corpus, features, _ = world()
    log, value = corpus.interactions, np.ones(len(corpus.interactions), np.float32)
    value[np.flatnonzero(log.split == TRAIN)[: 2 * CONFIG.folds]] = 0
    rare = replace(corpus, interactions=replace(log, value=value))
    monkeypatch.setattr("llm4rec.debias.outcome.MAX_ROWS", 100)
    found = fit(build_covariates(rare, features, CONFIG))
    assert isinstance(found, str) and "of 100 interactions are on one side" in found


def test_it_is_written_and_read_back(tmp_path):
    corpus, features, _ = world()
    effects = estimate(corpus, features, CONFIG, seed=0)
    with RunStore(str(tmp_path)).write("effects", {}) as writer:
        write_effects(writer, corpus, effects)
    back = read_effects(RunStore(str(tmp_path)).open("effects")).outcome
    np.testing.assert_array_equal(back.users, effects.outcome.users)
    np.testing.assert_array_equal(back.items, effects.outcome.items)
    assert (back.threshold, back.loss) == (effects.outcome.threshold, effects.outcome.loss)
