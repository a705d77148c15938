"""The same app spread over more deployments and replicas, swapped in under load and back."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest

from llm4rec.cluster.demo import Client, deploy
from llm4rec.cluster.local import LocalCluster
from llm4rec.cluster.run_config import load_run
from tests.ray.conftest import HOME, SMOKE

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SPREAD = ["cluster.profile=cluster", "cluster.recommender_cpus=0.1", "cluster.explainer_cpus=0.1", "online.shards=2"]

SPREAD_OUT = {"retriever", "ranker", "learner-1"}


def redeploy(cluster: LocalCluster, settings: list[str]) -> None:
    deploy(cluster, load_run(HOME / SMOKE, settings, HOME), SMOKE, settings)


def wait_for(what: Callable[[], object], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.5)


def deployments(cluster: LocalCluster) -> set[str]:
    found = set()
    for process in cluster.processes():
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if "ServeReplica:recommender:" in title:
            found.add(title.split(":")[-1].partition(".")[0])  # while it answers, the method follows
    return found


@contextmanager
def asking(app: Client) -> Iterator[list[int]]:
    """Somebody asks for slates all the time; the statuses that come."""
    statuses: list[int] = []
    over = threading.Event()

    def ask() -> None:
        user = app.call("/v1/users?limit=1")[1]["users"][0]["user_id"]
        while not over.wait(0.2):
            statuses.append(app.call(f"/v1/recommendations/{user}?k=3")[0])

    thread = threading.Thread(target=ask)
    thread.start()
    yield statuses
    over.set()
    thread.join()


def test_the_app_spreads_out_under_load_learns_there_and_comes_back(
    app: Client, cluster: LocalCluster, app_settings: list[str]
) -> None:
    with asking(app) as statuses:
        redeploy(cluster, [*app_settings, *SPREAD])
        wait_for(
            lambda: (
                deployments(cluster) == {"recommender", "retriever", "ranker", "explainer", "learner-0", "learner-1"}
            )
        )
        wait_for(lambda: len(app.call("/v1/status")[1]["learners"]) == 2)
        users = [user["user_id"] for user in app.call("/v1/users?limit=8")[1]["users"]]
        before = sum(learner["examples"] for learner in app.call("/v1/status")[1]["learners"])
        for user in users:
            _, slate = app.call(f"/v1/recommendations/{user}?k=3")
            liked = slate["items"][0]["item_id"]
            event = {"event_id": uuid.uuid4().hex, "user_id": user, "item_id": liked, "event": "like"}
            assert app.call("/v1/feedback", [{**event, "slate_id": slate["slate_id"]}])[0] == 202
            again = app.call(f"/v1/recommendations/{user}?k=50")[1]["items"]
            assert liked not in {item["item_id"] for item in again}
        wait_for(lambda: sum(one["examples"] for one in app.call("/v1/status")[1]["learners"]) == before + len(users))
        assert all(learner["examples"] for learner in app.call("/v1/status")[1]["learners"])
        redeploy(cluster, app_settings)
        wait_for(lambda: deployments(cluster) == {"recommender", "explainer", "learner-0"})
    assert len(statuses) > 20 and set(statuses) == {200}
