import numpy as np
import pyarrow as pa
import pytest

from llm4rec.debias.attributes import user_attributes
from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.covariates import build_covariates, principal_components, totals_before
from llm4rec.errors import DataError
from llm4rec.schema import TEST, TRAIN, Modality
from tests.debias.synthetic_log import build_world, make_corpus, standardised_popularity


def test_totals_before_count_strictly_earlier_rows_of_the_same_key():
    key = np.array([0, 1, 0, 0, 1, 0], np.int32)
    time = np.array([5, 1, 3, 5, 2, 9])
    value = np.array([1, 10, 2, 4, 20, 8], np.float32)
    count, total = totals_before(key, time, value)
    assert count.tolist() == [1, 0, 0, 1, 1, 3]
    assert total.tolist() == [2, 0, 0, 2, 10, 7]


def test_treatment_follows_its_definition():
    world = build_world(0, num_users=30, num_items=45, length=20)
    log = world.corpus.interactions
    train = log.split == TRAIN
    covariates = build_covariates(world.corpus, world.features, DebiasConfig())
    expected = standardised_popularity(log.item, log.timestamp, train, 45)[train]
    np.testing.assert_allclose(covariates.treatment, expected, atol=1e-5)


def test_rows_outside_train_change_nothing():
    world = build_world(0, num_users=30, num_items=45, length=20)
    log = world.corpus.interactions
    held_out = log.split == TEST
    changed = log.item.copy()
    changed[held_out] = 3
    value = np.where(held_out, 99, log.value)
    other = make_corpus(log.user, changed, log.timestamp, value, log.split, ["F", "M"] * 15, 45)
    first = build_covariates(world.corpus, world.features, DebiasConfig(groups=()))
    second = build_covariates(other, world.features, DebiasConfig(groups=()))
    for name in ("activity", "popularity", "treatment", "past"):
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name))


def test_later_interactions_do_not_change_earlier_rows():
    world = build_world(0, num_users=30, num_items=45, length=20)
    log = world.corpus.interactions
    late = log.timestamp > 300
    value = np.where(late, log.value + 50, log.value)
    other = make_corpus(log.user, log.item, log.timestamp, value, log.split, ["F"] * 30, 45)
    first = build_covariates(world.corpus, world.features, DebiasConfig(groups=()))
    second = build_covariates(other, world.features, DebiasConfig(groups=()))
    early = first.train.timestamp <= 300
    mean_shift = (second.past - first.past)[early, 0]
    # Only the overall mean, the prior of a short past, has moved: the shift shrinks as the past grows.
    past_length = np.expm1(first.past[early, 2])
    expected = 5 / (past_length + 5) * float(second.train.value.mean() - first.train.value.mean())
    np.testing.assert_allclose(mean_shift, expected, atol=1e-3)


def test_principal_components_reproduce_distances_and_skip_missing_items():
    rng = np.random.default_rng(2)
    vectors = np.zeros((50, 6), np.float32)
    vectors[:, :2] = rng.normal(size=(50, 2)) * [3, 1]
    present = np.arange(50) < 40
    components, spread = principal_components(Modality(vectors, present), 4)
    np.testing.assert_allclose(spread, [1, vectors[present, 1].std() / vectors[present, 0].std()], rtol=0.2)
    assert components.shape == (50, 2)  # the other directions have no variance
    np.testing.assert_allclose(components[present].std(axis=0), 1, rtol=1e-4)
    assert not components[~present].any()


def test_age_is_binned_in_order_whether_number_or_text():
    ages = [str(age) for age in range(18, 58)]
    config = DebiasConfig(numeric_bins=4, min_group_users=2)
    for column in (pa.array(ages), pa.array([int(age) for age in ages])):
        users = pa.table({"user_id": ages, "age": column})
        (age,) = user_attributes(users, config)
        assert age.levels == ("18 to 27", "28 to 37", "38 to 47", "48 to 57")
        assert age.codes.tolist() == sorted(age.codes)


def test_rare_levels_are_pooled_and_nulls_named():
    gender = ["F"] * 6 + ["M"] * 6 + ["x", "y", "z"] + [None] * 5
    users = pa.table({"user_id": [str(n) for n in range(20)], "gender": gender})
    (attribute,) = user_attributes(users, DebiasConfig(min_group_users=3))
    assert attribute.levels == ("F", "M", "other", "unknown")
    assert np.bincount(attribute.codes).tolist() == [6, 6, 3, 5]
    assert attribute.indicators().sum(axis=0).tolist() == [6, 3, 5]


def test_columns_like_identifiers_make_no_groups():
    users = pa.table({"user_id": [str(n) for n in range(60)], "zip_code": [str(n) for n in range(60)]})
    assert user_attributes(users, DebiasConfig()) == []


def test_unknown_group_column_is_named():
    users = pa.table({"user_id": ["a"], "gender": ["F"]})
    with pytest.raises(DataError, match="'income'.*available: gender"):
        user_attributes(users, DebiasConfig(groups=("income",)))


def test_features_of_another_catalogue_are_refused():
    world = build_world(0, num_users=30, num_items=45, length=20)
    wrong = {"text": Modality(np.zeros((7, 3), np.float32), np.ones(7, bool))}
    with pytest.raises(DataError, match="'text' describes 7 items, the corpus has 45"):
        build_covariates(world.corpus, wrong, DebiasConfig())


def test_log_without_train_rows_or_with_nan_values_is_refused():
    empty = make_corpus([0, 1], [0, 1], [1, 2], [1, 2], [TEST, TEST], ["F", "M"], 2)
    with pytest.raises(DataError, match="no train interactions"):
        build_covariates(empty, {}, DebiasConfig())
    broken = make_corpus([0, 1], [0, 1], [1, 2], [1, np.nan], [TRAIN, TRAIN], ["F", "M"], 2)
    with pytest.raises(DataError, match="1 train interactions have a value"):
        build_covariates(broken, {}, DebiasConfig())
