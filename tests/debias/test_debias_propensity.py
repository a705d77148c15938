import numpy as np
import pytest

from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.covariates import Covariates, build_covariates
from llm4rec.debias.propensity import Propensities, draw_unobserved, fit_propensities
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


def fit(covariates: Covariates, **settings: int) -> Propensities:
    return fit_propensities(covariates, DebiasConfig(**settings), seed=0)


@pytest.mark.parametrize("negatives", [1, 5])
def test_mean_propensity_over_all_pairs_is_the_density(covariates, negatives):
    user, item, observed = every_pair(covariates)
    fitted = fit(covariates, negatives=negatives)
    assert fitted.diagnostics["density"] == pytest.approx(observed.mean())
    predicted = fitted.model.predict(covariates.pairs(user, item))
    assert predicted.mean() == pytest.approx(observed.mean(), rel=0.02)


def test_propensities_are_calibrated_across_their_range(covariates):
    user, item, observed = every_pair(covariates)
    predicted = fit(covariates).model.predict(covariates.pairs(user, item))
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
