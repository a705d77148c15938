"""Where networks run, and in which numbers."""

import torch

from llm4rec.config import Precision

BFLOAT16_PRODUCTS = ("avx512_bf16", "amx_bf16", "bf16")
"""What CPUs call their instructions for products of bfloat16 matrices: two of x86's, and ARM's."""


def best_device() -> torch.device:
    """The GPU that this process sees, if it sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def number_type(precision: Precision, device: torch.device) -> torch.dtype:
    """What matrix products are to be of; `auto` is bfloat16 where the device has instructions for it, else float32.

    A CPU without them takes fifty times as long for bfloat16 (docs/log.md).
    """
    reduced = precision == "bf16" or (precision == "auto" and _has_bfloat16_products(device))
    return torch.bfloat16 if reduced else torch.float32


def _has_bfloat16_products(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in BFLOAT16_PRODUCTS)
