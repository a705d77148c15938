import re

import numpy as np
import pytest

from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.covariates import build_covariates
from llm4rec.debias.effects import (
    EffectSample,
    clustered_covariance,
    effect_sample,
    fit_forest,
    fit_linear,
    fit_popularity,
    naive_slope,
)
from llm4rec.debias.exposure import balance, exposure_effect
from llm4rec.debias.refute import placebo, random_common_cause, refute, subset, swapped, unmeasured_confounder
from tests.debias.synthetic_log import World, build_world


def sample_of(world: World, max_rows: int = 100_000) -> EffectSample:
    covariates = build_covariates(world.corpus, world.features, DebiasConfig())
    return effect_sample(covariates, max_rows, np.random.default_rng(0))


def sample_with(**changes: np.ndarray) -> EffectSample:
    """1,500 rows of 150 items; the confounder drives treatment and outcome, the effect is 0.5."""
    rng = np.random.default_rng(5)
    confounder = rng.normal(size=1500).astype(np.float32)
    treatment = (confounder + rng.normal(size=1500)).astype(np.float32)
    values = {
        "outcome": (0.5 * treatment + 2 * confounder + rng.normal(size=1500)).astype(np.float32),
        "treatment": treatment,
        "modifiers": np.empty((1500, 0), np.float32),
        "confounders": confounder[:, None],
        "exposed": treatment > np.median(treatment),
        "user": np.zeros(1500, np.int32),
        "item": np.repeat(np.arange(150), 10).astype(np.int32),
    }
    return EffectSample(**{**values, **changes})


def test_interval_covers_the_known_effect_where_the_naive_one_misses():
    covered, naive_covered, errors, naive_errors = 0, 0, [], []
    for seed in range(8):
        world = build_world(seed)
        sample = sample_of(world)
        adjusted = fit_popularity(sample, folds=3, seed=seed).average(sample.modifiers)
        naive = naive_slope(sample)
        covered += adjusted["ci95"][0] <= world.average_effect <= adjusted["ci95"][1]
        naive_covered += naive["ci95"][0] <= world.average_effect <= naive["ci95"][1]
        errors.append(adjusted["effect"] - world.average_effect)
        naive_errors.append(naive["effect"] - world.average_effect)
    assert covered >= 6  # binomial(8, .95) is below that once in two hundred
    assert naive_covered == 0
    assert abs(np.mean(errors)) < 0.015
    assert np.mean(naive_errors) > 0.1


def test_effect_differs_by_group_as_in_the_model():
    world = build_world(1)
    sample = sample_of(world)
    model = fit_popularity(sample, folds=3, seed=0)
    female = (
        sample.modifiers[:, 0] == 0
    )  # all users are equally active, so gender alone is left; F is the reference level
    for rows, truth in ((female, world.group_effect["F"]), (~female, world.group_effect["M"])):
        estimate = model.average(sample.modifiers[rows])
        assert estimate["ci95"][0] <= truth <= estimate["ci95"][1]
        assert model.effect(sample.modifiers[rows]).mean() == pytest.approx(estimate["effect"], abs=1e-5)


def test_no_modifiers_give_one_effect():
    model = fit_popularity(sample_with(), folds=3, seed=0)
    estimate = model.average(np.empty((1500, 0), np.float32))
    assert estimate["ci95"][0] <= 0.5 <= estimate["ci95"][1]
    assert naive_slope(sample_with())["ci95"][0] > 1


def test_placebo_finds_nothing():
    assert placebo(sample_with(), {}, folds=3, seed=0)["passed"]


def test_noise_and_halves_leave_a_true_effect_alone():
    sample = sample_with()
    estimate = fit_popularity(sample, folds=3, seed=0).average(sample.modifiers)
    assert random_common_cause(sample, estimate, folds=3, seed=0)["passed"]
    assert subset(sample, estimate, folds=3, seed=0)["passed"]
    wrong = {"effect": 2.0, "ci95": [1.9, 2.1]}
    assert not random_common_cause(sample, wrong, folds=3, seed=0)["passed"]
    assert not subset(sample, wrong, folds=3, seed=0)["passed"]
    assert set(refute(sample, 3, 0)) == {"placebo", "random_common_cause", "subset", "unmeasured_confounder"}


def test_robustness_value_is_that_of_the_partial_r2():
    """f^2 is R^2 / (1 - R^2) of the treatment's residual in the outcome's, whatever the number of items."""
    rng = np.random.default_rng(9)
    treatment, noise = rng.normal(size=8000).astype(np.float32), rng.normal(size=8000)
    nothing, rows = rng.normal(size=(8000, 1)).astype(np.float32), np.arange(8000, dtype=np.int32)
    outcome = (0.3 * treatment + noise).astype(np.float32)
    empty = np.empty((8000, 0), np.float32)
    sample = EffectSample(outcome, treatment, empty, nothing, treatment > 0, rows, rows % 40)
    model = fit_linear(sample, 3, 0)
    estimate = model.average(empty)
    found = unmeasured_confounder(model, estimate)
    odds = np.corrcoef(outcome, treatment)[0, 1] ** 2
    odds = odds / (1 - odds)
    assert found["robustness_value"] == pytest.approx(((odds**2 + 4 * odds) ** 0.5 - odds) / 2, rel=0.02)
    assert 0 < found["robustness_value_of_significance"] < found["robustness_value"]
    assert set(unmeasured_confounder(model, {"effect": 0.0, "ci95": [-1, 1]}).values()) == {0.0}


def test_the_placebo_keeps_rows_of_an_item_alike():
    sample = sample_with()
    found = swapped(sample, np.random.default_rng(0))
    assert sorted(found) == sorted(sample.treatment)  # all items have ten rows
    for item in range(3):
        given = set(found[sample.item == item])
        assert [given <= set(sample.treatment[sample.item == other]) for other in range(150)].count(True) == 1


def test_popularity_is_adjusted_for_where_an_event_says_what_was_exposed():
    rng = np.random.default_rng(7)
    popularity, other = rng.normal(size=(2, 6000)).astype(np.float32)
    exposed = rng.random(6000) < 1 / (1 + np.exp(-popularity))
    outcome = (0.3 * exposed + popularity + 0.5 * rng.normal(size=6000)).astype(np.float32)
    nobody, rows = np.empty((6000, 0), np.float32), np.arange(6000, dtype=np.int32)
    sample = EffectSample(outcome, popularity, nobody, other[:, None], exposed, rows, rows, ("x",), by_event=True)
    summary, _ = exposure_effect(sample, folds=3, seed=0)
    assert summary["ci95"][0] <= 0.3 <= summary["ci95"][1] and summary["naive"]["effect"] > 0.8
    balance = {row["covariate"]: row for row in summary["balance"]}
    assert balance["popularity"]["raw"] > 0.5 and abs(balance["popularity"]["weighted"]) < 0.1


def test_a_forest_finds_groups_that_a_line_cannot_tell():
    """The effect is 0.5 in the middle of x and 0 at both ends."""
    rng = np.random.default_rng(8)
    x = rng.choice([-1.0, 0.0, 1.0], 3000).astype(np.float32)
    treatment = rng.normal(size=3000).astype(np.float32)
    outcome = (0.5 * (x == 0) * treatment + 0.3 * rng.normal(size=3000)).astype(np.float32)
    nothing, rows = rng.normal(size=(3000, 1)).astype(np.float32), np.arange(3000, dtype=np.int32)
    sample = EffectSample(outcome, treatment, x[:, None], nothing, treatment > 0, rows, rows)
    middle = np.array([[-1.0], [0.0], [1.0]], np.float32)
    forest, line = fit_forest(sample, 3, 0), fit_popularity(sample, 3, 0)
    np.testing.assert_allclose(forest.effect(middle), [0, 0.5, 0], atol=0.08)
    assert np.ptp(line.effect(middle)) < 0.1
    estimate = forest.average(x[:, None])
    assert estimate["ci95"][0] <= 0.5 * np.mean(x == 0) <= estimate["ci95"][1]


