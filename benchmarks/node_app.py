"""The app of the smoke run on the nodes of nodes.py, its log in PostgreSQL, and clients of it."""

import os
import random
import sys
import threading
import time
import urllib.error
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from measure import HOME
from nodes import Nodes

from llm4rec.cluster.demo import KEY, Client
from llm4rec.serve.keys import create_key

sys.path.insert(0, str(HOME))

from tests.postgres import Postgres

CONFIG, PORT = "configs/smoke.yaml", 8000
KEYS = "/tmp/keys.json"  # on every node, from Nodes.files
READY_S = 300
SPREAD = ("cluster.profile=cluster", "cluster.recommender_cpus=0.2", "cluster.explainer_cpus=0.2", "online.shards=2")
RETRY_S = 0.25


def keys_file(folder: Path) -> bytes:
    """A file of keys; this process gets the key."""
    path = folder / "keys.json"
    os.environ[KEY] = create_key(path, "benchmark", ["read", "write", "admin"])
    return path.read_bytes()


@contextmanager
def postgres(folder: Path, host: str) -> Iterator[str]:
    """A server that nodes reach; the URL of an empty database."""
    server = Postgres(folder / "postgres", host)
    server.start()
    try:
        yield server.new_database()
    finally:
        server.stop()


def deploy_on(nodes: Nodes, settings: Sequence[str]) -> Client:
    """Deploy the app from outside, and wait until the head's proxy says that it is ready."""
    app = yaml.safe_load((HOME / "serve_apps" / "recommender.yaml").read_text(encoding="utf-8"))
    app["proxy_location"] = "EveryNode"
    app["http_options"] = {"host": "0.0.0.0", "port": PORT}
    settings = [*SPREAD, f"serve.keys={KEYS}", "serve.host=0.0.0.0", f"serve.port={PORT}", *settings]
    app["applications"][0]["args"] = {"config": CONFIG, "set": settings, "home": str(HOME)}
    path = nodes.folder / "recommender.yaml"
    path.write_text(yaml.safe_dump(app), encoding="utf-8")
    nodes.run("serve", "deploy", "--address", nodes.address, str(path))
    client = Client(proxy(nodes, "head"))
    client.wait(READY_S)
    return client


def proxy(nodes: Nodes, name: str) -> str:
    """Where Serve's proxy on a node listens."""
    return f"http://{nodes.address_of(name)}:{PORT}"


@dataclass
class Clients:
    """Somebody who asks for slates all the time, and somebody who sends feedback; both try again.

    Attributes:
        urls: of the proxies, the next one for the second try.
        answers: of each request for a slate when it was due (seconds), how long it took, the status, and whether it
            was sent twice.
        acked: ids of the events that were acknowledged.
    """

    urls: list[str]
    rate: float = 10.0
    answers: list[tuple[float, float, int, bool]] = field(default_factory=list)
    acked: set[str] = field(default_factory=set)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Ask and send within the block."""
        over = threading.Event()
        users = Client(self.urls[0]).call("/v1/users?limit=50")[1]["users"]
        items = Client(self.urls[0]).call("/v1/items?limit=100")[1]["items"]
        known = [user["user_id"] for user in users], [item["item_id"] for item in items]
        threads = [threading.Thread(target=work, args=(over, *known)) for work in (self._ask, self._send)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            for thread in threads:
                thread.join()

    def _ask(self, over: threading.Event, users: list[str], items: list[str]) -> None:
        """Requests in a steady rhythm, each in a thread of its own."""
        number, began = 0, time.monotonic()
        threads = []
        while not over.is_set():
            thread = threading.Thread(target=self._asked, args=(began + number / self.rate, users[number % len(users)]))
            thread.start()
            threads.append(thread)
            number += 1
            over.wait(max(0.0, began + number / self.rate - time.monotonic()))
        for thread in threads:
            thread.join()

    def _asked(self, due: float, user: str) -> None:
        path = f"/v1/recommendations/{user}?k=5"
        status = called(self.urls[0], path)
        if again := status != 200:
            time.sleep(RETRY_S)
            status = called(self.urls[1], path)
        self.answers.append((due, time.monotonic() - due, status, again))

    def _send(self, over: threading.Event, users: list[str], items: list[str]) -> None:
        rng = random.Random(0)
        while not over.is_set():
            batch = [
                {
                    "event_id": uuid.uuid4().hex,
                    "user_id": rng.choice(users),
                    "item_id": rng.choice(items),
                    "event": "like",
                }
                for _ in range(5)
            ]
            attempt = 0
            while called(self.urls[attempt % len(self.urls)], "/v1/feedback", batch) != 202:
                attempt += 1
                time.sleep(RETRY_S)
            self.acked.update(str(event["event_id"]) for event in batch)
            over.wait(0.3)

    def figures(self, since: float) -> dict[str, Any]:
        """What was noticed after a moment (seconds of the monotonic clock)."""
        found = [answer for answer in self.answers if answer[0] >= since]
        bad = [due + seconds - since for due, seconds, status, _ in found if status != 200 or seconds > 0.5]
        return {
            "requests": len(found),
            "failed": sum(status != 200 for _, _, status, _ in found),
            "retried": sum(twice for *_, twice in found),
            "worst_stall_s": round(max((seconds for _, seconds, _, _ in found), default=0.0), 2),
            "recovered_s": round(max(bad, default=0.0), 1),
        }


def called(url: str, path: str, body: object = None) -> int:
    """The status of a request, 0 without an answer."""
    try:
        return Client(url, timeout_s=5).call(path, body)[0]
    except (OSError, ValueError, urllib.error.URLError):
        return 0
