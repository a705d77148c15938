"""A log of four users and five items, small enough to rank by hand."""

import numpy as np
import pyarrow as pa
import pytest

from llm4rec.schema import ITEM_ID, TEST, TITLE, TRAIN, USER_ID, VALID, Corpus, Interactions

# user, item, split; user 2 has a test item but nothing before it, user 3 nothing to test on.
LOG = [
    (0, 0, TRAIN),
    (0, 1, TRAIN),
    (0, 2, VALID),
    (0, 3, TEST),
    (0, 4, TEST),
    (1, 1, TRAIN),
    (1, 0, VALID),
    (1, 1, TEST),
    (2, 2, TEST),
    (3, 0, TRAIN),
]


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    user, item, split = (np.array(column, np.int32) for column in zip(*LOG, strict=True))
    size = len(LOG)
    log = Interactions(user, item, np.arange(size), np.ones(size, np.float32), np.zeros(size, np.int32), split)
    items = pa.table({ITEM_ID: list("abcdef"), TITLE: ["Alpha", "Beta", "Gamma", "Delta", "Epsilon", "Cold"]})
    users = pa.table({USER_ID: ["u0", "u1", "u2", "u3"], "gender": ["F", "M", None, "F"], "age": [20, 30, 40, 50]})
    return Corpus(log, items, users, ("view",), num_warm_items=5)
