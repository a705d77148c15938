"""States at all positions of training windows."""

from pathlib import Path

import numpy as np
import pytest
import torch

from llm4rec.model.recommender import Recommender
from llm4rec.model.scorer import ModelScorer
from llm4rec.schema import TRAIN
from llm4rec.train.states import train_states
from tests.baselines.loops import LENGTH, NUM_USERS, loops_corpus
from tests.corpora import random_features, tiny_recommender

CORPUS = loops_corpus()
TARGETS = NUM_USERS * (LENGTH - 2)  # every train interaction is the target of a state, the first one's of the empty one


@pytest.fixture
def network(tmp_path: Path) -> Recommender:
    torch.manual_seed(0)
    return tiny_recommender(CORPUS, random_features(CORPUS.num_items), tmp_path / "llama")


def test_every_target_has_the_state_before_it(network: Recommender) -> None:
    scorer = ModelScorer(network, network.shape.attributes.encode_table(CORPUS.users))
    states = train_states(scorer, CORPUS, 10_000, seed=0)
    assert states.shape == (TARGETS, network.config.embedding_size)
    before_last = [history.first(len(history) - 1) for history in CORPUS.histories(TRAIN)]
    for state in scorer.user_states(np.arange(NUM_USERS, dtype=np.int32), before_last):
        assert np.abs(states - state).max(axis=1).min() < 1e-5


def test_no_more_than_asked_for_and_the_same_for_a_seed(network: Recommender) -> None:
    scorer = ModelScorer(network, network.shape.attributes.encode_table(CORPUS.users))
    one, other = (train_states(scorer, CORPUS, 20, seed=1) for _ in range(2))
    assert len(one) == 20
    np.testing.assert_array_equal(one, other)
