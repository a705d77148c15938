"""Weights on disk: what a recommender needs to be rebuilt, as safetensors and JSON. Nothing is ever unpickled."""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from llm4rec.artifacts import Artifact, ArtifactWriter
from llm4rec.errors import ArtifactError
from llm4rec.model.config import ModelConfig
from llm4rec.model.items import chosen_features
from llm4rec.model.recommender import Recommender, Shape
from llm4rec.schema import Features

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"


def save_weights(model: nn.Module, path: Path) -> None:
    """Write all weights as float32 safetensors."""
    save_file({name: w.detach().float().cpu().contiguous() for name, w in model.state_dict().items()}, path)


def write_model(
    writer: ArtifactWriter, weights: Path, config: ModelConfig, shape: Shape, curve: list[dict[str, float]]
) -> None:
    """Write a model artifact from saved weights."""
    writer.write_file(WEIGHTS, weights)
    writer.write_json(DESCRIPTION, {"config": config.model_dump(mode="json"), "shape": shape.to_json(), "curve": curve})


def described(artifact: Artifact) -> tuple[ModelConfig, Shape]:
    """The network of a model artifact."""
    description = json.loads(artifact.read_bytes(DESCRIPTION))
    return ModelConfig(**description["config"]), Shape.from_json(description["shape"])


def read_model(artifact: Artifact, features: Features, *, to_learn: Shape | None = None) -> Recommender:
    """Rebuild a trained recommender over the catalogue that `features` describe.

    Args:
        artifact: of the model.
        features: of its catalogue.
        to_learn: its shape where more items shall learn an id vector than did.

    Raises:
        ArtifactError: the weights do not fit the network their description asks for, or hold NaN.
    """
    config, shape = described(artifact)
    shape = to_learn or shape
    widths = {name: modality.width for name, modality in chosen_features(features, config).items()}
    if widths != shape.widths:
        raise ArtifactError(f"{artifact.path} was trained on modalities {shape.widths}, the features hold {widths}")
    model = Recommender(config, shape, features, with_weights=False)
    try:
        with artifact.local_file(WEIGHTS) as path:
            weights = load_file(path)
        model.load_state_dict(weights)
    except (RuntimeError, SafetensorError) as error:
        raise ArtifactError(
            f"{artifact.path}: weights in {WEIGHTS} do not fit: {' '.join(str(error).split())[:300]}"
        ) from None
    if bad := [name for name, w in weights.items() if not torch.isfinite(w).all()]:
        raise ArtifactError(f"{artifact.path}: weights hold NaN or infinity in {bad[:3]}")
    return model.eval()
