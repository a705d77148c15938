"""Labels of user groups and of target popularity."""

import dataclasses

import numpy as np
import pyarrow as pa

from llm4rec.evaluate.groups import target_popularity, user_groups
from llm4rec.schema import USER_ID


def test_categories_as_they_are_and_null_as_unknown(corpus):
    assert user_groups(corpus, "gender", np.array([2, 1, 0])).tolist() == ["unknown", "M", "F"]


def test_few_numbers_stay_values(corpus):
    assert user_groups(corpus, "age", np.array([0, 3])).tolist() == ["20", "50"]


def test_many_numbers_become_quartile_bands(corpus):
    ages = [*range(10, 90, 10), None]
    users = pa.table({USER_ID: [str(age) for age in ages], "age": ages})
    labels = user_groups(dataclasses.replace(corpus, users=users), "age", np.arange(9))
    bands = ["10 to 20"] * 2 + ["30 to 40"] * 2 + ["50 to 60"] * 2 + ["70 to 80"] * 2
    assert labels.tolist() == [*bands, "unknown"]


def test_target_popularity():
    popularity = np.array([9, 5, 4, 1, 0])
    popular = np.array([True, False, False, False, False])
    labels = target_popularity(popular, popularity, np.array([0, 1, 2, 4]))
    assert labels.tolist() == ["popular", "middle", "tail", "tail"]
