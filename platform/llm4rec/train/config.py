"""Configuration of the train stage."""

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from llm4rec.config import StrictModel
from llm4rec.model.config import ModelConfig


class TrainConfig(StrictModel):
    """How the network is trained."""

    model: ModelConfig = ModelConfig()
    """The network."""
    epochs: PositiveInt = 12
    """Passes over the training interactions, at most."""
    patience: PositiveInt = 3
    """Stop after this many epochs without a better NDCG@10 on the validation split."""
    batch_size: PositiveInt = 32
    """Windows a step, over all workers."""
    learning_rate: PositiveFloat = 1e-3
    """Peak learning rate of everything outside the backbone."""
    backbone_learning_rate: PositiveFloat = 2e-4
    """Peak learning rate of the backbone (or of its LoRA)."""
    warmup_fraction: NonNegativeFloat = 0.05
    """Share of all steps with a linear warm-up; a linear decay to zero follows."""
    weight_decay: NonNegativeFloat = 0.01
    """AdamW's decoupled weight decay."""
    gradient_clipping: PositiveFloat = 1.0
    """Gradients are scaled down to this norm."""
    causal_weight: NonNegativeFloat = 0.1
    """beta: share of the inverse-propensity weighted loss next to the plain one."""
    num_workers: NonNegativeInt = 2
    """Ray Train workers; 0 trains in the driver's process with plain PyTorch, without checkpoints."""
    zero_stage: Literal[0, 1, 2] = 2
    """DeepSpeed ZeRO stage: optimiser states (1) and gradients (2) are shared out among the workers."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """What weights and activations are held in while training; the optimiser keeps float32 copies."""
    max_failures: NonNegativeInt = 2
    """How often a run restarts by itself from its last checkpoint after a worker died."""
