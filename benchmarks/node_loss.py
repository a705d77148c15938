"""What is lost when a machine is: a node killed with -9 in every stage, and the head.

    sudo env "PATH=$PATH" python benchmarks/node_loss.py    # writes benchmarks/results/node_loss.json, half an hour

Three nodes (nodes.py), the smoke configuration, artifacts on S3 (object_store.py), the log in PostgreSQL, Ray's own
state in Redis. Preprocess, encode and train: one of two worker nodes is gone, network and all, while it is at work;
`lost` and `doubled` are rows of the artifact that an unbroken run has and this one has not, or the other way round, and
for training epochs; `recovered_s` is from then to when the job says that it got any further.

Serve: two replicas of all that a request passes through; 10 requests a second, tried twice, and feedback, sent until
it is acknowledged. A worker node is killed, and started again; then the head, which is started again after ten seconds.
Clients ask the proxies of the other nodes, as a load balancer would after its first look. `lost` are acknowledged
events that are not in the log, `doubled` examples that learners learnt from beyond those of a learner that reads the
log in one go.
"""

import argparse
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from durability import everything
from measure import HOME, store
from node_app import Clients, called, deploy_on, keys_file, postgres, proxy
from nodes import DATA, OUTSIDE, Nodes, network, sequence
from object_store import CREDENTIALS, ObjectStore, object_store
from served import title

from llm4rec.artifacts import Artifact, RunStore
from llm4rec.cluster.demo import Client
from llm4rec.cluster.online import new_follower
from llm4rec.cluster.releases import Engines
from llm4rec.cluster.run_config import RunConfig, load_run
from llm4rec.online.log import EventLog
from llm4rec.train.state import DESCRIPTION

CONFIG, S3_PORT, REDIS_PORT = "configs/smoke.yaml", 5097, 6390
SMALL = ("preprocess.chunk_bytes=40000", "encode.batch_size=8")
LONG = ("train.epochs=8", "train.patience=8", "train.checkpoint_steps=20", "train.num_workers=[1,2]")
STAGES = {
    "preprocess": ("corpus", r"preprocess: log [1-9]\d*/"),
    "encode": ("features", r"encode: text \d+/"),
    "train": ("model", r"train: epoch 2/"),
}
"""By stage the artifact, and what the job says when it is at work."""
GOES_ON = {
    "preprocess": r"preprocess: \w+ (\d+)/|(corpus: finished)",
    "encode": r"encode: text (\d+)/|(features: finished)",
    "train": r"train: epoch (\d+)/\d+, loss [\d.]+, valid",
}
"""How a job says how far it is."""
AFTER_S, HEAD_AWAY_S, LONGEST_S = 60.0, 10.0, 900.0


