"""What the service does when it is treated badly.

    python benchmarks/hostile.py    # writes benchmarks/results/hostile.json, five minutes

The model of quality.py for ML-1M, one replica, keys asked for. In turn: 200 sockets that send a header or a body a byte
at a time for half a minute, while others ask for slates; a list of requests that no client should send, as raw bytes;
schemathesis on the OpenAPI document (every operation, right and wrong input, sequences of calls; no answer may be a
5xx, and statuses, types and shapes must be as documented); run folders made by somebody who means harm, given to
jobs/publish.py's own function. `memory_mb` is the most that the replica has over what it had before each of them, of
memory that no other process has, after some hundred ordinary requests of all kinds. At the end all that Ray and the app
have logged is searched for the keys, and for ids of users who asked. The exit status is 1 where something was not as it
should be.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from hostile_inputs import SECRET_USER, bundles, hostile_requests
from load import CONFIG, asking, settings_of
from measure import store
from open_loop import open_loop, summary
from served import STAGES, Served, arguments, served

from llm4rec.cluster.demo import KEY
from llm4rec.cluster.event_log import log_url
from llm4rec.cluster.publish import publish
from llm4rec.errors import Llm4RecError
from llm4rec.online.log import EventLog
from llm4rec.serve.keys import create_key

EXAMPLES, SOCKETS, LORIS_S, PATIENCE_S, ORDINARY = 60, 200, 30.0, 2.0, 60
MEMORY_MB = 20.0
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def main() -> None:
    """Serve, treat badly, and store what came out."""
    options = arguments(__doc__).parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        keys = folder / "keys.json"
        os.environ[KEY] = create_key(keys, "hostile", ["read", "write", "admin"])
        settings = [*settings_of(options), f"serve.keys={keys}"]
        with served(CONFIG, settings, {}, *STAGES) as app:
            ordinary(app)
            figures: dict[str, Any] = {}
            for what in (by_slowness, by_hand, by_schema, by_bundles):  # schemathesis deletes users
                with watched(app) as memory:
                    figures[what.__name__.removeprefix("by_")] = found = what(app, folder)
                found["memory_mb"] = memory[0]
                found["up"] = app.client.call("/readyz")[0] == 200
                print(what.__name__, json.dumps(found), flush=True)
            figures["logged"] = logged(app, [os.environ[KEY], SECRET_USER])
    parts = [figures[part] for part in ("schema", "hand", "slowness", "bundles")]
    figures["status_500"] = sum(part.get("status_5xx", 0) for part in parts)
    figures["memory_mb"] = max(part["memory_mb"] for part in parts)
    print(json.dumps(figures), flush=True)
    store("hostile", figures, time.monotonic() - began)
    bad = figures["schema"]["exit"] or not figures["schema"]["requests"] or figures["slowness"]["failed"]
    bad = bad or figures["status_500"] or figures["memory_mb"] > MEMORY_MB or not all(part["up"] for part in parts)
    sys.exit(bool(bad or figures["logged"] or figures["bundles"]["taken"] or figures["bundles"]["executed"]))


def ordinary(app: Served) -> None:
    """Requests of the kinds that take memory when they come for the first time, and no more later."""
    open_loop(app.client.url, 20, 20, asking(app.client))
    items = [item["item_id"] for item in app.client.call(f"/v1/items?limit={ORDINARY}")[1]["items"]]
    for number in range(len(items)):
        record = {"title": f"Number {number}", "text": "A film.", "categories": ["Drama"], "numbers": {}}
        history = [{"item_id": one} for one in items[: number + 1]]
        statuses = {app.client.call(f"/v1/items/ordinary-{number}", record, method="PUT")[0]}
        statuses |= {app.client.call("/v1/recommendations", {"history": history})[0]}
        assert statuses == {200}, statuses


@contextmanager
def watched(app: Served) -> Iterator[list[float]]:
    """The most memory that the replica has meanwhile, in MiB over what it had."""
    (replica,) = app.processes("ServeReplica:recommender:recommender")
    before, most, over = replica.memory_full_info().uss, [0.0], threading.Event()

    def look() -> None:
        while not over.wait(0.2):
            most[0] = max(most[0], round((replica.memory_full_info().uss - before) / 2**20, 1))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield most
    finally:
        over.set()
        thread.join()


def by_schema(app: Served, folder: Path) -> dict[str, Any]:
    """All that schemathesis makes of the OpenAPI document."""
    report = folder / "schema.ndjson"
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{app.client.url}/openapi.json"]
    command += ["--header", f"authorization: Bearer {os.environ[KEY]}", "--checks", CHECKS, "--seed", "0"]
    command += ["--max-examples", str(EXAMPLES), "--continue-on-failure", "--no-color"]
    command += ["--report-ndjson-path", str(report)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    statuses: Counter[str] = Counter()
    for line in report.read_text().splitlines():
        statuses.update(_statuses(json.loads(line)))
    if done.returncode:
        print(done.stdout, flush=True)
    failures = [line for line in done.stdout.splitlines() if line.startswith(("- ", "  - "))]
    return {
        "requests": sum(statuses.values()),
        "statuses": dict(sorted(statuses.items())),
        "status_5xx": sum(count for status, count in statuses.items() if status >= "5"),
        "failures": failures,
        "exit": done.returncode,
    }


def _statuses(value: Any) -> Iterator[str]:
    """Of all responses within a record of the report."""
    if isinstance(value, dict):
        if isinstance(value.get("status_code"), int):
            yield str(value["status_code"])
        for inner in value.values():
            yield from _statuses(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _statuses(inner)


def by_hand(app: Served, _: Path) -> dict[str, Any]:
    """The status that each of them gets, 0 where the connection is closed without one."""
    key = os.environ[KEY].encode()
    statuses = {name: sent(app, data.replace(b"KEY", key)) for name, data in hostile_requests().items()}
    return {"statuses": statuses, "status_5xx": sum(status >= 500 for status in statuses.values())}


def sent(app: Served, data: bytes) -> int:
    """Send some bytes and end the connection's own side; the status of the answer."""
    host, port = app.config.serve.host, app.config.serve.port
    with socket.create_connection((host, port), timeout=20) as connection:
        with suppress(OSError):  # refused while it is being sent
            connection.sendall(data)
        connection.settimeout(PATIENCE_S)
        try:
            answer = connection.recv(4096)
        except TimeoutError:
            answer = _ended(connection)
        except OSError:
            return 0
    parts = answer.split(b" ", 2)
    return int(parts[1]) if answer.startswith(b"HTTP/1.1 ") and len(parts) > 1 else 0


