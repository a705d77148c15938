"""A finished run of the small corpus on the disk, as the stages would leave it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from llm4rec.artifacts import RunStore
from llm4rec.cluster.index import user_states
from llm4rec.debias.result import Effects, write_effects
from llm4rec.encode.config import EncodeConfig
from llm4rec.index.evidence import EvidenceStore
from llm4rec.index.passages import Passage
from llm4rec.index.user_states import write_states
from llm4rec.index.vectors import ItemIndex
from llm4rec.model.scorer import ModelScorer
from llm4rec.recommend.gate import Gate
from llm4rec.recommend.prices import Prices
from llm4rec.schema import Corpus
from llm4rec.train.state import WEIGHTS, save_weights, write_model
from tests.corpora import random_features, tiny_recommender, write_features, write_small_corpus


def write_run(folder: Path, seed: int, *, wrong_states: float | None = None) -> str:
    """Write all artifacts that serving opens; models of two seeds differ.

    Args:
        folder: new.
        seed: of the model's weights.
        wrong_states: stands in the place of all states of users.
    """
    store = RunStore(str(folder))
    with store.write("corpus", {}) as writer:
        write_small_corpus(writer)
    corpus, features = Corpus.read(store.open("corpus")), random_features(5)
    with store.write("features", {}) as writer:
        write_features(writer, corpus.item_ids, features)
    torch.manual_seed(seed)
    model = tiny_recommender(corpus, features, folder / "llama")
    with store.write("model", {}) as writer:
        save_weights(model, folder / WEIGHTS)
        write_model(writer, folder / WEIGHTS, model.config, model.shape, [])
    with store.write("effects", {}) as writer:
        write_effects(writer, corpus, effects())
    scorer = ModelScorer(model, model.shape.attributes.encode_table(corpus.users))
    states = user_states(scorer, corpus)
    with store.write("index", {"inputs": {"model": store.open("model").hash}}) as writer:
        ItemIndex.build(scorer.item_vectors.numpy()).write(writer)
        Gate.shut(corpus.num_warm_items).write(writer)
        Prices(np.array([0.3, -0.1, -0.1, 0.1, -0.2], np.float32), {}).write(writer)
        write_states(writer, states if wrong_states is None else np.full_like(states, wrong_states))
        passage = Passage(passage_id="p0", item=0, source="facts", text="A film.", subjects=())
        EvidenceStore.build([passage], np.ones((1, 6), np.float32)).write(writer)
    return str(folder)


def effects() -> Effects:
    """Some effects of popularity."""
    return Effects(
        propensity=np.full(6, 0.5, np.float32),
        weight=np.ones(6, np.float32),
        user_effect=np.array([0.5, -0.25, 0.05], np.float32),
        popularity=np.array([1.5, -0.5, -0.5, 0.5, -1.0], np.float32),
        summary={"outcome_model": False},
    )


class WordsAsNumbers:
    """In the place of the text encoder: counts a text's letters in six classes."""

    def __init__(self, config: EncodeConfig) -> None: ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of width 6."""
        return np.stack([np.bincount([ord(letter) % 6 for letter in text], minlength=6) for text in texts]).astype("f4")
