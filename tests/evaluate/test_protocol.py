"""Who is evaluated, on what history, against which target; and the hash that names it."""

import dataclasses

import numpy as np
import pytest

from llm4rec.errors import DataError
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.schema import TEST, TRAIN, VALID


def test_test_set_has_train_and_valid_as_history(corpus):
    chosen = EvaluationSet.build(corpus, TEST)
    assert chosen.users.tolist() == [0, 1]
    assert [history.item.tolist() for history in chosen.histories] == [[0, 1, 2], [1, 0]]
    assert chosen.targets.tolist() == [3, 1]  # user 0's first test item, not the second
    assert chosen.num_items == 5


def test_valid_set_has_train_as_history(corpus):
    chosen = EvaluationSet.build(corpus, VALID)
    assert [history.item.tolist() for history in chosen.histories] == [[0, 1], [1]]
    assert chosen.targets.tolist() == [2, 0]


def test_successive_rows_have_all_that_came_before(corpus):
    chosen = EvaluationSet.successive(corpus, TEST)
    assert chosen.users.tolist() == [0, 0, 1]  # user 2 came with its only item: no history
    assert [history.item.tolist() for history in chosen.histories] == [[0, 1, 2], [0, 1, 2, 3], [1, 0]]
    assert chosen.targets.tolist() == [3, 4, 1]


def test_a_user_who_came_late_counts_from_the_second_interaction_on(corpus):
    log = corpus.interactions
    late = dataclasses.replace(log, split=np.where(log.user == 0, TEST, log.split).astype(np.int32))
    chosen = EvaluationSet.successive(dataclasses.replace(corpus, interactions=late), TEST)
    assert chosen.users.tolist() == [0, 0, 0, 0, 1]
    assert [history.item.tolist() for history in chosen.histories[:4]] == [[0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]


def test_successive_rows_are_those_of_build_where_each_user_has_one(corpus):
    first, successive = EvaluationSet.build(corpus, VALID), EvaluationSet.successive(corpus, VALID)
    assert successive.split_hash == first.split_hash


def test_cold_targets_are_left_out(corpus):
    chosen = EvaluationSet.build(dataclasses.replace(corpus, num_warm_items=3), TEST)
    assert chosen.users.tolist() == [1]
    assert EvaluationSet.successive(dataclasses.replace(corpus, num_warm_items=3), TEST).users.tolist() == [1]


def test_hash_names_users_histories_and_targets(corpus):
    original = EvaluationSet.build(corpus)
    assert original.split_hash == EvaluationSet.build(corpus).split_hash
    hashes = {original.split_hash, EvaluationSet.build(corpus, VALID).split_hash}
    for position in (0, 3):  # the oldest history item, the target
        item = corpus.interactions.item.copy()
        item[position] = 4
        changed = dataclasses.replace(corpus, interactions=dataclasses.replace(corpus.interactions, item=item))
        hashes.add(EvaluationSet.build(changed).split_hash)
    assert len(hashes) == 4


def test_nobody_to_evaluate_is_an_error(corpus):
    split = np.full(len(corpus.interactions), TRAIN, np.int32)
    only_train = dataclasses.replace(corpus, interactions=dataclasses.replace(corpus.interactions, split=split))
    for rows in (EvaluationSet.build, EvaluationSet.successive):
        with pytest.raises(DataError, match=r"the test split holds no interaction: .* preprocess\.test_fraction"):
            rows(only_train)
    only_test = dataclasses.replace(corpus.interactions, split=np.full_like(split, TEST))
    with pytest.raises(DataError, match="no user has both a history and a warm item in the test split"):
        EvaluationSet.build(dataclasses.replace(corpus, interactions=only_test))


def test_some_of_the_rows_have_a_hash_of_their_own(corpus):
    whole = EvaluationSet.build(corpus, TEST)
    assert whole.at_most(5).split_hash == whole.split_hash
    first, last = (whole.rows(np.array([row])) for row in (0, 1))
    assert len({whole.split_hash, first.split_hash, last.split_hash}) == 3
    assert whole.rows(np.array([0])).split_hash == first.split_hash and first.targets.tolist() == [3]
