"""Semantic ids: every item has its own, alike items share beginnings, and new items get theirs without training."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm4rec.semantic_ids import SemanticIds, tree

NUM_ITEMS = 23


def some_vectors(seed: int, distinct: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(distinct, 3)).astype(np.float32)[rng.integers(distinct, size=NUM_ITEMS)]


@given(st.integers(0, 9), st.integers(1, NUM_ITEMS))
def test_every_item_has_codes_of_its_own_even_where_contents_are_equal(seed, distinct):
    codes = SemanticIds.fit(some_vectors(seed, distinct), levels=2, codebook_size=4, seed=0).codes
    assert codes.shape == (NUM_ITEMS, 3)
    assert len(np.unique(codes, axis=0)) == NUM_ITEMS
    assert codes.min() == 0
    assert codes[:, :2].max() < 4


def test_two_far_clusters_differ_in_the_first_code():
    vectors = np.array([[9, 0], [9, 1], [-9, 0], [-9, 1]], np.float32)
    codes = SemanticIds.fit(vectors, levels=2, codebook_size=2, seed=0).codes
    assert codes[0, 0] == codes[1, 0] != codes[2, 0] == codes[3, 0]
    # What the first centres leave is told apart by the second level, so no item needs the third code.
    assert codes[0, 1] == codes[2, 1] != codes[1, 1] == codes[3, 1]
    assert codes[:, 2].tolist() == [0, 0, 0, 0]


def test_the_tree_leads_from_the_root_to_every_item():
    codes = SemanticIds.fit(some_vectors(0, 9), levels=2, codebook_size=4, seed=0).codes
    levels, leaf = tree(codes)
    node = leaf
    for level, column in zip(reversed(levels), codes.T[::-1], strict=True):
        np.testing.assert_array_equal(level.code[node], column)
        node = level.parent[node]
    assert (node == 0).all()


@given(st.integers(0, 9), st.integers(1, NUM_ITEMS))
def test_an_item_that_is_known_would_be_given_the_codes_it_has(seed, distinct):
    vectors = some_vectors(seed, distinct)
    ids = SemanticIds.fit(vectors, levels=2, codebook_size=4, seed=0)
    np.testing.assert_array_equal(ids.assign(vectors), ids.codes[:, :2])


def test_new_items_stand_behind_those_known_and_change_none_of_them():
    vectors = some_vectors(2, 9)
    ids = SemanticIds.fit(vectors, levels=2, codebook_size=4, seed=0)
    more = ids.put(np.array([NUM_ITEMS, NUM_ITEMS + 1]), vectors[[5, 5]] + np.float32(1e-6))
    np.testing.assert_array_equal(more.codes[:NUM_ITEMS], ids.codes)
    np.testing.assert_array_equal(more.codes[NUM_ITEMS:, :2], ids.codes[[5, 5], :2])
    assert len(np.unique(more.codes, axis=0)) == NUM_ITEMS + 2


def test_collisions_by_hand():
    ids = SemanticIds(np.array([[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0]], np.int32), ())
    assert ids.collisions == 0.5
