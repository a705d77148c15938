"""The demo: a local Ray, the pipeline as a job, the app deployed, a look at what it answers."""

import json
import os
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any

import psutil
import yaml

from llm4rec.artifacts import RunStore
from llm4rec.cluster.local import DIRECT, LocalCluster, require_free
from llm4rec.cluster.run_config import RunConfig, load_run
from llm4rec.cluster.session import LOG_URL
from llm4rec.errors import Llm4RecError

SHOWN_USERS = 3
KEY = "LLM4REC_KEY"
"""Environment variable with the key that requests show, where the app asks for one."""
READY_SECONDS = 180
COLUMNS = ("ndcg@10", "hr@10", "mrr", "coverage@10", "arp@10", "seconds")


def demo(home: Path, config: str, overrides: Sequence[str], *, once: bool) -> None:
    """Run the demo; returns when interrupted, or after one round of checks when `once` is set.

    Raises:
        Llm4RecError: a step failed or a check found something wrong.
    """
    started = time.monotonic()
    run = load_run(home / config, overrides, home)
    settings = [part for override in overrides for part in ("--set", override)]
    require_free(run.serve.port)
    if LOG_URL in os.environ and not run.online.url:
        _say(f"{LOG_URL} is not used here, since it may be another service's; say --set online.url=... to log there")
    with LocalCluster(home, home / ".demo") as cluster:
        _say(f"Ray runs at {cluster.address}; its token is in {cluster.folder / 'token'}")
        cluster.submit(["python", "jobs/pipeline.py", "--config", config, "--home", str(home), *settings])
        client = deploy(cluster, run, config, overrides)
        if run.serve.keys and KEY not in os.environ:
            _say(f"The app asks for a key; with one in the environment's {KEY} its slates are shown here.")
        else:
            _show_slates(client)
        _show_metrics(run)
        _say(f"\nreport: {Path(run.run.path, 'report', 'index.html')}\npage:   {client.url}/")
        if once:
            check(client, cluster)
            _say(f"all checks passed, {time.monotonic() - started:.0f} s in all")
            return
        _say("Serving until Ctrl-C.")
        while True:
            time.sleep(3600)


def deploy(cluster: LocalCluster, run: RunConfig, config: str, overrides: Sequence[str]) -> "Client":
    """Deploy the app with `serve deploy` and wait until it is ready.

    Where one runs already, its replicas answer until the new ones are there, so no failure of those is seen.

    Raises:
        Llm4RecError: Serve gave up, or the app is not ready in time.
    """
    app = yaml.safe_load((cluster.home / "serve_apps" / "recommender.yaml").read_text(encoding="utf-8"))
    app["http_options"] = {"host": run.serve.host, "port": run.serve.port}
    if run.cluster.profile == "cluster":
        app["proxy_location"] = "HeadOnly"
    app["applications"][0]["args"] = {"config": config, "set": list(overrides), "home": str(cluster.home)}
    deployed = cluster.folder / "recommender.yaml"
    deployed.write_text(yaml.safe_dump(app), encoding="utf-8")
    cluster.run(["serve", "deploy", "--address", cluster.address, str(deployed)])
    client = Client(f"http://{run.serve.host}:{run.serve.port}")
    client.wait(READY_SECONDS, lambda: cluster.deploy_failure(app["applications"][0]["name"]))
    return client


