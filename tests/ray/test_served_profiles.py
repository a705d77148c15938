"""The app replaced under load, and the same app spread over more deployments."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from llm4rec.cluster.demo import Client, deploy, listeners_outside_loopback
from llm4rec.cluster.local import LocalCluster
from llm4rec.cluster.run_config import load_run
from llm4rec.errors import Llm4RecError
from tests.ports import free_port
from tests.ray.conftest import HOME, SMOKE

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SPREAD = ["cluster.profile=cluster", "cluster.recommender_cpus=0.1", "cluster.explainer_cpus=0.1", "online.shards=2"]
TWICE = ["cluster.replicas=[2,2]", "cluster.recommender_cpus=0.1", "cluster.explainer_cpus=0.1"]


def wait_for(what: Callable[[], object], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.5)


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline()).strip()  # titles are padded
    except psutil.Error:
        return ""


def deployments(cluster: LocalCluster) -> set[str]:
    titles = [title(process) for process in cluster.processes()]
    # While it answers, the method follows.
    return {one.split(":")[-1].partition(".")[0] for one in titles if "ServeReplica:recommender:" in one}


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


def replicas(cluster: LocalCluster) -> set[int]:
    return {process.pid for process in cluster.processes() if "ServeReplica:recommender:recommender" in title(process)}


def test_the_app_is_replaced_under_load_and_nobody_notices(
    app: Client, cluster: LocalCluster, app_settings: list[str]
) -> None:
    first = replicas(cluster)
    with asking(app) as statuses:
        deploy(cluster, load_run(HOME / SMOKE, app_settings, HOME), SMOKE, [*app_settings, *TWICE])
        wait_for(lambda: len(replicas(cluster)) == 2 and not replicas(cluster) & first)
        deploy(cluster, load_run(HOME / SMOKE, app_settings, HOME), SMOKE, app_settings)
        wait_for(lambda: len(replicas(cluster)) == 1)
    assert len(statuses) > 20 and set(statuses) == {200}


def test_why_an_app_cannot_be_built_is_told(tmp_path: Path) -> None:
    settings = [f"run.path={tmp_path}/nothing", f"online.url=sqlite:///{tmp_path}/events.db"]
    settings += [f"serve.port={free_port()}"]
    config = load_run(HOME / SMOKE, settings, HOME)
    with LocalCluster(HOME, tmp_path / "ray", gcs_port=free_port(), dashboard_port=free_port()) as cluster:
        assert cluster.deploy_failure("recommender") is None
        # Not "is not ready after", which is what waiting to the end would say.
        with pytest.raises(Llm4RecError, match=r"could not be deployed: \S*ArtifactError: no \w+ artifact at"):
            deploy(cluster, config, SMOKE, settings)


def test_the_app_spread_out_answers_and_learns(finished_run: Path, tmp_path: Path) -> None:
    settings = [f"run.path={finished_run}", f"online.url=sqlite:///{tmp_path}/events.db", f"serve.port={free_port()}"]
    settings += SPREAD
    with LocalCluster(HOME, tmp_path, gcs_port=free_port(), dashboard_port=free_port()) as cluster:
        app = deploy(cluster, load_run(HOME / SMOKE, settings, HOME), SMOKE, settings)
        parts = {"recommender", "retriever", "ranker", "explainer", "learner-0", "learner-1"}
        wait_for(lambda: deployments(cluster) == parts)
        wait_for(lambda: len(app.call("/v1/status")[1]["learners"]) == 2)
        users = [user["user_id"] for user in app.call("/v1/users?limit=8")[1]["users"]]
        for user in users:
            _, slate = app.call(f"/v1/recommendations/{user}?k=3")
            liked = slate["items"][0]["item_id"]
            event = {"event_id": uuid.uuid4().hex, "user_id": user, "item_id": liked, "event": "like"}
            assert app.call("/v1/feedback", [{**event, "slate_id": slate["slate_id"]}])[0] == 202
            again = app.call(f"/v1/recommendations/{user}?k=50")[1]["items"]
            assert liked not in {item["item_id"] for item in again}
        wait_for(lambda: sum(one["examples"] for one in app.call("/v1/status")[1]["learners"]) == len(users))
        assert all(learner["examples"] for learner in app.call("/v1/status")[1]["learners"])
        assert listeners_outside_loopback(cluster) == []


def test_a_large_catalogue_is_searched_in_parts_and_one_that_is_lost_comes_back(run_copy: Path, tmp_path: Path) -> None:
    settings = [f"run.path={run_copy}", f"serve.port={free_port()}", "recommend.temperature=0", "index.exact_up_to=0"]
    settings += [*SPREAD, "cluster.index_parts=2"]
    with LocalCluster(HOME, tmp_path, gcs_port=free_port(), dashboard_port=free_port()) as cluster:
        for stage in ("index", "refit"):
            make = ["python", f"jobs/{stage}.py", "--config", SMOKE, "--home", str(HOME)]
            cluster.submit([*make, *(part for setting in settings for part in ("--set", setting))])
        app = deploy(cluster, load_run(HOME / SMOKE, settings, HOME), SMOKE, settings)
        wait_for(lambda: {"index-0-of-2", "index-1-of-2", "retriever"} <= deployments(cluster))
        users = [user["user_id"] for user in app.call("/v1/users?limit=5")[1]["users"]]

        def slates() -> list[list[str]]:
            answers = [app.call(f"/v1/recommendations/{user}?k=10&debias=0") for user in users]
            for status, slate in answers:
                assert status == 200 or (status, slate["detail"].partition(",")[0]) == (
                    503,
                    "a part of the index does not answer",
                )
            return [[item["item_id"] for item in slate.get("items", ())] for _, slate in answers]

        before = slates()
        assert all(len(slate) == 10 for slate in before)
        (lost,) = [one for one in cluster.processes() if "ServeReplica:recommender:index-1-of-2" in title(one)]
        lost.kill()
        began = time.monotonic()
        after = slates()  # each is as before, or there is none
        assert all(now in ([], then) for now, then in zip(after, before, strict=True))
        assert [] in after or time.monotonic() - began > 1  # nobody draws a slate from what is left
        wait_for(lambda: slates() == before)
        status, unknown = app.call("/v1/recommendations/nobody")
        assert (status, "Traceback" in unknown["detail"]) == (404, False)