def _ended(connection: socket.socket) -> bytes:
    """The answer to what was only half a request, once the client says that there is no more."""
    with suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(20)
        return connection.recv(4096)
    return b""


def by_slowness(app: Served, _: Path) -> dict[str, Any]:
    """Sockets that never come to the point, and what others notice."""
    over = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_loris(app, over)))
    thread.start()
    answers = open_loop(app.client.url, 20, LORIS_S, asking(app.client))
    over.set()
    thread.join()
    failed = [answer for answer in answers if answer.status != 200]
    return {"sockets": SOCKETS, **summary(answers), "failed": len(failed), "status_5xx": 0}


async def _loris(app: Served, over: threading.Event) -> None:
    async def one(begun: bytes) -> None:
        _, writer = await asyncio.open_connection(app.config.serve.host, app.config.serve.port)
        writer.write(begun)
        while not over.is_set():
            writer.write(b"a")
            await asyncio.sleep(1)
        writer.close()

    key = os.environ[KEY]
    head = b"GET /v1/status HTTP/1.1\r\nhost: x\r\nx-slow: "
    asked = f"POST /v1/feedback HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: 9999\r\n\r\n["
    await asyncio.gather(*(one(begun) for begun in [head, asked.encode()] * (SOCKETS // 2)))


def by_bundles(app: Served, folder: Path) -> dict[str, Any]:
    """What becomes of them when they are published."""
    marker, events = folder / "executed", EventLog(log_url(app.config))
    refusals: dict[str, str | None] = {}
    for name, run in bundles(Path(app.config.run.path), folder / "bundles", marker).items():
        try:
            publish(app.config, events, str(run))
            refusals[name] = None
        except Llm4RecError as error:
            refusals[name] = str(error).replace(str(run), "RUN")
    events.close()
    shutil.rmtree(folder / "bundles")
    taken = [name for name, refusal in refusals.items() if refusal is None]
    return {"refusals": refusals, "taken": taken, "executed": marker.exists()}


def logged(app: Served, secrets: list[str]) -> list[str]:
    """Files in which any of some words was written by Ray or the app."""
    session = next(
        Path(part.partition("=")[2] if "=" in part else part)
        for process in app.processes("raylet")
        for part in process.cmdline()
        if "session_" in part and "/logs" not in part and Path(part.partition("=")[2] or part).is_dir()
    )
    files = [path for path in (session / "logs").rglob("*") if path.is_file()]
    files += [path for path in app.cluster.folder.rglob("*.log") if path.is_file()]
    return [
        str(path.name) for path in files if any(secret.encode() in path.read_bytes() for secret in secrets)
    ] + _in_titles(app, secrets)


def _in_titles(app: Served, secrets: list[str]) -> list[str]:
    found = []
    for process in app.cluster.processes():
        try:
            if any(secret in " ".join(process.cmdline()) for secret in secrets):
                found.append(process.name())
        except psutil.Error:
            continue
    return found


if __name__ == "__main__":
    main()
