"""The repair of a trained network: fitted on what it learned from, kept with its weights, off while it trains."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from llm4rec.errors import ConfigError
from llm4rec.model.recommender import Recommender
from llm4rec.model.scorer import ModelScorer
from llm4rec.schema import TRAIN, USER_ID, Corpus
from llm4rec.train.repair import fit_repair, repair_weights
from llm4rec.train.state import save_weights
from tests.baselines.loops import loops_corpus
from tests.corpora import random_features, tiny_recommender

PLAIN = loops_corpus()
GENDER = ["F" if code % 2 else "M" for code in range(PLAIN.num_users)]
USERS = pa.table({USER_ID: PLAIN.users[USER_ID], "gender": GENDER})
CORPUS = Corpus(PLAIN.interactions, PLAIN.items, USERS, PLAIN.events, PLAIN.num_warm_items)
FEATURES = random_features(CORPUS.num_items)


def recommender(folder: Path, **settings: object) -> Recommender:
    torch.manual_seed(0)
    return tiny_recommender(CORPUS, FEATURES, folder / "llama", **settings)


def states(network: Recommender) -> np.ndarray:
    users = np.arange(CORPUS.num_users, dtype=np.int32)
    attributes = network.shape.attributes.encode_table(CORPUS.users)
    return ModelScorer(network, attributes).user_states(users, CORPUS.histories(TRAIN))


def gap(of_users: np.ndarray) -> float:
    women = np.array(GENDER) == "F"
    return float(np.linalg.norm(of_users[women].mean(axis=0) - of_users[~women].mean(axis=0)))


def test_groups_have_one_mean_state_afterwards(tmp_path: Path) -> None:
    network = recommender(tmp_path, repaired=("gender",), repair=1.0)
    before = states(network)
    fit_repair(network, network.shape.attributes.encode_table(CORPUS.users), CORPUS)
    assert gap(before) > 0.01
    assert gap(states(network)) < gap(before) / 100
    assert network.repair is not None and network.repair.strength == 1.0


def test_the_repair_is_written_with_the_weights(tmp_path: Path) -> None:
    network, path = recommender(tmp_path, repaired=("gender",)), tmp_path / "model.safetensors"
    save_weights(network, path)
    repair_weights(path, network, network.shape.attributes.encode_table(CORPUS.users), CORPUS)
    again = recommender(tmp_path, repaired=("gender",))
    repair_weights(path, again, again.shape.attributes.encode_table(CORPUS.users), CORPUS)  # reads, fits, writes
    np.testing.assert_allclose(states(again), states(network), atol=1e-5)


def test_weights_of_a_network_without_repair_are_left_alone(tmp_path: Path) -> None:
    network, path = recommender(tmp_path), tmp_path / "model.safetensors"
    save_weights(network, path)
    before = path.read_bytes()
    repair_weights(path, network, network.shape.attributes.encode_table(CORPUS.users), CORPUS)
    assert path.read_bytes() == before


def test_training_sees_states_as_they_are(tmp_path: Path) -> None:
    network = recommender(tmp_path, repaired=("gender",), repair=1.0)
    attributes = network.shape.attributes.encode_table(CORPUS.users)
    fit_repair(network, attributes, CORPUS)
    batch = network.shape.history.encode(CORPUS.histories(TRAIN)[:4])
    network.train()
    with torch.no_grad():
        lengths = network.user_states(network.item_vectors(), batch, attributes[:4]).norm(dim=-1)
    assert torch.allclose(lengths, torch.ones_like(lengths), atol=1e-5)


def test_an_unknown_attribute_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"train\.model\.repaired: no user attribute 'income'; the corpus has gender"):
        recommender(tmp_path, repaired=("income",))
