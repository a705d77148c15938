"""Configuration of the train stage."""

from typing import Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from llm4rec.config import Precision, StrictModel
from llm4rec.model.config import ModelConfig, OutcomeLoss


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
    accumulation: PositiveInt = 1
    """A worker's windows of a step are read in so many parts, one after the other, which takes less memory."""
    gradient_checkpointing: bool = False
    """Whether the backbone computes its activations again in the backward pass, which takes less memory and longer."""
    learning_rate: PositiveFloat = 1e-3
    """Peak learning rate of everything outside the backbone."""
    backbone_learning_rate: PositiveFloat = 2e-4
    """Peak learning rate of the backbone (or of its LoRA)."""
    warmup_fraction: float = Field(default=0.05, ge=0, le=1)
    """Share of all steps with a linear warm-up; a linear decay to zero follows."""
    weight_decay: NonNegativeFloat = 0.01
    """AdamW's decoupled weight decay."""
    gradient_clipping: PositiveFloat = 1.0
    """Gradients are scaled down to this norm."""
    causal_weight: NonNegativeFloat = 0.1
    """beta: share of the inverse-propensity weighted loss next to the plain one."""
    rank_weight: NonNegativeFloat = 1.0
    """Weight of the ranking loss, plain and causal. 0 learns outcomes alone, which the train stage refuses: all later
    stages rank."""
    outcome_weight: NonNegativeFloat = 1.0
    """Weight of the outcome loss, where `model.outcome` is on."""
    outcome_loss: OutcomeLoss = "doubly_robust"
    """How that loss over all items is estimated from the observed ones: naive, weighted by the debias stage's weights,
    or doubly robust."""
    adversary_weight: NonNegativeFloat = 0.0
    """lambda: how strongly user states are moved to hide `model.protected` from the adversary."""
    parity_weight: NonNegativeFloat = 0.0
    """Weight of the penalty on showing popular items to groups of `model.protected` in different shares; it is of the
    windows that a worker reads at once, so give these many, from all groups."""
    parity_tolerance: NonNegativeFloat = 0.0
    """Differences of shares up to this one cost nothing."""
    num_workers: NonNegativeInt | tuple[PositiveInt, PositiveInt] = 2
    """Ray Train workers; 0 trains in the driver's process with plain PyTorch, without checkpoints. The fewest and the
    most let training begin with what the cluster has, grow when nodes join, and shrink when they leave."""
    zero_stage: Literal[0, 1, 2, 3] = 2
    """DeepSpeed ZeRO stage: optimiser states (1), gradients (2) and weights (3) are shared out among the workers."""
    precision: Precision = "auto"
    """What weights and activations are held in while training; the optimiser keeps float32 copies. `auto`: bf16 where
    all workers have instructions for it, else fp32, since a CPU without them takes fifty times as long for bf16."""
    checkpoint_steps: PositiveInt | None = None
    """Steps between two checkpoints; null writes them at the ends of epochs alone, where there is always one."""
    max_failures: NonNegativeInt = 2
    """How often in a row, without a new checkpoint, a run restarts by itself after a worker died."""

    @model_validator(mode="after")
    def _fewest_workers_first(self) -> Self:
        if isinstance(self.num_workers, tuple) and self.num_workers[0] > self.num_workers[1]:
            raise ValueError(f"num_workers must be the fewest and the most, got {list(self.num_workers)}")
        return self

    @model_validator(mode="after")
    def _weights_have_something_to_act_on(self) -> Self:
        if self.rank_weight == 0 and not (self.model.outcome and self.outcome_weight > 0):
            raise ValueError("rank_weight 0 leaves nothing to learn; set model.outcome and an outcome_weight above 0")
        if (self.adversary_weight or self.parity_weight) and not self.model.protected:
            raise ValueError("adversary_weight and parity_weight need model.protected, the attributes to protect")
        if self.adversary_weight and self.zero_stage == 3 and self.num_workers != 0:
            raise ValueError(
                "adversary_weight needs zero_stage 0, 1 or 2: stage 3 takes the adversary apart while the states are "
                "shown to it standing still"
            )
        return self
