"""The repair of a model's states: learnt from the train split, applied to every state that is asked for."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from llm4rec.errors import ConfigError
from llm4rec.model.scorer import ModelScorer
from llm4rec.recommend.repairs import learn_repair
from llm4rec.schema import TRAIN, USER_ID, Corpus
from tests.baselines.loops import loops_corpus
from tests.corpora import random_features, tiny_recommender

PLAIN = loops_corpus()
WOMEN = np.arange(PLAIN.num_users) % 2 == 1
USERS = pa.table({USER_ID: PLAIN.users[USER_ID], "gender": np.where(WOMEN, "F", "M")})
CORPUS = Corpus(PLAIN.interactions, PLAIN.items, USERS, PLAIN.events, PLAIN.num_warm_items)


@pytest.fixture
def scorer(tmp_path: Path) -> ModelScorer:
    torch.manual_seed(0)
    model = tiny_recommender(CORPUS, random_features(CORPUS.num_items), tmp_path / "llama")
    found = ModelScorer(model, model.shape.attributes.encode_table(CORPUS.users))
    found.repaired = model.shape.attributes.places(["gender"], "index.repaired")
    return found


def states(scorer: ModelScorer, **options: bool) -> np.ndarray:
    return scorer.user_states(np.arange(CORPUS.num_users, dtype=np.int32), CORPUS.histories(TRAIN), **options)


def gap(of_users: np.ndarray) -> float:
    return float(np.linalg.norm(of_users[WOMEN].mean(axis=0) - of_users[~WOMEN].mean(axis=0)))


def test_groups_have_one_mean_state_afterwards(scorer: ModelScorer) -> None:
    before = states(scorer)
    scorer.repair = learn_repair(scorer, CORPUS, 1.0)
    assert gap(before) > 0.01
    assert gap(states(scorer)) < gap(before) / 100
    np.testing.assert_array_equal(states(scorer, repaired=False), before)


def test_scores_are_of_repaired_states(scorer: ModelScorer) -> None:
    users, histories = np.arange(4, dtype=np.int32), CORPUS.histories(TRAIN)[:4]
    before = scorer.score(users, histories)
    scorer.repair = learn_repair(scorer, CORPUS, 1.0)
    assert not np.allclose(scorer.score(users, histories), before)


def test_an_unknown_attribute_is_named(scorer: ModelScorer) -> None:
    with pytest.raises(ConfigError, match=r"index\.repaired: no user attribute 'income'; the corpus has gender"):
        scorer.model.shape.attributes.places(["income"], "index.repaired")
