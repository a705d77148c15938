from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.covariates import Covariates, build_covariates
from llm4rec.debias.propensity import Propensities, draw_unobserved, fit_propensities
from llm4rec.errors import DataError
from llm4rec.schema import TRAIN
from tests.debias.synthetic_log import World, build_world, make_corpus


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(3, num_items=300)


@pytest.fixture(scope="module")
def covariates(world: World) -> Covariates:
    return build_covariates(world.corpus, world.features, DebiasConfig())


def every_pair(covariates: Covariates) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of users and items that have train interactions, and whether each was observed."""
    matrix = np.zeros((300, 300), bool)
    matrix[covariates.train.user, covariates.train.item] = True
    users, items = np.flatnonzero(matrix.any(axis=1)), np.flatnonzero(matrix.any(axis=0))
    user, item = np.repeat(users, len(items)), np.tile(items, len(users))
    return user.astype(np.int32), item.astype(np.int32), matrix[user, item]


def fit(covariates: Covariates, **settings: object) -> Propensities:
    return fit_propensities(covariates, DebiasConfig(**settings), seed=0)


@pytest.mark.parametrize(("negatives", "kind"), [(1, "logistic"), (5, "logistic"), (2, "boosting")])
def test_mean_propensity_over_all_pairs_is_the_density(covariates, negatives, kind):
    user, item, observed = every_pair(covariates)
    fitted = fit(covariates, negatives=negatives, propensity=kind)
    assert fitted.diagnostics["density"] == pytest.approx(observed.mean())
    predicted = fitted.model.predict(covariates.pairs(user, item))
    assert predicted.mean() == pytest.approx(observed.mean(), rel=0.02)


@pytest.mark.parametrize("kind", ["logistic", "boosting"])
def test_propensities_are_calibrated_across_their_range(covariates, kind):
    user, item, observed = every_pair(covariates)
    predicted = fit(covariates, propensity=kind).model.predict(covariates.pairs(user, item))
    for part in np.array_split(np.argsort(predicted), 5):
        assert predicted[part].mean() == pytest.approx(observed[part].mean(), abs=0.01)


def test_a_sample_of_the_log_gives_the_same_propensities(covariates):
    whole, part = fit(covariates), fit(covariates, max_rows=4000)
    assert part.train.shape == whole.train.shape == (300 * 39,)
    np.testing.assert_allclose(part.train, whole.train, atol=0.06)


def test_held_out_auc_finds_the_exposure_policy(covariates):
    assert fit(covariates).diagnostics["auc"] > 0.75


def test_auc_is_a_half_and_warned_of_when_exposure_is_uniform():
    # Every item and every user equally often: rows of a latin rectangle.
    item = (np.arange(200)[:, None] + np.arange(20) * 10).ravel() % 200
    user = np.repeat(np.arange(200), 20)
    corpus = make_corpus(user, item, np.arange(4000), np.ones(4000), np.full(4000, TRAIN), ["F"] * 200, 200)
    fitted = fit(build_covariates(corpus, {}, DebiasConfig()))
    np.testing.assert_allclose(fitted.train, 0.1, rtol=1e-4)
    assert "hardly beats chance" in fitted.warnings[0]


def test_drawn_pairs_are_unobserved_and_uniform():
    users, items = np.array([0, 2, 3], np.int32), np.array([1, 4, 5, 6], np.int32)
    for observed in (np.array([1, 14 + 4]), np.array([1, 4, 5, 6, 15, 18, 19, 20, 22, 25])):
        drawn = draw_unobserved(observed, users, items, 7, 6000, np.random.default_rng(0))
        keys, counts = np.unique(drawn, return_counts=True)
        every = {user * 7 + item for user in users for item in items}
        assert set(keys) == every - set(observed)
        np.testing.assert_allclose(counts, 6000 / len(keys), rtol=0.15)


def test_fully_observed_log_has_propensity_one():
    user, item = (axis.ravel() for axis in np.mgrid[0:4, 0:3])
    corpus = make_corpus(user, item, np.arange(12), np.arange(12), np.full(12, TRAIN), ["F"] * 4, 3)
    fitted = fit(build_covariates(corpus, {}, DebiasConfig()))
    assert fitted.train.tolist() == [1.0] * 12
    assert "every user interacted with every item" in fitted.warnings[0]


def log_with_random_part(seed: int = 0):
    """100 users and 80 items with outcomes 0 and 1; good ones are chosen three times as often, and some are drawn."""
    rng = np.random.default_rng(seed)
    good = rng.random((100, 80)) < 0.4
    chosen = rng.random(good.shape) < np.where(good, 0.3, 0.1)
    drawn = (rng.random(good.shape) < 0.1) & ~chosen
    user, item = np.nonzero(chosen | drawn)
    size = len(user)
    corpus = make_corpus(user, item, np.arange(size), good[user, item], np.full(size, TRAIN), ["F"] * 100, 80)
    log = replace(corpus.interactions, event=drawn[user, item].astype(np.int32))
    return replace(corpus, interactions=log, events=("chosen", "drawn")), good[user, item], drawn[user, item]


def test_naive_bayes_finds_how_much_more_often_good_items_are_chosen():
    corpus, good, drawn = log_with_random_part()
    config = DebiasConfig(propensity="naive_bayes", random_event="drawn")
    found = fit_propensities(build_covariates(corpus, {}, config), config, seed=0)
    liked, other = found.train[good & ~drawn], found.train[~good & ~drawn]
    assert len(np.unique(liked)) == len(np.unique(other)) == 1
    assert liked[0] == pytest.approx(0.3, rel=0.15) and other[0] == pytest.approx(0.1, rel=0.15)
    assert found.train[drawn][0] == pytest.approx(drawn.sum() / 8000)
    assert found.diagnostics["random_rows"] == drawn.sum() and found.model is None


def test_naive_bayes_needs_a_random_sample():
    corpus, _, _ = log_with_random_part()
    with pytest.raises(ValidationError, match="needs random_event"):
        DebiasConfig(propensity="naive_bayes")
    unknown = DebiasConfig(propensity="naive_bayes", random_event="lottery")
    with pytest.raises(DataError, match="no event 'lottery'; the corpus has chosen, drawn"):
        build_covariates(corpus, {}, unknown)
    config = DebiasConfig(propensity="naive_bayes", random_event="drawn")
    alone = replace(corpus, interactions=replace(corpus.interactions, event=np.zeros_like(corpus.interactions.event)))
    with pytest.raises(DataError, match="0 of .* are a random sample"):
        fit_propensities(build_covariates(alone, {}, config), config, seed=0)
