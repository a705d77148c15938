"""The training loop, free of Ray and DeepSpeed: it needs an engine that runs a batch, goes backward and steps."""

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from llm4rec.errors import DataError
from llm4rec.model.recommender import Outputs, Recommender
from llm4rec.train.config import TrainConfig
from llm4rec.train.objective import objective
from llm4rec.train.windows import Windows


class Engine(Protocol):
    """What the loop needs of a wrapped model; a DeepSpeed engine satisfies it as it is."""

    module: Recommender

    def __call__(self, *inputs: object) -> Outputs:
        """Run the model."""

    def backward(self, loss: Tensor) -> object:
        """Accumulate gradients."""

    def step(self) -> object:
        """Update the weights and clear the gradients."""


@dataclass
class Progress:
    """Where training stands; what is needed to go on after a kill."""

    epoch: int = 0
    best_epoch: int = -1
    best_ndcg: float = -math.inf
    curve: list[dict[str, float]] = field(default_factory=list)

    def record(self, loss: float, ndcg: float, seconds: float) -> bool:
        """Note a finished epoch; True if it is the best so far."""
        better = ndcg > self.best_ndcg
        if better:
            self.best_epoch, self.best_ndcg = self.epoch, ndcg
        self.curve.append({"epoch": self.epoch, "loss": loss, "valid_ndcg@10": ndcg, "seconds": seconds})
        self.epoch += 1
        return better

    def finished(self, config: TrainConfig) -> bool:
        """Whether the epochs are used up or validation has stopped improving."""
        return self.epoch >= config.epochs or self.epoch - 1 - self.best_epoch >= config.patience


class TorchEngine:
    """The engine without DeepSpeed: AdamW in the driver's process."""

    def __init__(self, model: Recommender, config: TrainConfig, total_steps: int) -> None:
        self.module = model
        self._optimizer = build_optimizer(model, config)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, warmup_then_decay(config, total_steps))
        self._clip = config.gradient_clipping
        self._autocast = config.precision == "bf16"

    def __call__(self, *inputs: object) -> Outputs:
        """Run the model, with bfloat16 matrix products where the config says so."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self._autocast):
            return self.module(*inputs)

    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients."""
        loss.backward()

    def step(self) -> None:
        """Clip, update, clear."""
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), self._clip)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()


def build_optimizer(model: Recommender, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW in torch's fused form, which takes about two thirds of the time of the plain one on two cores."""
    return torch.optim.AdamW(parameter_groups(model, config), weight_decay=config.weight_decay, fused=True)


def parameter_groups(model: Recommender, config: TrainConfig) -> list[dict[str, object]]:
    """The trainable parameters in two groups: the backbone with its own learning rate, and the rest."""
    backbone = [p for p in model.users.backbone.parameters() if p.requires_grad]
    known = {id(p) for p in backbone}
    rest = [p for p in model.parameters() if p.requires_grad and id(p) not in known]
    return [{"params": backbone, "lr": config.backbone_learning_rate}, {"params": rest, "lr": config.learning_rate}]


def warmup_then_decay(config: TrainConfig, total_steps: int) -> Callable[[int], float]:
    """The learning rate's factor by step: linear up, then linear down to zero."""
    warmup = max(1, int(total_steps * config.warmup_fraction))

    def factor(step: int) -> float:
        return min((step + 1) / warmup, max(0.0, (total_steps - step) / max(1, total_steps - warmup)))

    return factor


def train_epoch(
    engine: Engine,
    batches: Iterator[Windows],
    config: TrainConfig,
    report: Callable[[int, float], None] = lambda *_: None,
) -> float:
    """Run one epoch; returns the mean loss.

    Args:
        engine: the wrapped recommender.
        batches: this worker's batches.
        config: for the loss weight.
        report: called after each step with the step and its loss.

    Raises:
        DataError: the loss is not finite; the message names the batch's first item codes.
    """
    engine.module.train()
    losses = []
    for step, batch in enumerate(batches):
        loss = objective(engine.module, engine(batch.history, batch.attributes), batch, config)
        if not math.isfinite(loss.item()):
            raise DataError(
                f"the loss is {loss.item()} at step {step} of this epoch; its batch begins with item codes "
                f"{batch.history.item[0, :5].tolist()}; lower train.learning_rate or look at these items' features"
            )
        engine.backward(loss)
        engine.step()
        losses.append(loss.item())
        report(step, losses[-1])
    return sum(losses) / len(losses)


def fit(
    engine: Engine,
    windows: Windows,
    config: TrainConfig,
    *,
    seed: int,
    validate: Callable[[], float],
    on_best: Callable[[], None],
    log: Callable[[str], None] = print,
) -> Progress:
    """Train in this process with early stopping on validation NDCG@10; `on_best` is called to keep the weights."""
    progress = Progress()
    while not progress.finished(config):
        started = time.monotonic()
        loss = train_epoch(engine, windows.batches(config.batch_size, seed=seed, epoch=progress.epoch), config)
        ndcg = validate()
        if progress.record(loss, ndcg, time.monotonic() - started):
            on_best()
        log(f"epoch {progress.epoch}/{config.epochs}: loss {loss:.4f}, validation NDCG@10 {ndcg:.4f}")
    return progress
