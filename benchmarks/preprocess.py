"""Time and memory of the preprocess stage on 25 million and 2.5 million rows, side by side with one polars script.

    pip install --no-deps -r benchmarks/requirements.txt
    python benchmarks/preprocess.py --runs 3     # writes benchmarks/results/preprocess.json

The raw files are made up (benchmarks/movielens_like.py). Times are
of whole processes, Ray's start included; both sides run by turns, and medians are given.
"""

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import HOME, store, timed

SIZES = {"25m": 1.0, "2500k": 0.1}
CONFIG = "benchmarks/configs/ml-25m-like.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where raw files are kept between calls")
    arguments = parser.parse_args()
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="llm4rec-bench-") as scratch:
        raw = arguments.folder or Path(scratch)
        figures: dict[str, Any] = {}
        for size, share in SIZES.items():
            source = raw / f"ml-{size}"
            if not (source / "ratings.csv").is_file():
                made = [sys.executable, "benchmarks/movielens_like.py", "--to", str(source), "--share", str(share)]
                subprocess.run(made, cwd=HOME, check=True)
            figures |= _side_by_side(size, source, Path(scratch), arguments.runs)
        figures["ratio_to_polars"] = round(figures["seconds_25m"] / figures["polars_seconds_25m"], 2)
        store("preprocess", figures, time.monotonic() - started)


def _side_by_side(size: str, source: Path, scratch: Path, runs: int) -> dict[str, Any]:
    ours, theirs = [], []
    for _ in range(runs):
        theirs.append(_fresh(scratch / "polars", "benchmarks/preprocess_polars.py", "--source", source, "--to"))
        ours.append(_fresh(scratch / "run", "jobs/preprocess.py", "--config", CONFIG, "--set", f"source.path={source}"))
        print(f"{size}: ours {ours[-1]}, polars {theirs[-1]} (seconds, bytes)", flush=True)
    return {
        f"seconds_{size}": statistics.median(seconds for seconds, _ in ours),
        f"peak_rss_gb_{size}": round(max(peak for _, peak in ours) / 1e9, 2),
        f"polars_seconds_{size}": statistics.median(seconds for seconds, _ in theirs),
        f"polars_peak_rss_gb_{size}": round(max(peak for _, peak in theirs) / 1e9, 2),
        f"all_seconds_{size}": [seconds for seconds, _ in ours],
    }


def _fresh(target: Path, script: str, *words: str | Path) -> tuple[float, int]:
    """Run a script that writes to a folder which is not there yet."""
    shutil.rmtree(target, ignore_errors=True)
    command = [sys.executable, script, *map(str, words)]
    command += [str(target)] if command[-1] == "--to" else ["--set", f"run.path={target}"]
    return timed(command)


if __name__ == "__main__":
    main()
