"""A snapshot of a small run: a real corpus, network, index and evidence store, held in memory."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from llm4rec.artifacts import RunStore
from llm4rec.cluster.index import user_states
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.index.evidence import EvidenceStore
from llm4rec.index.passages import Passage
from llm4rec.index.vectors import ItemIndex
from llm4rec.model.scorer import ModelScorer
from llm4rec.online.log import EventLog
from llm4rec.recommend.gate import Gate
from llm4rec.recommend.prices import Prices
from llm4rec.schema import Corpus
from tests.cluster.small_run import effects
from tests.corpora import random_features, tiny_recommender, write_small_corpus


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    log = EventLog(f"sqlite:///{tmp_path}/log.db")
    yield log
    log.close()


@pytest.fixture(scope="session")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    folder = tmp_path_factory.mktemp("snapshot")
    store = RunStore(str(folder))
    with store.write("corpus", {}) as writer:
        write_small_corpus(writer)
    corpus, features = Corpus.read(store.open("corpus")), random_features(5)
    torch.manual_seed(0)
    model = tiny_recommender(corpus, features, folder / "llama")
    scorer = ModelScorer(model, model.shape.attributes.encode_table(corpus.users))
    passage = Passage(passage_id="p0", item=0, source="facts", text="A film.", subjects=())
    return Snapshot(
        corpus=corpus,
        features=features,
        effects=effects(),
        scorer=scorer,
        gate=Gate.shut(corpus.num_warm_items),
        index=ItemIndex.build(scorer.item_vectors.numpy()),
        near=None,
        id_generator=None,
        evidence=EvidenceStore.build([passage], np.ones((1, 6), np.float32)),
        prices=Prices(np.array([0.3, -0.1, -0.1, 0.1, -0.2], np.float32), {}),
        states=user_states(scorer, corpus),
        curve=[],
        version="test",
    )
