"""Weights on disk: the same scores again, and nothing that does not fit is read."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from llm4rec.artifacts import Artifact, RunStore
from llm4rec.errors import ArtifactError, ConfigError
from llm4rec.model.recommender import Recommender
from llm4rec.model.scorer import ModelScorer
from llm4rec.train.state import DESCRIPTION, read_model, save_weights, write_model
from tests.baselines.loops import loops_corpus
from tests.corpora import history, random_features, tiny_recommender

CORPUS = loops_corpus()
FEATURES = random_features(CORPUS.num_items, {"categories": [1]})
CURVE = [{"epoch": 0, "loss": 1.5, "valid_ndcg@10": 0.25, "seconds": 0.1}]


@pytest.fixture
def network(tmp_path: Path) -> Recommender:
    torch.manual_seed(0)
    return tiny_recommender(CORPUS, FEATURES, tmp_path / "llama", lora_rank=2)


def write(folder: Path, network: Recommender, weights: Path) -> Artifact:
    store = RunStore(str(folder))
    with store.write("model", {}) as writer:
        write_model(writer, weights, network.config, network.shape, CURVE)
    return store.open("model")


@pytest.fixture
def weights(tmp_path: Path, network: Recommender) -> Path:
    path = tmp_path / "saved.safetensors"
    save_weights(network, path)
    return path


def scores(network: Recommender) -> np.ndarray:
    attributes = network.shape.attributes.encode_table(CORPUS.users)
    return ModelScorer(network, attributes).score(np.array([0, 1], np.int32), [history(0, 1, 2), history()])


def test_a_model_that_comes_back_gives_the_same_scores(tmp_path: Path, network: Recommender, weights: Path) -> None:
    artifact = write(tmp_path / "run", network, weights)
    torch.manual_seed(99)
    again = read_model(artifact, FEATURES)
    np.testing.assert_array_equal(scores(again), scores(network))
    assert not again.training and again.shape == network.shape and again.config == network.config
    assert artifact.read_json(DESCRIPTION)["curve"] == CURVE


def test_weights_are_float32_and_hold_no_content(network: Recommender, weights: Path) -> None:
    saved = load_file(weights)
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    assert not [name for name in saved if name.startswith(("content_", "present_", "retrieved"))]


def test_a_bfloat16_network_is_saved_as_float32(tmp_path: Path, network: Recommender) -> None:
    path = tmp_path / "half.safetensors"
    save_weights(network.bfloat16(), path)
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float32}


def test_features_of_other_modalities_or_widths_are_refused(
    tmp_path: Path, network: Recommender, weights: Path
) -> None:
    artifact = write(tmp_path / "run", network, weights)
    text_only = {"text": FEATURES["text"]}
    swapped = {"text": FEATURES["categories"], "categories": FEATURES["text"]}
    for features in (text_only, swapped, {**FEATURES, "image": FEATURES["text"]}):
        with pytest.raises(ArtifactError, match="was trained on modalities .*'text': 6.* the features hold"):
            read_model(artifact, features)


def test_a_model_of_chosen_modalities_comes_back_beside_features_of_more(tmp_path: Path) -> None:
    network = tiny_recommender(CORPUS, FEATURES, tmp_path / "llama", modalities=["categories"])
    save_weights(network, tmp_path / "saved.safetensors")
    artifact = write(tmp_path / "run", network, tmp_path / "saved.safetensors")
    again = read_model(artifact, {**FEATURES, "image": FEATURES["text"]})
    np.testing.assert_array_equal(scores(again), scores(network))
    with pytest.raises(ConfigError, match="no features of 'categories'"):
        read_model(artifact, {"text": FEATURES["text"]})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_with_nan_or_infinity_are_refused_by_name(
    tmp_path: Path, network: Recommender, weights: Path, value: float
) -> None:
    tensors = load_file(weights)
    tensors["users.narrow.bias"][3] = value
    save_file(tensors, weights)
    with pytest.raises(ArtifactError, match=r"NaN or infinity in \['users.narrow.bias'\]"):
        read_model(write(tmp_path / "run", network, weights), FEATURES)


@pytest.mark.parametrize("damage", ["missing", "surplus", "reshaped"])
def test_weights_of_another_network_are_refused(
    tmp_path: Path, network: Recommender, weights: Path, damage: str
) -> None:
    tensors = load_file(weights)
    if damage == "missing":
        del tensors["users.narrow.bias"]
    elif damage == "surplus":
        tensors["users.extra.bias"] = torch.zeros(3)
    else:
        tensors["items.id_emb.weight"] = tensors["items.id_emb.weight"][:-1].contiguous()
    save_file(tensors, weights)
    named = {"missing": "users.narrow.bias", "surplus": "users.extra.bias", "reshaped": "items.id_emb.weight"}
    with pytest.raises(ArtifactError, match=f"do not fit: .*{named[damage]}") as caught:
        read_model(write(tmp_path / "run", network, weights), FEATURES)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_safetensors_is_refused(tmp_path: Path, network: Recommender, weights: Path) -> None:
    weights.write_bytes(b"not weights")
    with pytest.raises(ArtifactError, match="weights in model.safetensors do not fit: .*header"):
        read_model(write(tmp_path / "run", network, weights), FEATURES)
