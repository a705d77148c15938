"""The training loop, free of Ray and DeepSpeed: it needs an engine that runs a batch, goes backward and steps."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
import torch
from torch import Tensor

from llm4rec.device import number_type
from llm4rec.errors import DataError
from llm4rec.model.recommender import Outputs, Recommender
from llm4rec.train.config import TrainConfig
from llm4rec.train.objective import objective
from llm4rec.train.windows import Windows

MAX_NAMED = 20


class NotFiniteError(DataError):
    """A loss or gradient that is not finite.

    Attributes:
        users: of the batch.
        items: of their histories.
    """

    def __init__(self, what: str, users: Sequence[str], items: Sequence[str]) -> None:
        super().__init__(what, users, items)  # all that pickle passes on
        self.what, self.users, self.items = what, users, items

    def __str__(self) -> str:
        return (
            f"{self.what} in a batch of the users {_listed(self.users)} with the items {_listed(self.items)}; lower "
            "train.learning_rate or look at these items' features"
        )

    @classmethod
    def of(cls, what: str, parts: Sequence[Windows]) -> Self:
        """Of the batch that these make."""
        codes = np.unique(np.concatenate([batch.history.item[batch.history.item >= 0] for batch in parts]))
        users = sorted({user for batch in parts for user in batch.user.tolist()})
        return cls(what, users, [parts[0].item_ids[code] for code in codes])


class NotFiniteGradientError(NotFiniteError):
    """One that shows in the gradient of all workers, whosever share it comes from."""


class Engine(Protocol):
    """What the loop needs of a wrapped model; a DeepSpeed engine satisfies it as it is."""

    module: Recommender

    def __call__(self, *inputs: object) -> Outputs:
        """Run the model."""

    def backward(self, loss: Tensor) -> object:
        """Accumulate gradients."""

    def step(self) -> object:
        """Update the weights and clear the gradients."""

    def get_global_grad_norm(self) -> float | Tensor | None:
        """Norm of the last step's gradient, over all workers and before it was clipped."""


@dataclass
class Progress:
    """Where training stands; what is needed to go on after a kill."""

    epoch: int = 0
    step: int = 0
    """Steps made of the epoch that is under way."""
    total_loss: float = 0.0
    """Sum of their losses."""
    seconds: float = 0.0
    """What the epoch had taken when this was last saved."""
    best_epoch: int = -1
    best_ndcg: float = -math.inf
    curve: list[dict[str, float]] = field(default_factory=list)

    def advance(self, loss: float) -> None:
        """Note a step."""
        self.step += 1
        self.total_loss += loss

    def record(self, ndcg: float | None, seconds: float) -> bool:
        """Note that the epoch has ended; True if it is the best so far, as the last is where nothing is validated."""
        point = {"epoch": self.epoch, "loss": self.total_loss / self.step}
        self.step, self.total_loss, self.seconds = 0, 0.0, 0.0
        better = ndcg is None or ndcg > self.best_ndcg
        if better:
            self.best_epoch = self.epoch
        if ndcg is not None:
            point["valid_ndcg@10"] = ndcg
            self.best_ndcg = max(ndcg, self.best_ndcg)
        self.curve.append({**point, "seconds": seconds})
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
        device = next(model.parameters()).device
        self._device, self._autocast = device.type, number_type(config.precision, device) == torch.bfloat16
        self._parts, self._read = config.accumulation, 0
        self._norm: Tensor | None = None

    def __call__(self, *inputs: object) -> Outputs:
        """Run the model, with bfloat16 matrix products where the config says so."""
        with torch.autocast(self._device, torch.bfloat16, enabled=self._autocast):
            return self.module(*inputs)

    def backward(self, loss: Tensor) -> None:
        """Accumulate gradients of the mean over a step's parts."""
        (loss / self._parts).backward()

    def step(self) -> None:
        """Clip, update, clear, once all parts of a step are there."""
        self._read += 1
        if self._read % self._parts:
            return
        self._norm = torch.nn.utils.clip_grad_norm_(self.module.parameters(), self._clip)
        self._optimizer.step()
        self._schedule.step()
        self._optimizer.zero_grad()

    def get_global_grad_norm(self) -> Tensor | None:
        """Norm of the last step's gradient before it was clipped, None before the first."""
        return self._norm


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
    report: Callable[[float], None] = lambda loss: None,
) -> None:
    """Run one epoch, or what is left of it.

    Args:
        engine: the wrapped recommender.
        batches: this worker's batches, each in `config.accumulation` parts.
        config: for the weights of the losses.
        report: called after each step with its loss.

    Raises:
        NotFiniteError: the loss or, on every worker, the gradient is not finite; the message names the users and items
            of this worker's share. Nothing more is learnt then: such a gradient may have spoilt the weights.
    """
    engine.module.train()
    losses: list[float] = []
    parts: list[Windows] = []
    for batch in batches:
        loss = objective(engine.module, engine(batch.history, batch.attributes), batch, config)
        engine.backward(loss)
        # read after the way back has begun: a GPU would stand still, and other workers wait for this one's gradients
        losses.append(loss.item())
        parts.append(batch)
        if not math.isfinite(losses[-1]):
            raise NotFiniteError.of(f"the loss is {losses[-1]}", [batch])
        engine.step()
        if len(parts) == config.accumulation:
            _check_gradient(engine, parts)
            report(sum(losses) / len(losses))
            losses.clear()
            parts.clear()


def _check_gradient(engine: Engine, parts: Sequence[Windows]) -> None:
    """DeepSpeed leaves a step out whose gradient is not finite, or takes it, and says neither."""
    norm = engine.get_global_grad_norm()
    assert norm is not None, "a step has a norm"
    if not 0 <= float(norm) < math.inf:  # for some it is -1
        raise NotFiniteGradientError.of("the loss is finite and its gradient is not,", parts)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def fit(
    engine: Engine,
    windows: Windows,
    config: TrainConfig,
    *,
    seed: int,
    validate: Callable[[], float | None],
    on_best: Callable[[], None],
    log: Callable[[str], None] = print,
) -> Progress:
    """Train in this process with early stopping on validation NDCG@10; `on_best` is called to keep the weights.

    Where `validate` answers None the last epoch is the best one.
    """
    progress = Progress()
    while not progress.finished(config):
        started = time.monotonic()
        batches = windows.batches(config.batch_size, seed=seed, epoch=progress.epoch, parts=config.accumulation)
        train_epoch(engine, batches, config, progress.advance)
        if progress.record(validate(), time.monotonic() - started):
            on_best()
        log(f"epoch {progress.epoch}/{config.epochs}: {in_words(progress.curve[-1])}")
    return progress


def in_words(point: Mapping[str, float]) -> str:
    """A point of a learning curve."""
    gain = f", validation NDCG@10 {point['valid_ndcg@10']:.4f}" if "valid_ndcg@10" in point else ""
    return f"loss {point['loss']:.4f}{gain}"
