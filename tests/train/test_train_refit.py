"""How a refit is trained."""

from pathlib import Path

import numpy as np

from llm4rec.artifacts import RunStore
from llm4rec.model.recommender import Shape
from llm4rec.schema import TRAIN, Corpus
from llm4rec.train.config import TrainConfig
from llm4rec.train.refit import EPOCHS, RATE, refit_config, refit_shape
from tests.corpora import random_features, tiny_recommender, write_small_corpus


def test_only_rates_and_epochs_change() -> None:
    config = TrainConfig(epochs=9, learning_rate=1e-2, backbone_learning_rate=1e-3, batch_size=7)
    found = refit_config(config)
    assert (found.epochs, found.learning_rate, found.backbone_learning_rate) == (EPOCHS, RATE * 1e-2, RATE * 1e-3)
    changed = {"epochs": 9, "learning_rate": 1e-2, "backbone_learning_rate": 1e-3}
    assert found.model_copy(update=changed) == config


def test_its_shape_is_the_measured_one_but_for_who_may_learn(tmp_path: Path) -> None:
    store = RunStore(str(tmp_path))
    with store.write("corpus", {}) as writer:
        write_small_corpus(writer)
    corpus, features = Corpus.read(store.open("corpus")), random_features(5)
    model = tiny_recommender(corpus, features, tmp_path / "llama")
    everything = corpus.as_train()
    found = refit_shape(model.shape, model.config, everything, features)
    assert model.shape.by_content_alone == (2,) and found.by_content_alone == ()
    anew = Shape.of(everything, features, model.config)
    assert found.history == model.shape.history != anew.history, "values of the train split alone make its codes"
    assert not np.array_equal(corpus.part(TRAIN).value, everything.part(TRAIN).value)
