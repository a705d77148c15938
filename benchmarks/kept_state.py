"""A baseline's training on disk, so that one which is cut short goes on where it was."""

import os
import sys
from pathlib import Path
from pickle import UnpicklingError

import psutil
import torch
from measure import HOME, busy_seconds, peak_gb, revision

from llm4rec.baselines.checkpoint import State

UNREADABLE = (EOFError, KeyError, OSError, RuntimeError, UnpicklingError)
"""What torch raises of a file that is empty, cut short, of something else, or written before this one's fields."""


class KeptState:
    """Where one training's newest state is kept; of two processes at the same training, the last to save is right.

    Files that nobody will come back for may be deleted at any time.

    Attributes:
        seconds: what the processes before this one spent on the training.
        peak_gb: the most memory that they held.
        revisions: what they ran.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started = busy_seconds()
        self._forget_others()

    def _forget_others(self) -> None:
        self.seconds, self.peak_gb, self.revisions = 0.0, 0.0, list[str]()

    def load(self) -> State | None:
        """The newest state; None if there is none, or none that can be read, which is said, and the file removed."""
        for part in self._path.parent.glob(f"{self._path.stem}.*.part"):
            if not psutil.pid_exists(int(part.suffixes[-2][1:])):
                part.unlink(missing_ok=True)
        if not self._path.exists():
            return None
        try:
            state: State = torch.load(self._path, map_location="cpu", weights_only=True)
            self.seconds, self.peak_gb, self.revisions = state["seconds"], state["peak_gb"], state["revisions"]
        except UNREADABLE as error:
            print(f"{self._path} cannot be read ({error or type(error).__name__}), so its training begins anew")
            self.discard()
            return None
        return state

    def save(self, state: State) -> None:
        """Keep a state, with what has been spent so far; where that fails, say so and leave the one before."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        part = self._path.with_suffix(f".{os.getpid()}.part")
        spent = {
            "seconds": self.seconds + busy_seconds() - self._started,
            "peak_gb": max(self.peak_gb, peak_gb()),
            "revisions": sorted({*self.revisions, revision(HOME)}),
        }
        try:
            with open(part, "wb") as stream:
                torch.save(state | spent, stream)
                stream.flush()
                os.fsync(stream.fileno())  # or a power cut would leave an empty file under the name
            part.rename(self._path)
        except (OSError, RuntimeError) as error:  # of a full disk torch raises the latter
            part.unlink(missing_ok=True)
            print(f"{self._path}: not saved, training goes on without: {error}", file=sys.stderr, flush=True)

    def discard(self) -> None:
        """Forget the state and what was spent on it."""
        self._path.unlink(missing_ok=True)
        self._forget_others()
