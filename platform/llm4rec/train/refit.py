"""How a refit is trained: one more pass, over everything, from the weights that were measured."""

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
