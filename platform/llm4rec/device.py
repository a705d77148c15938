"""Where networks run, and in which numbers."""

from typing import Literal

import torch

Precision = Literal["auto", "bf16", "fp32"]
BFLOAT16_PRODUCTS = ("avx512_bf16", "amx_bf16", "bf16")
"""What CPUs call their instructions for products of bfloat16 matrices: two of x86's, and ARM's."""


def best_device() -> torch.device:
    """The GPU that this process sees, if it sees one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def in_bfloat16(precision: Precision) -> bool:
    """Whether matrix products are to be of bfloat16; `auto` where this process's device has instructions for them.

    A CPU without them takes fifty times as long as for float32 (docs/log.md).
    """
    return precision == "bf16" or (precision == "auto" and _has_bfloat16_products())


def _has_bfloat16_products() -> bool:
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported(including_emulation=False)
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in BFLOAT16_PRODUCTS)
