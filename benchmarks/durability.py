"""Whether anything that was acknowledged is lost or counted twice while everything is killed.

    python benchmarks/durability.py               # writes benchmarks/results/durability.json, a quarter of an hour
    python benchmarks/durability.py --log postgresql://...    # the same on a PostgreSQL database; stores nothing

The model of quality.py for ML-1M in profile cluster, where Serve's proxy is the ingress. Eight clients send 20,000
events, in batches of one to twenty, some of them on slates they have asked for, and send a batch again, with the same
ids, until it is acknowledged. Ten times, spread over the events, something is killed with -9: a replica, the learner,
the ingress, or every process of Ray, which is then started anew. At the end: every acknowledged event must be in the
log once; the learner that lived through this, with a snapshot every second, must have learnt each event once: its
parameters are compared, to the last bit, with those of one that reads the same log in one go.
"""

import hashlib
import random
import tempfile
import threading
import time
import urllib.error
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from chaos import FAULTS, INGRESS, SPREAD
from load import CONFIG, settings_of
from measure import HOME, free_port, store
from served import STAGES, Served, arguments, run_jobs

from llm4rec.cluster.demo import deploy
from llm4rec.cluster.local import LocalCluster
from llm4rec.cluster.online import new_follower
from llm4rec.cluster.releases import Engines
from llm4rec.cluster.run_config import load_run
from llm4rec.online.log import EventLog
from llm4rec.online.parameters import to_snapshot

EVENTS, CLIENTS, LARGEST, KILLS, USERS = 20_000, 8, 20, 10, 6040
RAY = "ray"
KINDS = {**FAULTS, "ingress": INGRESS}
ORDER = ("replica", RAY, "learner", "ingress", "learner", RAY, "replica", "learner", "ingress", RAY)


def main() -> None:
    """Send, kill, compare, and store what came out."""
    parser = arguments(__doc__)
    parser.add_argument("--log", default="", help="SQLAlchemy URL of another log")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        url = options.log or f"sqlite:///{folder}/events.db"
        settings = [*settings_of(options), f"online.url={url}", "online.learner.snapshot_s=1", *SPREAD]
        life = Life(Path(folder), [*settings, f"serve.port={free_port()}"])
        life.start(*STAGES)
        try:
            sent = sending(life)
            figures = {**sent, **learnt(life, url)}
        finally:
            life.cluster.stop()
    figures["lost"] = len(sent["acked_ids"] - figures["logged_ids"])
    figures["acked"] = len(sent["acked_ids"])
    figures["logged"] = len(figures["logged_ids"])
    figures = {name: value for name, value in figures.items() if not name.endswith("_ids")}
    print(figures, flush=True)
    if not options.log:
        store("durability", figures, time.monotonic() - began)


@dataclass
class Life:
    """The app, which may be killed and started again."""

    folder: Path
    settings: list[str]
    items: list[str] = field(default_factory=list)
    ports: dict[str, int] = field(default_factory=lambda: {"gcs_port": free_port(), "dashboard_port": free_port()})

    def start(self, *stages: str) -> None:
        """Start Ray and the app, after some jobs, and wait until it answers."""
        self.cluster = LocalCluster(HOME, self.folder / uuid.uuid4().hex, **self.ports)
        self.cluster.__enter__()
        run_jobs(self.cluster, CONFIG, self.settings, *stages)
        config = load_run(HOME / CONFIG, self.settings, HOME)
        client = deploy(self.cluster, config, CONFIG, self.settings)
        self.app = Served(client, self.cluster, config)
        self.items = [item["item_id"] for item in client.call("/v1/items?limit=100")[1]["items"]]

    def kill(self, what: str) -> None:
        """Kill one kind of process, or all of Ray, which is then started anew."""
        if what != RAY:
            self.app.kill(KINDS[what])
            return
        everything = self.cluster.processes()
        for process in everything:
            process.kill()
        psutil.wait_procs(everything, timeout=20)
        self.cluster.stop()
        self.start()


def sending(life: Life) -> dict[str, Any]:
    """All clients send all their events while things are killed."""
    acked: set[str] = set()
    lock = threading.Lock()
    again = [0]

    def client(number: int) -> None:
        rng = random.Random(number)
        left = EVENTS // CLIENTS
        while left:
            batch = new_batch(life, rng, min(left, rng.randint(1, LARGEST)))
            while not taken(life, batch):
                with lock:
                    again[0] += 1
                time.sleep(0.5)
            with lock:
                acked.update(event["event_id"] for event in batch)
            left -= len(batch)
            time.sleep(rng.random() * 0.4)

    threads = [threading.Thread(target=client, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    killed = []
    for number, what in enumerate(ORDER[:KILLS], start=1):
        while len(acked) < EVENTS * number / (KILLS + 1) and any(thread.is_alive() for thread in threads):
            time.sleep(0.1)
        life.kill(what)
        killed.append(what)
        print(f"{len(acked)} events acknowledged, {what} killed", flush=True)
    for thread in threads:
        thread.join()
    return {"acked_ids": acked, "killed": killed, "batches_sent_again": again[0]}


def new_batch(life: Life, rng: random.Random, size: int) -> list[dict[str, Any]]:
    """Events of users on items drawn by chance; a third of the batches is about a slate, if one can be had."""
    user = str(rng.randint(1, USERS))
    slate: dict[str, Any] = {}
    if rng.random() < 1 / 3:
        try:
            slate = life.app.client.call(f"/v1/recommendations/{user}?k=20")[1]
        except (OSError, ValueError):
            slate = {}
    if isinstance(slate, dict) and slate.get("items"):
        items = [item["item_id"] for item in slate["items"][:size]]
        return [event(user, item, rng, slate["slate_id"]) for item in items]
    return [event(str(rng.randint(1, USERS)), rng.choice(life.items), rng) for _ in range(size)]


def event(user: str, item: str, rng: random.Random, slate_id: str | None = None) -> dict[str, Any]:
    """One event with an id of its own."""
    kind = "like" if rng.random() < 0.8 else "dislike"
    found = {"event_id": uuid.uuid4().hex, "user_id": user, "item_id": item, "event": kind}
    return found if slate_id is None else {**found, "slate_id": slate_id}


def taken(life: Life, batch: list[dict[str, Any]]) -> bool:
    """Whether the service has acknowledged a batch."""
    try:
        return life.app.client.call("/v1/feedback", batch)[0] == 202
    except (OSError, urllib.error.URLError, ValueError):
        return False


def learnt(life: Life, url: str) -> dict[str, Any]:
    """What the log holds, and the learner that lived through it beside one that reads the log in one go."""
    log = EventLog(url)
    logged = [row.feedback.event_id for row in everything(log)]
    last = log.last_sequence()
    engine = Engines(life.app.config, log).main
    whole = new_follower(engine, log, life.app.config)
    while whole.catch_up(last):
        pass
    expected = to_snapshot(whole.learner, last, 0)
    deadline = time.monotonic() + 120
    while (kept := log.snapshot(whole.key)) is None or kept.sequence < last:
        if time.monotonic() > deadline:
            break
        time.sleep(0.5)
    log.close()
    return {
        "logged_ids": set(logged),
        "doubled": len(logged) - len(set(logged)),
        "examples": whole.learner.examples,
        "replay_bit_equal": kept is not None and kept.contents == expected.contents,
        "sha256": hashlib.sha256(expected.contents).hexdigest(),
    }


def everything(log: EventLog) -> list[Any]:
    """All feedback of a log."""
    found: list[Any] = []
    while rows := log.logged_after(found[-1].sequence if found else 0, 5000):
        found += rows
    return found


if __name__ == "__main__":
    main()
