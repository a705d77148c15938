"""The state of a training, so that one that was cut short goes on where it was and ends with the same weights."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from llm4rec.baselines.validation import Validation

State = dict[str, Any]
"""Tensors, numbers, strings and dictionaries of these: what `torch.load` reads with `weights_only`."""


class Checkpoint(Protocol):
    """Where the newest state of one training is kept."""

    def load(self) -> State | None:
        """The state that was saved last, its tensors on the CPU; None if there is none."""

    def save(self, state: State) -> None:
        """Keep this state in place of the one before, and be done when this returns: its tensors are the training's."""

    def discard(self) -> None:
        """Forget what is kept, which is of another training."""


@dataclass
class Training:
    """A training: all that changes in its course, and what it runs on."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    rng: np.random.Generator
    validation: Validation | None
    device: torch.device
    numbers: torch.dtype
    """Of matrix products."""
    epoch: int = 0
    """Epochs that are done."""

    def state(self) -> State:
        """The state after an epoch, with those of torch's generators."""
        return {
            "epoch": self.epoch,
            "made_for": self._made_for,
            "buffers": dict(self.network.named_buffers()),
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "numpy_rng": self.rng.bit_generator.state,
            "torch_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "validation": None if self.validation is None else self.validation.state(),
        }

    def fits(self, state: State) -> bool:
        """Whether a state is of a network like this one, with its buffers (TIGER's are items' codes), trained here."""
        if state.get("made_for") != self._made_for:
            return False
        weights, buffers = self.network.state_dict(), dict(self.network.named_buffers())
        return (
            _shapes(weights) == _shapes(state["network"])
            and buffers.keys() == state["buffers"].keys()
            and all(torch.equal(tensor.cpu(), state["buffers"][name]) for name, tensor in buffers.items())
        )

    @property
    def _made_for(self) -> str:
        return f"{self.numbers} on {self.device.type}"

    def restore(self, state: State) -> None:
        """Be as the training was whose state this is, one that fits."""
        self.epoch = state["epoch"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.rng.bit_generator.state = state["numpy_rng"]
        torch.set_rng_state(state["torch_rng"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)
        if self.validation is not None:
            self.validation.continue_from(state["validation"])


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}
