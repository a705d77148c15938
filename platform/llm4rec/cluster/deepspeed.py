"""DeepSpeed around the single-device recommender: the engine, its configuration."""

import os
from typing import Any, Protocol

import torch
import torch.distributed as dist

from llm4rec.cluster.communication import load_operator
from llm4rec.device import best_device, number_type
from llm4rec.model.recommender import Recommender
from llm4rec.train.config import TrainConfig
from llm4rec.train.loop import Engine, build_optimizer, warmup_then_decay


class DeepSpeedEngine(Engine, Protocol):
    """What of a DeepSpeed engine is used beyond the training loop."""

    module: Recommender
    optimizer: Any
    """DeepSpeed's, or PyTorch's where there is no ZeRO and no bfloat16."""
    lr_scheduler: torch.optim.lr_scheduler.LambdaLR


def build_engine(model: Recommender, config: TrainConfig, *, world_size: int, total_steps: int) -> DeepSpeedEngine:
    """Wrap a recommender in a DeepSpeed engine; call it on every rank, in an initialised process group."""
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"  # Ray does not hand this variable to workers
    import deepspeed  # picks its accelerator when imported

    if not torch.cuda.is_available():
        load_operator()
    optimizer = build_optimizer(model, config)  # torch's own: DeepSpeed's is compiled on first use and hangs on CPU
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, warmup_then_decay(config, total_steps))
    engine, *_ = deepspeed.initialize(
        model=model,
        optimizer=optimizer,
        lr_scheduler=schedule,
        config=settings(config, world_size, bfloat16=_all_in_bfloat16(config)),
    )
    if not engine.zero_optimization():
        if engine.bfloat16_enabled():
            engine.optimizer.optimizer.state.clear()  # DeepSpeed has made a step of zeros, which AdamW would count
        else:
            _note_norm(engine)
    if config.zero_stage == 3:  # read by the tower itself, not by the embedding
        deepspeed.zero.register_external_parameter(model.items, model.items.id_emb.weight)
    found: DeepSpeedEngine = engine
    return found


def settings(config: TrainConfig, world_size: int, *, bfloat16: bool) -> dict[str, Any]:
    """DeepSpeed's configuration for a train stage, whose precision has been settled."""
    return {
        "train_micro_batch_size_per_gpu": max(1, config.batch_size // (world_size * config.accumulation)),
        "gradient_accumulation_steps": config.accumulation,
        "gradient_clipping": config.gradient_clipping,
        # Gradients are small beside activations here; to lay them end to end would copy each once more.
        "zero_optimization": {"stage": config.zero_stage, "contiguous_gradients": False},
        # The training loop looks at the gradient's norm itself; this would be a pass over all gradients before that.
        "bf16": {"enabled": bfloat16, "check_grad_overflow": False},
        "steps_per_print": 10**9,
        "wall_clock_breakdown": False,
    }


def _note_norm(engine: Any) -> None:
    """Let the engine know the gradient's norm where it clips gradients itself, after which it forgets the norm."""

    def clip() -> None:
        parameters = engine.module.parameters()
        engine._global_grad_norm = torch.nn.utils.clip_grad_norm_(parameters, engine.gradient_clipping())

    engine.clip_fp32_gradients = clip


def _all_in_bfloat16(config: TrainConfig) -> bool:
    """Whether every worker's device suits it, so that all of them, whatever their nodes, train in the same numbers."""
    device = best_device()
    own = torch.tensor(float(number_type(config.precision, device) == torch.bfloat16), device=device)
    dist.all_reduce(own, op=dist.ReduceOp.MIN)
    return bool(own)