def test_exposure_effect_matches_a_known_one_with_overlap():
    rng = np.random.default_rng(6)
    confounder = rng.normal(size=6000).astype(np.float32)
    treatment = (0.7 * confounder + rng.normal(size=6000)).astype(np.float32)
    high = treatment > np.median(treatment)
    outcome = (0.4 * high + confounder + 0.5 * rng.normal(size=6000)).astype(np.float32)
    nobody, rows = np.empty((6000, 0), np.float32), np.arange(6000, dtype=np.int32)
    sample = EffectSample(outcome, treatment, nobody, confounder[:, None], high, rows, rows)
    summary, warnings = exposure_effect(sample, folds=3, seed=0)
    assert warnings == []
    assert summary["ci95"][0] <= 0.4 <= summary["ci95"][1]
    assert summary["naive"]["ci95"][0] > 0.8
    assert 0.8 < summary["overlap"]["share"] <= 1


def test_exposure_effect_is_null_without_overlap():
    sample = sample_with()
    determined = sample_with(confounders=sample.treatment[:, None])
    summary, warnings = exposure_effect(determined, folds=3, seed=0)
    assert summary is None
    assert "no overlap" in warnings[0]


def test_one_cluster_a_row_is_the_usual_robust_covariance():
    rng = np.random.default_rng(3)
    design = np.column_stack([np.ones(40), rng.normal(size=40)])
    residual = rng.normal(size=40)
    bread = np.linalg.inv(design.T @ design)
    robust = bread @ (design.T * residual**2) @ design @ bread * 40 / 38
    np.testing.assert_allclose(clustered_covariance(design, residual, np.arange(40)), robust, rtol=1e-10)


def test_repeating_rows_inside_clusters_adds_no_certainty():
    rng = np.random.default_rng(4)
    design, residual = rng.normal(size=(50, 1)), rng.normal(size=50)
    once = clustered_covariance(design, residual, np.arange(50))
    five_times = clustered_covariance(np.repeat(design, 5, 0), np.repeat(residual, 5), np.repeat(np.arange(50), 5))
    np.testing.assert_allclose(five_times, once, rtol=0.03)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"outcome": np.full(1500, 4, np.float32)}, "the outcome is constant \\(4\\)"),
        ({"treatment": np.zeros(1500, np.float32)}, "popularity never differs"),
        ({"confounders": np.zeros((1500, 600), np.float32)}, "1500 rows are too few to adjust for 600 covariates"),
        ({"item": np.arange(1500, dtype=np.int32) % 5}, "5 items are too few for 3 folds"),
    ],
)
def test_problems_are_named(changes, problem):
    assert re.search(problem, sample_with(**changes).problem(3))
    assert sample_with().problem(3) is None


def test_balance_by_hand():
    """Exposed rows have x = 1, 3 with propensity 1/2, 1/4; the others x = 0, 2 with 1/2, 1/4."""
    x = np.array([[1.0], [3.0], [0.0], [2.0]], np.float32)
    high, nothing, codes = np.array([True, True, False, False]), np.empty((4, 0), np.float32), np.arange(4)
    sample = EffectSample(x[:, 0], x[:, 0], nothing, x, high, codes, codes, ("x",))
    # raw: means 2 and 1, both variances 1; weighted: (1 * 2 + 3 * 4) / 6 and (0 * 2 + 2 * 4/3) / (10/3)
    expected = {"covariate": "x", "raw": 1.0, "weighted": 14 / 6 - 0.8}
    [found] = balance(sample, np.array([0.5, 0.25, 0.5, 0.25]))
    assert found == pytest.approx(expected)


def test_every_covariate_has_a_name():
    covariates = build_covariates(build_world(0).corpus, build_world(0).features, DebiasConfig())
    sample = effect_sample(covariates, 1000, np.random.default_rng(0))
    assert len(sample.names) == sample.modifiers.shape[1] + sample.confounders.shape[1]
    assert {"gender M", "item's mean so far", "calendar", "categories 1"} <= set(sample.names)
    assert sample.where(np.arange(5)).names == sample.names
