"""Recommendations a second that the service holds, and what it does with five times as many.

    python benchmarks/load.py              # writes benchmarks/results/load.json and overload.json, half an hour
    python benchmarks/load.py --minutes 1  # shorter; for a trial

The model of quality.py for ML-1M (6,040 users, 3,883 items) on this machine, client included. Load is open loop: see
open_loop.py; each request is a slate of ten of another user, without reasons, written to the exposure log before it is
answered. `laptop`: the profile as it is, 100 requests a second. `throughput`: two replicas, 200 a second. Overload:
five times the rate for a minute, then the rate again. `ratio_to_bare`: answers a second of 16 clients who ask again at
once, over those of bare_app.py, the two measured in turn, three times.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from measure import HOME, free_port, store
from open_loop import Answer, Request, closed_loop, open_loop, summary
from served import STAGES, Served, arguments, finished_run, served

from llm4rec.cluster.demo import Client

TABLE, CONFIG = "ml-1m-seq", "benchmarks/configs/ml-1m-seq.yaml"
PROFILES: dict[str, tuple[float, list[str]]] = {
    "laptop": (100.0, []),
    "throughput": (200.0, ["cluster.replicas=[2,2]"]),
}
CLIENTS, ROUNDS, ROUND_S = 16, 3, 20.0
OVERLOAD, OVERLOAD_S, AFTER_S = 5, 60.0, 30.0


def main() -> None:
    """Load, overload, compare, and store what came out."""
    parser = arguments(__doc__)
    parser.add_argument("--minutes", type=float, default=5.0, help="of the load of each profile")
    parser.add_argument("--profiles", nargs="+", choices=PROFILES, default=list(PROFILES))
    options = parser.parse_args()
    began = time.monotonic()
    settings = settings_of(options)
    figures: dict[str, Any] = {}
    overload: dict[str, Any] = {}
    for name in options.profiles:
        rate, more = PROFILES[name]
        with served(CONFIG, [*settings, *more], {}, *STAGES) as app:
            figures[name] = held(app, rate, 60 * options.minutes)
            overload[name] = overloaded(app, rate, figures[name])
            figures[name] |= beside_bare(app, settings)
            print(name, figures[name], overload[name], flush=True)
    first = figures[options.profiles[0]]
    if options.minutes < 5 or len(figures) < len(PROFILES):
        print("a trial: nothing is stored")
        return
    shown = {key: first[key] for key in ("rps", "p50_ms", "p99_ms", "errors", "ratio_to_bare")}
    store("load", {**shown, **figures}, time.monotonic() - began)
    store("overload", overload, time.monotonic() - began)


def settings_of(options: argparse.Namespace) -> list[str]:
    """What the app of the benchmark is made with."""
    folder = finished_run(TABLE, options)
    return [f"run.path={folder}", f"source.path={options.data / TABLE}", "run.refit=false"]


def held(app: Served, rate: float, seconds: float) -> dict[str, Any]:
    """A steady load, after half a minute of it to warm up."""
    ask = asking(app.client)
    open_loop(app.client.url, rate, min(30.0, seconds / 2), ask)
    memory = [memory_mb(app)]
    answers: list[Answer] = []
    parts = max(1, round(seconds / 60))
    for _ in range(parts):
        answers += open_loop(app.client.url, rate, seconds / parts, ask)
        memory.append(memory_mb(app))
    found = summary(answers)
    slope = float(np.polyfit(np.arange(len(memory)), memory, 1)[0]) * parts * 60 / seconds
    return {
        "rps": round(len(answers) / seconds, 1),
        **found,
        "errors": sum(answer.status != 200 for answer in answers),
        "memory_mb": [round(value) for value in memory],
        "memory_mb_per_minute": round(slope, 2),
    }


def overloaded(app: Served, rate: float, usual: Mapping[str, Any]) -> dict[str, Any]:
    """Five times the rate, then the rate: normal again when nothing is refused or slower than the slowest of before."""
    ask = asking(app.client)
    during = open_loop(app.client.url, OVERLOAD * rate, OVERLOAD_S, ask)
    after = open_loop(app.client.url, rate, AFTER_S, ask)
    refused = [answer for answer in during if answer.status in {429, 503}]
    slow = [answer.due for answer in after if answer.status != 200 or 1000 * answer.seconds > usual["worst_ms"]]
    found = summary(during)
    return {
        "rps_offered": OVERLOAD * rate,
        **found,
        "other_statuses": sum(answer.status not in {200, 429, 503} for answer in during),
        "refused_without_retry_after": sum(answer.status == 429 and not answer.retry_after for answer in refused),
        "accepted_p99_over_normal": round(found.get("p99_ms", 0.0) / usual["p99_ms"], 2),
        "normal_again_s": round(max(slow, default=0.0), 1),
        "after": summary(after),
    }


def beside_bare(app: Served, settings: Sequence[str]) -> dict[str, Any]:
    """Answers a second of this app and of the bare one, in turn, each with the machine to itself."""
    ours: list[float] = []
    bare: list[float] = []
    with bare_app(settings) as other:
        for _ in range(ROUNDS):
            for client, found in ((app.client, ours), (other, bare)):
                found.append(closed_loop(client.url, CLIENTS, ROUND_S, asking(client)))
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    return {
        "most_rps": round(statistics.median(ours), 1),
        "bare_rps": round(statistics.median(bare), 1),
        "ratio_to_bare": round(statistics.median(ratios), 3),
        "ratios": [round(ratio, 3) for ratio in ratios],
    }


@contextmanager
def bare_app(settings: Sequence[str]) -> Iterator[Client]:
    """bare_app.py in a process of its own."""
    port = free_port()
    asked = [part for setting in [*settings, f"serve.port={port}"] for part in ("--set", setting)]
    script = str(Path(__file__).with_name("bare_app.py"))
    process = subprocess.Popen([sys.executable, script, "--config", CONFIG, *asked], cwd=HOME)
    client = Client(f"http://127.0.0.1:{port}")
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if client.call("/docs")[0] == 200:
                    break
            except OSError:
                time.sleep(0.5)
        yield client
    finally:
        process.kill()
        process.wait()


def asking(client: Client) -> Any:
    """Requests of users in turn, as far apart as can be."""
    users = [str(number) for number in range(1, 6041)]

    def request(number: int) -> Request:
        return "GET", f"/v1/recommendations/{users[number * 2741 % len(users)]}?k=10", None

    return request


def memory_mb(app: Served) -> float:
    """Memory of all of the app's own processes that no other has, in MiB."""
    total = 0
    for process in [*app.processes("recommender"), *app.processes("explainer"), *app.processes("learner")]:
        try:
            total += process.memory_full_info().uss
        except psutil.Error:
            continue
    return total / 2**20


if __name__ == "__main__":
    main()
