"""One real SmolLM2 layer with random weights over a small corpus, built once."""

from pathlib import Path

import pytest
import torch

from llm4rec.artifacts import RunStore
from llm4rec.model.config import ModelConfig
from llm4rec.model.recommender import Recommender
from llm4rec.schema import Corpus
from tests.corpora import random_features, shape_of, write_small_corpus


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    store = RunStore(str(Path(tmp_path_factory.mktemp("small"))))
    with store.write("corpus", {}) as writer:
        write_small_corpus(writer)
    return Corpus.read(store.open("corpus"))


@pytest.fixture(scope="session")
def recommender(corpus: Corpus) -> Recommender:
    """In evaluation mode; tests must leave it as it is."""
    features = random_features(5, {"text": [3]})
    config = ModelConfig(pretrained=False, num_layers=1, embedding_size=16, history_length=6, num_retrieved=2)
    torch.manual_seed(0)
    return Recommender(config, shape_of(corpus, features, 6), features).eval()
