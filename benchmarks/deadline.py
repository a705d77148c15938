"""Whether answers with reasons come in time while the language model is slow, dead or talks nonsense.

    python benchmarks/deadline.py    # writes benchmarks/results/deadline.json, ten minutes of an idle machine

The smoke run (configs/smoke.yaml, made first, its language model fine-tuned on 96 reasons) is served by Ray Serve on
this machine and asked over HTTP for slates of five with reasons, one request after another, each of another user;
seconds are the client's. Faults are real: `slow` stops the explainer's process for three quarters of the time,
`stopped` for all of it (SIGSTOP), `killed` is a SIGKILL to it at every tenth request, `garbage` a language model with
random weights in its place. Late is an answer later than the deadline and 50 ms.
"""

import argparse
import collections
import contextlib
import functools
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from measure import HOME, free_port, store
from served import title

from llm4rec.cluster.demo import Client, deploy
from llm4rec.cluster.local import LocalCluster
from llm4rec.cluster.run_config import load_run

CONFIG, DEADLINE_S, GRACE_S, EXPLAINER = "configs/smoke.yaml", 2.0, 0.05, "explainer"
PHASES = ("clean", "slow", "stopped", "killed")
EXAMPLES, REQUESTS = 96, 30


def main() -> None:
    """Serve, break, ask, and store what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=HOME / "runs" / "benchmarks", help="kept between calls")
    options = parser.parse_args()
    began = time.monotonic()
    ask = ["run.path=" + str(options.work / "smoke"), f"serve.deadline_s={DEADLINE_S}", f"serve.port={free_port()}"]
    ask += [f"explain.tune.examples={EXAMPLES}"]
    figures: dict[str, Any] = {"deadline_s": DEADLINE_S}
    with tempfile.TemporaryDirectory() as folder:
        ports = {"gcs_port": free_port(), "dashboard_port": free_port()}
        with LocalCluster(HOME, Path(folder), **ports) as cluster:
            settings = [part for setting in ask for part in ("--set", setting)]
            cluster.submit(["python", "jobs/pipeline.py", "--config", CONFIG, "--home", str(HOME), *settings])
            client = deploy(cluster, load_run(HOME / CONFIG, ask, HOME), CONFIG, ask)
            for phase, name in enumerate(PHASES):
                with fault(name, cluster):
                    figures[name] = asked(client, phase, functools.partial(kill_sometimes, cluster, name))
            ask += ["explain.tune=null", f"explain.generator={nonsense(Path(folder, 'nonsense'))}"]
            before = cluster.processes()
            client = deploy(cluster, load_run(HOME / CONFIG, ask, HOME), CONFIG, ask)
            wait_for_others(cluster, before)
            figures["garbage"] = asked(client, len(PHASES), functools.partial(kill_sometimes, cluster, "garbage"))
    store("deadline", figures, time.monotonic() - began)


def asked(client: Client, phase: int, before: Callable[[int], object]) -> dict[str, Any]:
    """Ask for slates with reasons, in each phase for other users: what was written once is not written again."""
    found = {user["user_id"] for digit in range(1, 10) for user in listed(client, str(digit))}
    users = sorted(found)[phase * REQUESTS : (phase + 1) * REQUESTS]
    if len(users) < REQUESTS:
        sys.exit(f"error: {len(found)} users are too few")
    seconds, statuses, sources = [], collections.Counter[int](), collections.Counter[str]()
    for number, user in enumerate(users):
        before(number)
        started = time.perf_counter()
        status, slate = client.call(f"/v1/recommendations/{user}?k=5&explain=true")
        seconds.append(time.perf_counter() - started)
        statuses[status] += 1
        sources.update(item["reason_source"] for item in slate.get("items", []))
    figures = {
        "requests": len(users),
        "statuses": dict(statuses),
        "reasons": dict(sources),
        "late": sum(took > DEADLINE_S + GRACE_S for took in seconds),
        "p50_ms": round(1000 * float(np.median(seconds))),
        "worst_ms": round(1000 * max(seconds)),
    }
    print(figures, flush=True)
    return figures


def listed(client: Client, start: str) -> list[dict[str, Any]]:
    """Users whose id begins so."""
    found: list[dict[str, Any]] = client.call(f"/v1/users?limit=100&search={start}")[1]["users"]
    return found


def explainers(cluster: LocalCluster) -> list[psutil.Process]:
    """The processes that hold the language model."""
    return [process for process in cluster.processes() if EXPLAINER in title(process)]


@contextmanager
def fault(name: str, cluster: LocalCluster) -> Iterator[None]:
    """The explainer stands still (stopped), or for three quarters of the time (slow)."""
    if name not in ("stopped", "slow"):
        yield
        return
    over = threading.Event()
    breaker = threading.Thread(target=halt, args=(cluster, over, 1.0 if name == "stopped" else 0.75))
    breaker.start()
    yield
    over.set()
    breaker.join()


def halt(cluster: LocalCluster, over: threading.Event, share: float) -> None:
    """Stop what explains for a share of each fifth of a second, replicas that come anew too."""
    while not over.is_set():
        for sign, seconds in ((signal.SIGSTOP, 0.2 * share), (signal.SIGCONT, 0.2 * (1 - share))):
            if sign == signal.SIGSTOP or share < 1:
                signalled(cluster, sign)
            time.sleep(seconds)
    signalled(cluster, signal.SIGCONT)


def signalled(cluster: LocalCluster, sign: signal.Signals) -> None:
    """Send a signal to what explains; processes that have just ended are left out."""
    for process in explainers(cluster):
        with contextlib.suppress(psutil.Error):
            process.send_signal(sign)


def kill_sometimes(cluster: LocalCluster, name: str, number: int) -> None:
    """Kill the explainer at every tenth request of its phase; Serve starts it again."""
    for process in explainers(cluster) if name == "killed" and number % 10 == 0 else []:
        process.kill()


def wait_for_others(cluster: LocalCluster, before: list[psutil.Process]) -> None:
    """Until what explains and what recommends are others than before, and the old ones are gone."""
    deadline = time.monotonic() + 120
    old = [process for process in before if any(name in title(process) for name in (EXPLAINER, "recommender"))]
    while any(process.is_running() for process in old) or not explainers(cluster):
        if time.monotonic() > deadline:
            sys.exit("error: the app was not replaced")
        time.sleep(1)


def nonsense(folder: Path) -> Path:
    """A language model that has learnt nothing."""
    sys.path.insert(0, str(HOME))
    from tests.explain.tiny_llama import save_tiny_llama

    folder.mkdir()
    return save_tiny_llama(folder)


if __name__ == "__main__":
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    main()
