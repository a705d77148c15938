"""Where networks run."""

import torch


def best_device() -> torch.device:
    """The GPU that this process sees, if it sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
