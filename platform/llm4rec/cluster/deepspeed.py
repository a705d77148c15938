"""DeepSpeed around the single-device recommender: the engine, its configuration."""

import os
from typing import Any, Protocol

import torch

from llm4rec.model.recommender import Recommender
from llm4rec.train.config import TrainConfig
from llm4rec.train.loop import Engine, build_optimizer, warmup_then_decay


class CheckpointingEngine(Engine, Protocol):
    """What of a DeepSpeed engine is used beyond the training loop."""

    module: Recommender

    def save_checkpoint(self, folder: str, *, tag: str) -> object:
        """Write the state of this rank."""

    def load_checkpoint(self, folder: str, *, tag: str) -> tuple[str | None, object]:
        """Read the state of this rank; None where there is none."""


def build_engine(model: Recommender, config: TrainConfig, *, world_size: int, total_steps: int) -> CheckpointingEngine:
    """Wrap a recommender in a DeepSpeed engine; call it on every rank, in an initialised process group."""
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"  # Ray does not hand this variable to workers
    import deepspeed  # picks its accelerator when imported

    optimizer = build_optimizer(model, config)  # torch's own: DeepSpeed's is compiled on first use and hangs on CPU
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_then_decay(config, total_steps))
    engine, *_ = deepspeed.initialize(
        model=model, optimizer=optimizer, lr_scheduler=schedule, config=settings(config, world_size)
    )
    return engine


def settings(config: TrainConfig, world_size: int) -> dict[str, Any]:
    """DeepSpeed's configuration for a train stage."""
    return {
        "train_micro_batch_size_per_gpu": max(1, config.batch_size // world_size),
        "gradient_clipping": config.gradient_clipping,
        "zero_optimization": {"stage": config.zero_stage},
        "bf16": {"enabled": config.precision == "bf16"},
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }
