"""What every benchmark shares: time and memory of a command, and the results file."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import psutil
import torch

HOME = Path(__file__).parents[1]
RESULTS = HOME / "benchmarks" / "results"


def timed(command: Sequence[str]) -> tuple[float, int]:
    """Wall seconds of a command, and the peak in bytes of the memory of it and all its descendants.

    Memory is the proportional set size, sampled every half second: pages that processes share count once.
    A command that fails ends the benchmark.
    """
    started, peak = time.monotonic(), 0
    process = subprocess.Popen(list(command), cwd=HOME)
    while process.poll() is None:
        peak = max(peak, _memory(process.pid))
        time.sleep(0.5)
    if process.returncode:
        sys.exit(f"error: {' '.join(command)} failed with exit status {process.returncode}")
    return round(time.monotonic() - started, 1), peak


def _memory(root: int) -> int:
    try:
        return resident([psutil.Process(root), *psutil.Process(root).children(recursive=True)])
    except psutil.Error:  # it has just ended
        return 0


def resident(processes: Iterable[psutil.Process]) -> int:
    """Proportional set size in bytes, summed; processes that have ended or may not be looked at are left out."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except (psutil.Error, OSError):
            continue
    return total


def peak_gb() -> float:
    """The most memory that this process has held, in GiB; unlike what `getrusage` says, without its parent's."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 2**20


def busy_seconds() -> float:
    """A clock for one thread's work: its processor's, so that nothing else here counts; with a GPU, the wall's."""
    return time.monotonic() if torch.cuda.is_available() else time.process_time()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def store(name: str, figures: Mapping[str, Any], seconds: float, seeds: Sequence[int] = ()) -> None:
    """Write `results/<name>.json`, and show it."""
    results = {
        "command": " ".join(["python", *sys.argv]),
        "date": now(),
        "git": revision(HOME),
        "hardware": hardware(),
        "seconds": round(seconds),
        "seeds": list(seeds),
        "figures": dict(figures),
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(results, indent=1), flush=True)


def hardware() -> str:
    """The machine, in words."""
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{os.cpu_count()} CPU cores, {psutil.virtual_memory().total / 1e9:.0f} GB, {gpu}"


def now() -> str:
    """The moment, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@cache
def revision(checkout: Path) -> str:
    """The revision measured, with a mark if the checkout was changed by more than results, which runs write.

    What it is when a process first asks counts, since that is what it runs. Where only files were copied, without git's
    folder, the variable LLM4REC_REVISION says it.
    """
    if told := os.environ.get("LLM4REC_REVISION"):
        return told
    answers = [
        subprocess.run(["git", *words], capture_output=True, text=True, cwd=checkout, check=True).stdout.strip()
        for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--", ".", ":(exclude)benchmarks/results"])
    ]
    return answers[0] + (" with changes" if answers[1] else "")
