"""Intervals cover, p-values are uniform under the null and small under a real difference, Holm by hand."""

import numpy as np
import pytest

from llm4rec.evaluate.bootstrap import confidence_interval, holm, paired_p_value


def test_interval_matches_the_normal_one_and_is_seeded():
    values = np.random.default_rng(0).normal(3, 2, 400).astype(np.float32)
    low, high = confidence_interval(values, 2000, seed=1)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.03)
    assert high == pytest.approx(values.mean() + half, abs=0.03)
    assert confidence_interval(values, 200, seed=1) == confidence_interval(values, 200, seed=1)
    assert confidence_interval(values, 200, seed=1) != confidence_interval(values, 200, seed=2)


def test_interval_leaves_out_undefined_values():
    assert confidence_interval(np.array([2, np.nan, 2], np.float32), 50, seed=0) == (2.0, 2.0)


def test_same_model_is_never_better_than_itself():
    values = np.random.default_rng(0).random(50)
    assert paired_p_value(values, values, 200, seed=0) == 1.0


def test_p_value_tells_a_real_difference():
    rng = np.random.default_rng(0)
    theirs = rng.random(200)
    ours = theirs + 0.1 + rng.normal(0, 0.2, 200)
    assert paired_p_value(ours, theirs, 1000, seed=0) == pytest.approx(1 / 1001)
    assert paired_p_value(ours, theirs, 500, seed=3) == paired_p_value(theirs, ours, 500, seed=3)


def test_p_value_is_uniform_when_there_is_no_difference():
    rng = np.random.default_rng(0)
    p_values = [paired_p_value(rng.normal(size=60), rng.normal(size=60), 200, seed) for seed in range(200)]
    assert np.mean(np.array(p_values) < 0.1) == pytest.approx(0.1, abs=0.06)


def test_holm():
    # 3 * 0.01, 2 * 0.02 and 0.03, which may not fall below the one before it.
    assert holm({"a": 0.02, "b": 0.01, "c": 0.03}) == pytest.approx({"a": 0.04, "b": 0.03, "c": 0.04})
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({}) == {}


def test_users_without_a_value_take_no_part_in_the_test():
    rng = np.random.default_rng(0)
    ours, theirs = rng.random(100), rng.random(100)
    ours[3], theirs[7] = np.nan, np.nan
    defined = np.isfinite(ours + theirs)
    alone = paired_p_value(ours[defined], theirs[defined], 300, seed=0)
    assert paired_p_value(ours, theirs, 300, seed=0) == alone > 0.01
