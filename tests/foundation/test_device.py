"""Where networks run, and in which numbers."""

import platform

import pytest
import torch

from llm4rec.device import Precision, best_device, in_bfloat16

NO_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="of processes that see no GPU")


@NO_GPU
def test_without_a_gpu_networks_run_on_the_cpu() -> None:
    assert best_device() == torch.device("cpu")


@NO_GPU
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
def test_what_the_cpu_has_decides_alone_where_nothing_was_asked(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, bool], suits: bool
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    expected: dict[Precision, bool] = {"auto": suits, "bf16": True, "fp32": False}
    assert {precision: in_bfloat16(precision) for precision in expected} == expected


@pytest.mark.skipif(platform.machine() != "x86_64", reason="of x86's instructions")
def test_torch_tells_of_them_by_these_names() -> None:
    assert {"avx512_bf16", "amx_bf16"} <= set(torch.cpu.get_capabilities())
