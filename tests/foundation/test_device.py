"""Where networks run, and in which numbers."""

import platform

import pytest
import torch

from llm4rec.config import Precision
from llm4rec.device import best_device, number_type

ASKED: list[Precision] = ["auto", "bf16", "fp32"]


def types_on(device: str) -> list[torch.dtype]:
    return [number_type(precision, torch.device(device)) for precision in ASKED]


@pytest.mark.parametrize("there_is_one", [False, True])
def test_networks_run_on_a_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch, there_is_one: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there_is_one)
    assert best_device() == torch.device("cuda" if there_is_one else "cpu")


@pytest.mark.parametrize(
    ("found", "suits"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({"avx512_f": True}, False),
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True}, True),
        ({"neon": True, "bf16": True}, True),
    ],
)
def test_what_the_cpu_has_decides_where_nothing_was_asked(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, bool], suits: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    assert types_on("cpu") == [torch.bfloat16 if suits else torch.float32, torch.bfloat16, torch.float32]


@pytest.mark.parametrize("suits", [False, True])
def test_a_gpu_that_only_emulates_bfloat16_does_not_count(monkeypatch: pytest.MonkeyPatch, suits: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation or suits)
    assert types_on("cuda") == [torch.bfloat16 if suits else torch.float32, torch.bfloat16, torch.float32]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="of x86's instructions")
def test_torch_tells_of_them_by_these_names() -> None:
    assert {"avx512_bf16", "amx_bf16"} <= set(torch.cpu.get_capabilities())
