"""Nodes that come for a job and go after it, replicas that come for a load and go after it.

    sudo env "PATH=$PATH" python benchmarks/autoscale.py    # writes benchmarks/results/autoscale.json, 15 minutes

First the smoke pipeline on a head without CPUs whose autoscaler may have three workers: Ray's own autoscaler (version
2) with its provider of pretended nodes, which are raylets beside the head's. Then the app of that run in profile
cluster with 1 to 3 replicas of all that a request passes through: some requests a second, then twelve clients who ask
again as soon as they are answered, then some requests a second. Artifacts on S3, the log in PostgreSQL.
"""

import argparse
import json
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from measure import HOME, store
from node_app import Clients, deploy_on, keys_file, postgres
from nodes import DATA, OUTSIDE, PRETENDED_HEAD, Nodes, network, sequence
from object_store import CREDENTIALS, ObjectStore, object_store
from open_loop import Request, closed_loop

from llm4rec.cluster.local import DIRECT

CONFIG, S3_PORT, MOST = "configs/smoke.yaml", 5096, 3
IDLE_MINUTES, IDLE_WAIT_S = 0.25, 120.0
CLIENTS, CALM_S, LOAD_S, LEAVE_S = 12, 20.0, 90.0, 240.0
HEAD = "ray.head.default"  # which the provider takes for granted
AUTOSCALING = {
    "cluster_name": "llm4rec",
    "max_workers": MOST,
    "idle_timeout_minutes": IDLE_MINUTES,
    "upscaling_speed": 1.0,
    "provider": {"type": "fake_multinode", "launch_multiple": True, "head_node_id": PRETENDED_HEAD},
    "available_node_types": {
        HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "cpu": {"resources": {"CPU": 1}, "node_config": {}, "min_workers": 0, "max_workers": MOST},
    },
    "head_node_type": HEAD,
    "auth": {},
    "cluster_synced_files": [],
    "file_mounts": {},
    "file_mounts_sync_continuously": False,
    "head_setup_commands": [],
    "head_start_ray_commands": [],
    "initialization_commands": [],
    "rsync_exclude": [],
    "rsync_filter": [],
    "setup_commands": [],
    "worker_setup_commands": [],
    "worker_start_ray_commands": [],
}


def main() -> None:
    """Scale up and down, and store what came out."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL is another user's
        with network(), object_store(OUTSIDE, S3_PORT) as objects:
            figures = {**workers(folder / "jobs", objects), **replicas(folder, objects)}
    store("autoscale", figures, time.monotonic() - began)


def settings_of(objects: ObjectStore) -> list[str]:
    """Settings of the run in the object store."""
    return [f"source.path={objects.location('data/ml-100k')}", f"run.path={objects.location('runs/smoke')}"]


def workers(folder: Path, objects: ObjectStore) -> dict[str, Any]:
    """How many workers the pipeline has at most, and some time after it."""
    objects.put(HOME / "data" / "ml-100k", "data/ml-100k")
    more = ["preprocess.chunk_bytes=40000", "train.num_workers=[1,2]"]
    pipeline = ["python", str(HOME / "jobs" / "pipeline.py"), "--config", str(HOME / CONFIG)]
    # pretended nodes share a folder, where the first to go would take the others' copies of the code with it
    with Nodes(folder, environment=CREDENTIALS, hides=DATA) as nodes:
        nodes.start("head", cpus=0, autoscaling=AUTOSCALING)
        started = time.monotonic()
        with watched(lambda: alive(nodes)) as seen:
            nodes.submit(*pipeline, *sequence([*settings_of(objects), *more]), from_image=True)
            seconds = time.monotonic() - started
            time.sleep(IDLE_WAIT_S)
        figures = {"workers_max": max(seen), "workers_end": seen[-1], "pipeline_s": round(seconds)}
    print(figures, flush=True)
    return figures


def replicas(folder: Path, objects: ObjectStore) -> dict[str, Any]:
    """How many replicas a load brings, what they leave, and what clients notice."""
    scaled = [f"cluster.replicas=[1,{MOST}]", "cluster.ongoing_requests=2", *settings_of(objects)]
    with postgres(folder, OUTSIDE) as url:
        files, environment = {"keys.json": keys_file(folder)}, {**CREDENTIALS, "LLM4REC_LOG_URL": url}
        with Nodes(folder / "served", environment=environment, hides=DATA, files=files) as nodes:
            nodes.start("head", cpus=6)
            client = deploy_on(nodes, scaled)
            calm = Clients([client.url, client.url], rate=2.0)
            with watched(lambda: running(nodes)) as seen, calm.at_work():
                time.sleep(CALM_S)
                before = seen[-1]
                users, asked_for = [user["user_id"] for user in client.call("/v1/users?limit=100")[1]["users"]], []

                def request(number: int) -> Request:
                    asked_for.append(number)
                    return "GET", f"/v1/recommendations/{users[number % len(users)]}?k=5", None

                rate = closed_loop(client.url, CLIENTS, LOAD_S, request)
                time.sleep(LEAVE_S)
            errors = len(asked_for) - round(rate * LOAD_S) + sum(status != 200 for _, _, status, _ in calm.answers)
            figures = {
                "replicas_before": before,
                "replicas_max": max(seen),
                "replicas_end": seen[-1],
                "requests_per_second_under_load": round(rate, 1),
                "requests": len(asked_for) + len(calm.answers),
                "errors": errors,
                "retried": sum(again for *_, again in calm.answers),
            }
    print(figures, flush=True)
    return figures


@contextmanager
def watched(count: Callable[[], int]) -> Iterator[list[int]]:
    """A number, once a second."""
    seen, over = [0], threading.Event()

    def look() -> None:
        while not over.wait(1.0):
            seen.append(count())

    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(look)
        try:
            yield seen
        finally:
            over.set()
            looking.result()  # raises what ended it


def alive(nodes: Nodes) -> int:
    """Nodes that the cluster has beside its head."""
    summary = asked(nodes, "/nodes?view=summary")["data"]["summary"]
    return sum(node["raylet"].get("state") == "ALIVE" for node in summary) - 1


def running(nodes: Nodes) -> int:
    """Replicas of the recommender that answer."""
    deployments = asked(nodes, "/api/serve/applications/")["applications"]["recommender"]["deployments"]
    return sum(replica["state"] == "RUNNING" for replica in deployments["recommender"]["replicas"])


def asked(nodes: Nodes, path: str) -> Any:
    """What Ray's dashboard says."""
    token = nodes.environment["RAY_AUTH_TOKEN"]
    request = urllib.request.Request(nodes.address + path, headers={"Authorization": f"Bearer {token}"})
    with DIRECT.open(request, timeout=30) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main()
