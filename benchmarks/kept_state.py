"""A baseline's training on disk, so that one which is cut short goes on where it was."""

import hashlib
import io
import os
import sys
from pathlib import Path

import psutil
import torch
from measure import HOME, busy_seconds, peak_gb, revision

from llm4rec.baselines.checkpoint import State

DIGEST_BYTES = hashlib.sha256().digest_size


class KeptState:
    """Where one training's newest state is kept; of two processes at the same training, what the last one saved.

    A file is the SHA-256 of what follows and what torch writes. Files that nobody will come back for may be deleted at
    any time.

    Attributes:
        seconds: what the processes before this one spent on the training.
        peak_gb: the most memory that they held.
        revisions: what they ran.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started, self._revision = busy_seconds(), revision(HOME)
        self._forget_others()

    def _forget_others(self) -> None:
        self.seconds, self.peak_gb, self.revisions = 0.0, 0.0, list[str]()

    def load(self) -> State | None:
        """The newest state; None if there is none, or a damaged or older one, which is said, and the file removed.

        Raises:
            OSError: the file cannot be read.
        """
        self._remove_parts_of_the_dead()
        if not self._path.exists():
            return None
        content = self._path.read_bytes()
        digest, written = content[:DIGEST_BYTES], content[DIGEST_BYTES:]
        if hashlib.sha256(written).digest() != digest:
            self._useless("damaged")
            return None
        state: State = torch.load(io.BytesIO(written), map_location="cpu", weights_only=True)
        if not {"seconds", "peak_gb", "revisions"} <= state.keys():
            self._useless("of another version")
            return None
        self.seconds, self.peak_gb, self.revisions = state["seconds"], state["peak_gb"], state["revisions"]
        return state

    def save(self, state: State) -> None:
        """Keep a state, with what has been spent so far; where that fails, say so and leave the one before."""
        part = self._path.with_suffix(f".{os.getpid()}.part")
        spent = {
            "seconds": self.seconds + busy_seconds() - self._started,
            "peak_gb": max(self.peak_gb, peak_gb()),
            "revisions": sorted({*self.revisions, self._revision}),
        }
        written = io.BytesIO()
        torch.save(state | spent, written)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(part, "wb") as stream:
                stream.write(hashlib.sha256(written.getbuffer()).digest())
                stream.write(written.getbuffer())
                stream.flush()
                os.fsync(stream.fileno())  # or a power cut would leave an empty file under the name
            part.rename(self._path)
        except OSError as error:
            part.unlink(missing_ok=True)
            print(f"{self._path}: not saved, training goes on without: {error}", file=sys.stderr, flush=True)

    def discard(self) -> None:
        """Forget the state and what was spent on it."""
        self._path.unlink(missing_ok=True)
        self._forget_others()

    def _useless(self, why: str) -> None:
        print(f"{self._path} is {why}: removed, its training begins anew", flush=True)
        self.discard()

    def _remove_parts_of_the_dead(self) -> None:
        for part in self._path.parent.glob(f"{self._path.stem}.*.part"):
            process = part.suffixes[-2][1:]
            if process.isdigit() and not psutil.pid_exists(int(process)):
                part.unlink(missing_ok=True)
