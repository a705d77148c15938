"""Any corpus trains: without text, with sound as frames, with ids alone; and the choice of modalities is kept."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from llm4rec.errors import ConfigError
from llm4rec.model.config import ModelConfig
from llm4rec.model.recommender import Recommender, Shape
from llm4rec.model.scorer import ModelScorer
from llm4rec.schema import Corpus, Modality
from tests.corpora import history, random_features, tiny_recommender

PAST = history(0, 1, 2, 3, 1)


def features() -> dict[str, Modality]:
    """Text, categories, and a sound of 4 frames of 3 mels that two items lack."""
    mel = np.random.default_rng(3).normal(size=(5, 12)).astype(np.float32)
    mel[[1, 4]] = 0
    return random_features(5) | {"mel": Modality(mel, np.array([True, False, True, True, False]), (4, 3))}


def step(model: Recommender) -> torch.Tensor:
    """One training pass: scores, with gradients in the parameters."""
    scores = model.train()(model.shape.history.encode([PAST]), np.array([[1, 1]])).scores
    scores[0, -1, 0].backward()
    return scores


CHOICES = [["mel"], ["categories"], ["categories", "mel"], ["text", "mel"], None]


@pytest.mark.parametrize("chosen", CHOICES)
def test_any_set_of_modalities_trains_and_scores(corpus: Corpus, tmp_path: Path, chosen: list[str] | None) -> None:
    model = tiny_recommender(corpus, features(), tmp_path, modalities=chosen)
    names = sorted(chosen or features())
    assert sorted(model.shape.widths) == names == model.items.fusion.names
    assert model.shape.frames == ({"mel": 4} if "mel" in names else {})
    assert step(model).shape == (1, 6, 4)
    for name in names:
        assert all(p.grad is not None and p.grad.any() for p in model.items.fusion.project[name].parameters())
    assert np.isfinite(ModelScorer(model, np.array([[1, 1]])).score(np.array([0], np.int32), [PAST])).all()


@pytest.mark.parametrize("encoded", [{}, random_features(5)])
def test_ids_alone_train_and_score(corpus: Corpus, tmp_path: Path, encoded: dict[str, Modality]) -> None:
    model = tiny_recommender(corpus, encoded, tmp_path, modalities=[])
    assert model.items.fusion is None and not [name for name, _ in model.named_buffers() if "content" in name]
    assert torch.isfinite(step(model)).all() and model.items.id_emb.weight.grad.any()
    with torch.no_grad():
        vectors = model.eval().item_vectors()
    assert vectors.shape == (5, 16) and not vectors[4].any()  # nothing is known of the cold item
    weights, present = model.modality_weights()
    assert weights.shape == present.shape == (5, 0)
    assert np.isfinite(ModelScorer(model, np.array([[1, 1]])).score(np.array([0], np.int32), [PAST])).all()


def test_ids_alone_do_not_depend_on_the_features(corpus: Corpus, tmp_path: Path) -> None:
    found = []
    for encoded in ({}, features()):
        torch.manual_seed(2)
        model = tiny_recommender(corpus, encoded, tmp_path, modalities=[]).eval()
        with torch.no_grad():
            found.append(model(model.shape.history.encode([PAST]), np.array([[1, 1]])).scores)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)


def test_a_modality_that_was_not_encoded_is_refused(corpus: Corpus) -> None:
    with pytest.raises(
        ConfigError, match=r"train.model.modalities: no features of 'image', 'tekst'; .*categories, text"
    ):
        Shape.of(corpus, random_features(5), ModelConfig(modalities=("text", "tekst", "image")))
    with pytest.raises(ConfigError, match="no features of 'text'; the encode stage made none"):
        Shape.of(corpus, {}, ModelConfig(modalities=("text",)))


def test_a_shape_with_frames_survives_json(corpus: Corpus) -> None:
    shape = Shape.of(corpus, features(), ModelConfig())
    assert Shape.from_json(json.loads(json.dumps(shape.to_json()))) == shape


def test_modality_weights_are_those_of_the_fusion(corpus: Corpus, tmp_path: Path) -> None:
    model = tiny_recommender(corpus, features(), tmp_path).eval()
    with torch.no_grad():
        weights, present = model.modality_weights()
    assert model.items.fusion.names == ["categories", "mel", "text"]
    assert present.T.tolist() == [features()[name].present.tolist() for name in model.items.fusion.names]
    torch.testing.assert_close(weights.sum(1), torch.ones(5))
    assert not weights[[1, 4], 1].any() and (weights[present] > 0).all()