def main() -> None:
    """Kill, look, and store what came out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*STAGES, "serve"], help="a trial of some stages; stores nothing")
    options = parser.parse_args()
    began = time.monotonic()
    wanted = options.only or [*STAGES, "serve"]
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL is another user's
        with network(), object_store(OUTSIDE, S3_PORT) as objects:
            with Nodes(folder / "offline", environment=CREDENTIALS) as nodes:
                start(nodes, ("head", 0.0), ("one", 1.0), ("two", 1.0))
                objects.put(HOME / "data" / "ml-100k", "data/ml-100k")
                nodes.submit("python", "jobs/pipeline.py", "--config", CONFIG, *settings_of(objects, "whole"))
                for stage in [stage for stage in STAGES if stage in wanted]:
                    figures[stage] = offline(nodes, objects, stage)
                    print(stage, figures[stage], flush=True)
            if "serve" in wanted:
                figures |= serving(folder, objects)
    if options.only:
        print("a trial: nothing is stored")
        return
    store("node_loss", figures, time.monotonic() - began, seeds=[0])


def start(nodes: Nodes, *wanted: tuple[str, float]) -> None:
    """Start nodes, each with so many CPUs."""
    for name, cpus in wanted:
        nodes.start(name, cpus=cpus)


def settings_of(objects: ObjectStore, run: str) -> list[str]:
    """Settings of a run in the object store."""
    paths = (f"source.path={objects.location('data/ml-100k')}", f"run.path={objects.location(f'runs/{run}')}")
    return sequence([*paths, *SMALL, *LONG])


def offline(nodes: Nodes, objects: ObjectStore, stage: str) -> dict[str, Any]:
    """Run a stage once more, and kill a node in the middle of it."""
    artifact, at_work = STAGES[stage]
    objects.copy("runs/whole", f"runs/{stage}")
    RunStore(objects.location(f"runs/{stage}")).delete(artifact)
    output = nodes.folder / f"{stage}.log"
    command = nodes.submission("python", f"jobs/{stage}.py", "--config", CONFIG, *settings_of(objects, stage))
    with output.open("wb") as file:
        job = subprocess.Popen(command, env=nodes.environment, cwd=nodes.folder, stdout=file, stderr=file)
    until(job, output, at_work)
    at_work_there = sum(
        "ray::" in title(process) and "IDLE" not in title(process) for process in nodes.processes("two")
    )
    if not at_work_there:
        raise RuntimeError(f"{stage}: nothing runs on the node that is to be killed")
    before = how_far(output, stage)
    nodes.kill("two")
    killed = time.monotonic()
    while how_far(output, stage) <= before and job.poll() is None:
        time.sleep(0.1)
    recovered = time.monotonic() - killed
    if job.wait(timeout=LONGEST_S):
        raise RuntimeError(output.read_text(errors="replace")[-4000:])
    finished = time.monotonic() - killed
    nodes.start("two", cpus=1)
    whole, found = (RunStore(objects.location(f"runs/{run}")).open(artifact) for run in ("whole", stage))
    if DESCRIPTION in found.manifest["files"]:
        last = [one.read_json(DESCRIPTION)["curve"][-1] for one in (whole, found)]
        compared = {"loss_delta": round(abs(last[1]["loss"] / last[0]["loss"] - 1), 4)}
    else:
        compared = {"same_hash": whole.hash == found.hash}
    lost, doubled = difference(rows(whole), rows(found))
    return {
        "processes_at_work_there": at_work_there,
        **compared,
        "lost": lost,
        "doubled": doubled,
        "recovered_s": round(recovered, 1),
        "finished_s": round(finished, 1),
        "told": re.findall(r"(?:resumed after .*|a worker was lost.*|goes on.*)", output.read_text(errors="replace")),
    }


def how_far(output: Path, stage: str) -> int:
    """How many different things a job has said of how far it is."""
    return len(set(re.findall(GOES_ON[stage], output.read_text(errors="replace"))))


def until(job: "subprocess.Popen[bytes]", output: Path, pattern: str) -> int:
    """Wait until a job has said something; how much it has said by then."""
    deadline = time.monotonic() + LONGEST_S
    while not re.search(pattern, text := output.read_text(errors="replace")):
        if job.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{pattern} was not said:\n{text[-4000:]}")
        time.sleep(0.05)
    return len(text)


def rows(artifact: Artifact) -> Counter[str]:
    """What an artifact holds, row by row; of a model its epochs."""
    if DESCRIPTION in artifact.manifest["files"]:
        return Counter(f"epoch {number}" for number, _ in enumerate(artifact.read_json(DESCRIPTION)["curve"]))
    found: Counter[str] = Counter()
    for table in artifact.manifest["rows"]:
        found.update(f"{table} {row}" for row in plain(artifact.read_table(table)))
    return found


def plain(table: pa.Table) -> list[str]:
    """Each row in words."""
    return [str(row) for row in table.to_pylist()]


def difference(whole: Counter[str], found: Counter[str]) -> tuple[int, int]:
    """How many rows are missing, and how many are too many."""
    return sum((whole - found).values()), sum((found - whole).values())


def serving(folder: Path, objects: ObjectStore) -> dict[str, Any]:
    """Kill a node and the head under a served app."""
    with postgres(folder, OUTSIDE) as url, redis(folder) as state:
        environment = {**CREDENTIALS, "LLM4REC_LOG_URL": url, "RAY_REDIS_ADDRESS": state}
        files = {"keys.json": keys_file(folder)}
        with Nodes(folder / "served", environment=environment, hides=DATA, files=files) as nodes:
            start(nodes, ("head", 0.0), ("one", 3.0), ("two", 3.0))
            source = f"source.path={objects.location('data/ml-100k')}"
            settings = [
                f"run.path={objects.location('runs/whole')}",
                source,
                "cluster.replicas=[2,2]",
                "online.shards=1",
            ]
            deploy_on(nodes, settings)
            figures: dict[str, Any] = {}
            clients = Clients([proxy(nodes, "one"), proxy(nodes, "head")])
            with clients.at_work():
                time.sleep(20)
                figures["serve"] = lose(clients, lambda: nodes.kill("two"))
            nodes.start("two", cpus=3)
            outside = Clients([proxy(nodes, "one"), proxy(nodes, "two")])
            time.sleep(60)
            with outside.at_work():
                time.sleep(10)
                figures["head"] = lose(outside, lambda: away(nodes), proxy(nodes, "head"))
            time.sleep(20)
            learner = Client(proxy(nodes, "one")).call("/v1/status")[1]["learners"][0]
        log = EventLog(url)
        logged = {row.feedback.event_id for row in everything(log)}
        replayed = replay(load_run(HOME / CONFIG, settings, HOME), log)
        log.close()
    for name, sent in (("serve", clients.acked), ("head", outside.acked)):
        figures[name] |= {
            "acked": len(sent),
            "lost": len(sent - logged),
            "doubled": learner["examples"] - replayed,
        }
        print(name, figures[name], flush=True)
    return figures


def replay(config: RunConfig, log: EventLog) -> int:
    """How many examples a learner learns from that reads the whole log in one go."""
    whole = new_follower(Engines(config, log).main, log, config)
    last = log.last_sequence()
    while whole.catch_up(last):
        pass
    return whole.learner.examples


def lose(clients: Clients, what: Callable[[], None], asked: str | None = None) -> dict[str, Any]:
    """Do something, and look for a minute or longer at what is noticed, and for when a proxy answers again."""
    since = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(answering, asked, since) if asked else None
        what()
        time.sleep(max(0.0, since + AFTER_S - time.monotonic()))
        own = {"own_proxy_answers_s": again.result()} if again else {}
    return {**clients.figures(since), **own}


def away(nodes: Nodes) -> None:
    """Kill the head, and start it again where it was."""
    nodes.kill("head")
    time.sleep(HEAD_AWAY_S)
    nodes.start("head", cpus=0)


def answering(url: str, since: float) -> float:
    """Seconds from a moment until a proxy, which is to be silent first, answers the app's requests."""
    time.sleep(HEAD_AWAY_S / 2)
    while called(url, "/v1/users?limit=1") != 200:
        if time.monotonic() - since > LONGEST_S:
            return float("inf")
        time.sleep(0.5)
    return round(time.monotonic() - since, 1)


@contextmanager
def redis(folder: Path) -> Iterator[str]:
    """A server for Ray's own state; its address."""
    command = ["redis-server", "--bind", OUTSIDE, "--port", str(REDIS_PORT), "--protected-mode", "no", "--save", ""]
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        yield f"{OUTSIDE}:{REDIS_PORT}"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()
