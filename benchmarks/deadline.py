"""Whether answers with reasons come in time while the language model is slow, dead or talks nonsense.

    python benchmarks/deadline.py    # writes benchmarks/results/deadline.json, ten minutes of an idle machine

The smoke run (configs/smoke.yaml, made first, its language model fine-tuned on 96 reasons) is served by Ray Serve on
this machine and asked over HTTP for slates of five with reasons, one request after another, each of another user;
seconds are the client's. Faults are real: `stopped` is a SIGSTOP to the process of the explainer, `killed` a SIGKILL at
every tenth request, `garbage` a language model with random weights in its place. Late is an answer later than the
deadline and 50 ms.
"""

import argparse
import collections
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from measure import HOME, store

from llm4rec.cluster.demo import Client, deploy
from llm4rec.cluster.local import LocalCluster
from llm4rec.cluster.run_config import load_run
from llm4rec.cluster.session import LOOPBACK

CONFIG, DEADLINE_S, GRACE_S, EXPLAINER = "configs/smoke.yaml", 1.0, 0.05, "explainer"
EXAMPLES = 96


def main() -> None:
    """Serve, break, ask, and store what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100, help="of each kind")
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
            figures["clean"] = asked(client, options.requests, lambda number: None)
            with stopped(cluster):
                figures["stopped"] = asked(client, options.requests, lambda number: None)
            figures["killed"] = asked(client, options.requests, lambda number: kill_sometimes(cluster, number))
            ask += ["explain.tune=null", f"explain.generator={nonsense(Path(folder, 'nonsense'))}"]
            client = deploy(cluster, load_run(HOME / CONFIG, ask, HOME), CONFIG, ask)
            wait_for_explainer(cluster)
            figures["garbage"] = asked(client, options.requests, lambda number: None)
    store("deadline", figures, time.monotonic() - began)


def asked(client: Client, count: int, before: Callable[[int], None]) -> dict[str, Any]:
    """Ask for slates with reasons."""
    users = [user["user_id"] for user in client.call("/v1/users?limit=100")[1]["users"]]
    seconds, statuses, sources = [], collections.Counter[int](), collections.Counter[str]()
    for number in range(count):
        before(number)
        started = time.perf_counter()
        status, slate = client.call(f"/v1/recommendations/{users[number % len(users)]}?k=5&explain=true")
        seconds.append(time.perf_counter() - started)
        statuses[status] += 1
        sources.update(item["reason_source"] for item in slate.get("items", []))
    found = {
        "requests": count,
        "statuses": dict(statuses),
        "reasons": dict(sources),
        "late": sum(took > DEADLINE_S + GRACE_S for took in seconds),
        "p50_ms": round(1000 * float(np.median(seconds))),
        "worst_ms": round(1000 * max(seconds)),
    }
    print(found, flush=True)
    return found


def explainers(cluster: LocalCluster) -> list[psutil.Process]:
    """The processes that hold the language model."""
    return [process for process in cluster.processes() if EXPLAINER in " ".join(process.cmdline())]


@contextmanager
def stopped(cluster: LocalCluster) -> Iterator[None]:
    """The explainer stands still."""
    found = explainers(cluster)
    if not found:
        sys.exit("error: no process of the explainer was found")
    for process in found:
        process.send_signal(signal.SIGSTOP)
    yield
    for process in found:
        if process.is_running():
            process.send_signal(signal.SIGCONT)


def kill_sometimes(cluster: LocalCluster, number: int) -> None:
    """Kill the explainer at every tenth request; Serve starts it again."""
    for process in explainers(cluster) if number % 10 == 0 else []:
        process.kill()


def wait_for_explainer(cluster: LocalCluster) -> None:
    """Until one is there again."""
    deadline = time.monotonic() + 120
    while not explainers(cluster):
        if time.monotonic() > deadline:
            sys.exit("error: the explainer did not come back")
        time.sleep(1)


def nonsense(folder: Path) -> Path:
    """A language model that has learnt nothing."""
    sys.path.insert(0, str(HOME))
    from tests.explain.tiny_llama import save_tiny_llama

    folder.mkdir()
    return save_tiny_llama(folder)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    main()