class Client:
    """A small HTTP client of the app."""

    def __init__(self, url: str, timeout_s: float = 60.0) -> None:
        self.url, self.timeout_s = url, timeout_s

    def call(self, path: str, body: object = None, method: str | None = None) -> tuple[int, Any]:
        """GET, or POST with a JSON body, unless another method is named; the status and the decoded answer."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"content-type": "application/json"}
        if key := os.environ.get(KEY):
            headers["authorization"] = f"Bearer {key}"
        request = urllib.request.Request(self.url + path, data, headers, method=method)
        try:
            with DIRECT.open(request, timeout=self.timeout_s) as answer:
                return answer.status, _decoded(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, _decoded(error.read())

    def wait(self, seconds: float, failure: Callable[[], str | None] = lambda: None) -> None:
        """Wait until the app is ready.

        Raises:
            Llm4RecError: it is not, in time, or `failure` tells why it will not be.
        """
        deadline = time.monotonic() + seconds
        last = "no answer"
        while time.monotonic() < deadline:
            try:
                status, answer = self.call("/readyz")
                if status == 200:
                    return
                last = f"{status} {answer}"
            except (OSError, HTTPException) as error:
                last = str(error)
            if (why := failure()) is not None:
                raise Llm4RecError(f"the app could not be deployed: {why}")
            time.sleep(1)
        raise Llm4RecError(
            f"the app at {self.url} is not ready after {seconds:.0f} s: {last}; its logs say more, in "
            "/tmp/ray/session_latest/logs/serve until another Ray is started here"
        )


def check(client: Client, cluster: LocalCluster) -> None:
    """Use the app as its users will.

    Raises:
        Llm4RecError: an answer was wrong; the message says which.
    """
    user = client.call("/v1/users?limit=1")[1]["users"][0]["user_id"]
    _, before = client.call(f"/v1/recommendations/{user}?k=5")
    chosen = before["items"][0]["item_id"]
    event = {"event_id": uuid.uuid4().hex, "user_id": user, "item_id": chosen, "event": "like"}
    _expect(client, "feedback is accepted", 202, lambda a: a["accepted"] == 1, "/v1/feedback", [event])
    _expect(
        client, "the same event again changes nothing", 202, lambda a: a["duplicates"] == 1, "/v1/feedback", [event]
    )
    conflict = [{**event, "event": "dislike"}]
    _expect(
        client,
        "its id with other contents is refused",
        409,
        lambda a: "event_id" in a["detail"],
        "/v1/feedback",
        conflict,
    )
    _expect(
        client,
        "the next slate knows the feedback",
        200,
        lambda a: chosen not in {item["item_id"] for item in a["items"]},
        f"/v1/recommendations/{user}?k=5",
    )
    explained = f"/v1/explanations/{before['slate_id']}/{chosen}"
    _expect(client, "an explanation is streamed", 200, lambda a: "event: done" in a, explained)
    _expect(
        client, "an unknown user is a 404", 404, lambda a: "unknown user" in a["detail"], "/v1/recommendations/nobody"
    )
    _expect(client, "k = 0 is a 422", 422, lambda a: a["status"] == 422, f"/v1/recommendations/{user}?k=0")
    _expect(client, "the page is there", 200, lambda a: "<html" in a, "/")
    if outside := listeners_outside_loopback(cluster):
        raise Llm4RecError(f"something listens outside 127.0.0.1: {outside}")
    _say("  ok  nothing listens outside 127.0.0.1")


def listeners_outside_loopback(cluster: LocalCluster) -> list[str]:
    """Addresses other than loopback that processes of the cluster listen on."""
    found = set()
    for process in cluster.processes():
        try:
            connections = process.net_connections(kind="tcp")
        except psutil.Error:
            continue
        for connection in connections:
            host = connection.laddr.ip.removeprefix("::ffff:")
            if connection.status == psutil.CONN_LISTEN and not (host.startswith("127.") or host == "::1"):
                found.add(f"{process.name()} on {host}:{connection.laddr.port}")
    return sorted(found)


def _expect(
    client: Client, what: str, status: int, right: Callable[[Any], bool], path: str, body: object = None
) -> None:
    got, answer = client.call(path, body)
    if got != status or not right(answer):
        raise Llm4RecError(f"check failed: {what}: {path} gave {got} {str(answer)[:300]}, expected {status}")
    _say(f"  ok  {what}")


def _show_slates(client: Client) -> None:
    users = client.call(f"/v1/users?limit={SHOWN_USERS}")[1]["users"]
    for user in users:
        _, slate = client.call(f"/v1/recommendations/{user['user_id']}?k=5&explain=true")
        about = ", ".join(str(value) for value in user["attributes"].values())
        _say(f"\nuser {user['user_id']} ({about}), reasons by: {slate['source']}")
        for place, item in enumerate(slate["items"], start=1):
            _say(f"  {place}. {item['title']}\n     {item['reason']} [{item['reason_source']}]")


def _show_metrics(run: RunConfig) -> None:
    metrics = RunStore(run.run.path).open("report").read_json("metrics.json")
    protocol = metrics["protocol"]
    _say(f"\n{protocol['split']}, {protocol['users']} users, {protocol['items']} items, full ranking, seen removed: "
         f"{protocol['remove_seen']}")  # fmt: skip
    _say(f"{'model':<18}" + "".join(f"{name:>13}" for name in COLUMNS))
    for name, figures in metrics["models"].items():
        _say(f"{name:<18}" + "".join(f"{figures[column]:>13.4f}" for column in COLUMNS))


def _decoded(data: bytes) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        return data.decode(errors="replace")


def _say(line: str) -> None:
    print(line, flush=True)
