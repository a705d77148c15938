"""Time of set-up, demo, smoke and tests, memory of the demo, and quality of its model over three seeds.

    python benchmarks/demo.py                    # everything, from a fresh clone in a fresh environment
    python benchmarks/demo.py --parts demo seeds # some parts; the other figures in the results file stay

Writes benchmarks/results/demo.json after every part. Memory is the peak, over samples a second apart, of the
proportional set size summed over all processes of the demo.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
from measure import HOME, hardware, now, resident, revision
from measure import RESULTS as RESULTS_FOLDER

RESULTS = RESULTS_FOLDER / "demo.json"
SEEDS = (0, 1, 2)
MODELS = {
    "llm4rec_ndcg10": "llm4rec",
    "sasrec_ndcg10": "sasrec",
    "ease_ndcg10": "ease",
    "itemknn_last_ndcg10": "item_knn_last_5",
}


def install(clone: Path) -> dict[str, Any]:
    """`make setup` in a fresh clone."""
    return {"install_seconds": _make(clone, "setup")[0]}


def demo(clone: Path) -> dict[str, Any]:
    """`make demo ONCE=1`, after installation."""
    seconds, peak = _make(clone, "demo", "ONCE=1")
    return {"demo_seconds": seconds, "peak_rss_gb": round(peak / 1e9, 2)}


def smoke(clone: Path) -> dict[str, Any]:
    """`make smoke`."""
    return {"smoke_seconds": _make(clone, "smoke")[0]}


def test(clone: Path) -> dict[str, Any]:
    """`make test`."""
    return {"test_seconds": _make(clone, "test")[0]}


def seeds(clone: Path, chosen_seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """The demo's own configuration under each seed; means, and every seed's figure beside them."""
    by_seed: dict[str, list[float]] = {name: [] for name in MODELS}
    for seed in chosen_seeds:
        run = clone / "runs" / ("demo" if seed == 0 else f"demo-seed-{seed}")
        command = [str(clone / ".venv/bin/python"), "jobs/pipeline.py", "--config", "configs/demo.yaml"]
        command += ["--set", f"run.seed={seed}", "--set", f"run.path={run}"]
        subprocess.run(command, cwd=clone, check=True)
        models = json.loads((run / "report" / "metrics.json").read_text(encoding="utf-8"))["models"]
        for name, model in MODELS.items():
            by_seed[name].append(models[model]["ndcg@10"])
    means = {name: round(statistics.mean(values), 4) for name, values in by_seed.items()}
    return {**means, "seeds": list(chosen_seeds), "by_seed": by_seed}


PARTS: dict[str, Callable[..., dict[str, Any]]] = {
    "install": install,
    "demo": demo,
    "smoke": smoke,
    "test": test,
    "seeds": seeds,
}


def main() -> None:
    """Run the chosen parts and store their figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="for the part of that name")
    parser.add_argument("--clone", type=Path, help="use this checkout instead of a fresh clone")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="llm4rec-bench-"))
    clone = arguments.clone or folder / "clone"
    try:
        if arguments.clone is None:
            subprocess.run(["git", "clone", "--quiet", str(HOME), str(clone)], check=True)
        for part in arguments.parts:
            if part != "install":
                _make(clone, "setup")  # not part of any other figure
            started, measured = time.monotonic(), revision(clone)
            extra = {"chosen_seeds": arguments.seeds} if part == "seeds" else {}
            figures = PARTS[part](clone.absolute(), **extra)
            _store(part, figures, time.monotonic() - started, measured)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make(clone: Path, *targets: str) -> tuple[float, int]:
    """Seconds and peak memory in bytes of a make target."""
    started, peak = time.monotonic(), 0
    environment = {key: value for key, value in os.environ.items() if key not in {"VIRTUAL_ENV", "PYTHONPATH"}}
    process = subprocess.Popen(["make", *targets], cwd=clone, env=environment, start_new_session=True)
    while process.poll() is None:
        peak = max(peak, _memory(str(clone)))
        time.sleep(1)
    if process.returncode:
        sys.exit(f"error: make {' '.join(targets)} failed with exit status {process.returncode}")
    return round(time.monotonic() - started, 1), peak


def _memory(clone: str) -> int:
    """Memory of all processes started from the clone: Ray's daemons leave the process tree, so the tree is no guide."""
    return resident(process for process in psutil.process_iter() if _is_from(clone, process))


def _is_from(clone: str, process: psutil.Process) -> bool:
    try:
        return clone in process.environ().get("PATH", "")
    except (psutil.Error, OSError):
        return False


def _store(part: str, figures: dict[str, Any], seconds: float, measured: str) -> None:
    """Merge one part's figures into the results file."""
    stored: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    parts = {
        **stored.get("parts", {}),
        part: {"date": now(), "git": measured, "seconds": round(seconds)},
    }
    stored = {
        "command": "python benchmarks/demo.py",
        "date": now(),
        "git": measured,
        "hardware": hardware(),
        "seconds": sum(entry["seconds"] for entry in parts.values()),
        "seeds": figures.pop("seeds", stored.get("seeds", [])),
        "figures": {**stored.get("figures", {}), **figures},
        "parts": parts,
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(stored, indent=1) + "\n", encoding="utf-8")
    print(f"{part}: {json.dumps(figures)}", flush=True)


if __name__ == "__main__":
    main()
