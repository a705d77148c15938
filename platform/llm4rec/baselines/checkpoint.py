"""The state of a training, so that one that was cut short goes on where it was and ends with the same weights."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from llm4rec.baselines.validation import Validation

State = dict[str, Any]
"""Tensors, numbers, strings and dictionaries of these: what `torch.load` reads with `weights_only`."""


class Checkpoint(Protocol):
    """Where the newest state of one training is kept."""

    def load(self) -> State | None:
        """The state that was saved last; None if there is none."""

    def save(self, state: State) -> None:
        """Keep this state in place of the one before."""


@dataclass
class Training:
    """All that changes in the course of a training."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    rng: np.random.Generator
    validation: Validation | None
    device: torch.device
    epoch: int = 0
    """Epochs that are done."""

    def state(self) -> State:
        """The state after an epoch, with those of torch's generators."""
        return {
            "epoch": self.epoch,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "windows": self.rng.bit_generator.state,
            "cpu": torch.get_rng_state(),
            "gpu": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
            "validation": None if self.validation is None else self.validation.state(),
        }

    def restore(self, state: State) -> None:
        """Be as the training was whose state this is."""
        self.epoch = state["epoch"]
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.rng.bit_generator.state = state["windows"]
        torch.set_rng_state(state["cpu"])
        if state["gpu"] is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(state["gpu"], self.device)
        if self.validation is not None:
            self.validation.continue_from(state["validation"])
