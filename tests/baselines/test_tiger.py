"""The exact scores that a model of semantic ids gives."""

import numpy as np
import torch

from llm4rec.baselines.config import TIGERConfig
from llm4rec.baselines.tiger import TIGERNetwork, walk
from llm4rec.semantic_ids import SemanticIds, tree

NUM_ITEMS = 23


def some_vectors(seed: int, distinct: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(distinct, 3)).astype(np.float32)[rng.integers(distinct, size=NUM_ITEMS)]


def small_network() -> TIGERNetwork:
    torch.manual_seed(0)
    codes = SemanticIds.fit(some_vectors(1, 9), levels=2, codebook_size=4, seed=0).codes
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


def test_the_walk_passes_where_there_is_a_choice_alone():
    """Of the first codes 0 leads to a choice only at its end, 1 to none, 2 to one at once."""
    codes = np.array([[0, 0, 0], [0, 0, 1], [1, 2, 0], [2, 0, 0], [2, 1, 0]], np.int32)
    first, second, third = walk(tree(codes)[0])
    assert first.child.tolist() == [0, 1, 2]
    assert first.onward.tolist() == [0, 2]
    assert second.parent.tolist() == [0, 1, 2, 2]
    assert second.child.tolist() == [0, 2, 3]
    assert second.way.tolist() == [0, 1, 1]
    assert second.code.tolist() == [0, 0, 1]
    assert second.onward.tolist() == [0]
    assert third.child.tolist() == [0, 1]
    assert third.way.tolist() == [0, 0]
    assert third.code.tolist() == [0, 1]
    assert third.onward.tolist() == []


def test_items_that_all_differ_in_their_first_code_have_its_chance():
    codes = np.array([[0, 1], [1, 0], [2, 1]], np.int32)
    network = TIGERNetwork(codes, TIGERConfig(embedding_size=16, history_length=6)).eval()
    with torch.no_grad():
        scores = network.item_scores([np.array([1, 2], np.int32)])
    torch.testing.assert_close(scores.exp().sum(dim=1), torch.ones(1))
    assert len(scores[0].unique()) == 3
