"""Semantic ids, and the exact scores that a model of them gives."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm4rec.baselines.semantic_ids import semantic_ids, tree
from llm4rec.baselines.tiger import TIGERConfig, TIGERNetwork

NUM_ITEMS = 23


def some_vectors(seed: int, distinct: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(distinct, 3)).astype(np.float32)[rng.integers(distinct, size=NUM_ITEMS)]


@given(st.integers(0, 9), st.integers(1, NUM_ITEMS))
def test_every_item_has_codes_of_its_own_even_where_contents_are_equal(seed, distinct):
    codes = semantic_ids(some_vectors(seed, distinct), levels=2, codebook_size=4, seed=0)
    assert codes.shape == (NUM_ITEMS, 3)
    assert len(np.unique(codes, axis=0)) == NUM_ITEMS
    assert codes.min() == 0
    assert codes[:, :2].max() < 4


def test_two_far_clusters_differ_in_the_first_code():
    vectors = np.array([[9, 0], [9, 1], [-9, 0], [-9, 1]], np.float32)
    codes = semantic_ids(vectors, levels=2, codebook_size=2, seed=0)
    assert codes[0, 0] == codes[1, 0] != codes[2, 0] == codes[3, 0]
    # What the first centres leave is told apart by the second level, so no item needs the third code.
    assert codes[0, 1] == codes[2, 1] != codes[1, 1] == codes[3, 1]
    assert codes[:, 2].tolist() == [0, 0, 0, 0]


def test_the_tree_leads_from_the_root_to_every_item():
    codes = semantic_ids(some_vectors(0, 9), levels=2, codebook_size=4, seed=0)
    levels, leaf = tree(codes)
    node = leaf
    for level, column in zip(reversed(levels), codes.T[::-1], strict=True):
        np.testing.assert_array_equal(level.code[node], column)
        node = level.parent[node]
    assert (node == 0).all()


def small_network() -> TIGERNetwork:
    torch.manual_seed(0)
    codes = semantic_ids(some_vectors(1, 9), levels=2, codebook_size=4, seed=0)
    config = TIGERConfig(embedding_size=16, num_heads=2, num_blocks=2, history_length=6)
    return TIGERNetwork(codes, config).eval()


def test_scores_are_the_probabilities_of_teacher_forced_codes():
    """Each item's codes, read one by one after the history, against the walk down the tree."""
    network = small_network()
    rows = [np.array([3, 1, 4], np.int32), np.array([], np.int32), np.array([5, 9, 2, 6, 5, 3], np.int32)]
    with torch.no_grad():
        scores = network.item_scores(rows)
        expected = torch.stack([torch.stack([forced(network, row, item) for item in range(NUM_ITEMS)]) for row in rows])
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


def forced(network: TIGERNetwork, row: np.ndarray, item: int) -> torch.Tensor:
    states = network(torch.tensor([[*row.tolist(), item]]))[0, -1]
    total = torch.zeros(())
    for level in range(network.num_codes):
        alike = (network.codes[:, :level] == network.codes[item, :level]).all(dim=1)
        valid = network.codes[alike, level].unique()
        log_p = network.level_logits(states[level], level)[valid].log_softmax(dim=0)
        total = total + log_p[valid == network.codes[item, level]].squeeze()
    return total


def test_the_chances_of_all_items_add_up_to_one():
    network = small_network()
    with torch.no_grad():
        scores = network.item_scores([np.array([7, 7, 1], np.int32), np.array([0], np.int32)])
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(2))
