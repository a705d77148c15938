"""Time of the debias stage on a million interactions, all effects and refutations included.

    python benchmarks/effects.py               # writes benchmarks/results/effects.json

The log is a synthetic world of benchmarks/configs/synthetic.yaml, so that the estimates can be held against the truth.
Time is that of whole `jobs/debias.py` processes, Ray's start included, and the median is given; memory is the peak of
the proportional set size summed over all processes.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measure import HOME, store, timed

from llm4rec.artifacts import RunStore
from llm4rec.cluster.run_config import load_run

CONFIG = "benchmarks/configs/synthetic.yaml"


def main(argv: Sequence[str] | None = None) -> None:
    """Prepare once, run the stage some times, look at what it found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(argv)
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="llm4rec-bench-") as scratch:
        run, world = Path(scratch, "run"), Path(scratch, "world")
        settings = ["--config", CONFIG, "--set", f"run.path={run}", "--set", f"source.path={world}"]
        for stage in ("preprocess", "encode"):
            subprocess.run([sys.executable, f"jobs/{stage}.py", *settings], cwd=HOME, check=True)
        runs = []
        for _ in range(options.runs):
            shutil.rmtree(run / "effects", ignore_errors=True)
            runs.append(timed([sys.executable, "jobs/debias.py", *settings]))
            print(f"{runs[-1][0]} s, {runs[-1][1] / 1e9:.2f} GB", flush=True)
        effects = RunStore(str(run)).open("effects")
        truth = json.loads((world / "world.json").read_text(encoding="utf-8"))["truth"]
        figures = {
            "seconds_1m": statistics.median(seconds for seconds, _ in runs),
            "all_seconds": [seconds for seconds, _ in runs],
            "peak_rss_gb": round(max(peak for _, peak in runs) / 1e9, 2),
            **found(effects.read_json("effects.json"), truth),
        }
        seed = load_run(HOME / CONFIG).run.seed
    store("effects", figures, time.monotonic() - started, [seed])


def found(summary: dict[str, Any], truth: dict[str, Any]) -> dict[str, Any]:
    """The estimates beside the truth; of popularity in ratings by one unit of log popularity."""
    unit = summary["popularity_unit"]["log_deviation"]
    popularity, exposure = summary["popularity_effect"], summary["exposure_effect"]
    groups = {row["group"]: row for row in popularity["by_group"]["gender"]}
    return {
        "rows": summary["rows"],
        "popularity_effect": {name: round(row["effect"] / unit, 4) for name, row in groups.items()},
        "popularity_ci95": {name: [round(bound / unit, 4) for bound in row["ci95"]] for name, row in groups.items()},
        "popularity_truth": truth["total_popularity_effect"],
        "prominence_effect": round(exposure["effect"], 4),
        "prominence_ci95": [round(bound, 4) for bound in exposure["ci95"]],
        "prominence_truth": truth["prominence_effect"],
        "refutations_passed": {
            name: row["passed"] for name, row in popularity["refutations"].items() if "passed" in row
        },
    }


if __name__ == "__main__":
    main()
