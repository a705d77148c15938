"""How a refit is trained: one more pass, over everything, from the weights that were measured."""

from dataclasses import replace

from llm4rec.model.config import ModelConfig
from llm4rec.model.recommender import Shape
from llm4rec.schema import Corpus, Features
from llm4rec.train.config import TrainConfig

EPOCHS = 1
RATE = 0.3
"""Of the learning rates that the weights were trained with."""


def refit_config(config: TrainConfig) -> TrainConfig:
    """The settings of the refit of a model that was trained with `config`."""
    return config.model_copy(
        update={
            "epochs": EPOCHS,
            "learning_rate": RATE * config.learning_rate,
            "backbone_learning_rate": RATE * config.backbone_learning_rate,
        }
    )


def refit_shape(measured: Shape, network: ModelConfig, corpus: Corpus, features: Features) -> Shape:
    """That of the measured model, but that items which only the refit's corpus has interactions of may learn, too.

    Args:
        measured: shape of the model that goes on learning; what is read keeps its codes.
        network: its settings.
        corpus: whose train split the refit learns of.
        features: of its items.
    """
    return replace(measured, by_content_alone=Shape.of(corpus, features, network).by_content_alone)
