"""The deployed app over real HTTP."""

import json
import re
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any

import pytest

from llm4rec.cluster.demo import Client, listeners_outside_loopback
from llm4rec.cluster.local import LocalCluster
from tests.ray.conftest import HOME

pytestmark = pytest.mark.ray


def first_user(app: Client) -> str:
    return str(app.call("/v1/users?limit=1")[1]["users"][0]["user_id"])


def event(user: str, item: str, kind: str = "like") -> dict[str, Any]:
    return {"event_id": uuid.uuid4().hex, "user_id": user, "item_id": item, "event": kind}


@pytest.mark.smoke
def test_a_slate_over_http(app: Client) -> None:
    status, slate = app.call(f"/v1/recommendations/{first_user(app)}?k=5")
    assert status == 200
    assert len(slate["items"]) == 5
    assert slate["source"] == "none"
    assert all(0 < item["propensity"] <= 1 for item in slate["items"])


@pytest.mark.smoke
def test_reasons_name_the_item_and_say_who_wrote_them(app: Client) -> None:
    _, slate = app.call(f"/v1/recommendations/{first_user(app)}?k=3&explain=true")
    assert slate["source"] in {"llm", "template", "mixed"}
    for item in slate["items"]:
        assert item["title"].split(" (")[0] in item["reason"]
        assert item["reason_source"] in {"llm", "template"}


def test_language_model_writes_reasons_given_time(app: Client) -> None:
    sources = {
        item["reason_source"]
        for user in app.call("/v1/users?limit=3")[1]["users"]
        for item in app.call(f"/v1/recommendations/{user['user_id']}?k=3&explain=true")[1]["items"]
    }
    assert "llm" in sources


@pytest.mark.parametrize("kind", ["like", "dislike"])
def test_next_slate_knows_the_feedback(app: Client, kind: str) -> None:
    user = first_user(app)
    for _ in range(5):
        item = app.call(f"/v1/recommendations/{user}?k=1")[1]["items"][0]["item_id"]
        assert app.call("/v1/feedback", [event(user, item, kind)]) == (202, {"accepted": 1, "duplicates": 0})
        shown = app.call(f"/v1/recommendations/{user}?k=50")[1]["items"]
        assert item not in {entry["item_id"] for entry in shown}
        newest = app.call(f"/v1/users/{user}")[1]["history"][0]
        assert (newest["item_id"], newest["event"]) == (item, kind)


def test_same_event_twice_and_conflicting_event(app: Client) -> None:
    user = first_user(app)
    item = app.call(f"/v1/recommendations/{user}?k=1")[1]["items"][0]["item_id"]
    first = event(user, item)
    assert app.call("/v1/feedback", [first])[1]["accepted"] == 1
    assert app.call("/v1/feedback", [first]) == (202, {"accepted": 0, "duplicates": 1})
    status, problem = app.call("/v1/feedback", [{**first, "event": "dislike"}])
    assert status == 409
    assert first["event_id"] in problem["detail"]


def test_explanation_stream_ends_with_the_checked_reason(app: Client) -> None:
    _, slate = app.call(f"/v1/recommendations/{first_user(app)}?k=1")
    item = slate["items"][0]
    status, stream = app.call(f"/v1/explanations/{slate['slate_id']}/{item['item_id']}")
    assert status == 200
    assert stream.count("event: done") == 1
    assert item["title"].split(" (")[0] in stream.split("event: done")[1]


def test_new_item_is_recommendable_at_once_and_withdrawn_again(app: Client) -> None:
    record = {"title": "The Wild Robots (1997)", "categories": ["Sci-Fi", "Animation"], "text": "Robots in a wood."}
    body = {"query": "robots in a wood", "k": 50}
    assert put(app, "/v1/items/new-1", record) == 200
    assert app.call("/v1/items/new-1")[1]["title"] == record["title"]
    assert "new-1" in {item["item_id"] for item in app.call("/v1/recommendations", body)[1]["items"]}
    assert send(app, "DELETE", "/v1/items/new-1") in {200, 204}
    assert app.call("/v1/items/new-1")[0] == 404
    assert "new-1" not in {item["item_id"] for item in app.call("/v1/recommendations", body)[1]["items"]}


def test_filters_are_obeyed_and_an_impossible_one_is_explained(app: Client) -> None:
    user = first_user(app)
    status, slate = app.call(
        "/v1/recommendations", {"user_id": user, "filters": {"categories": ["Horror"], "year_max": 1980}, "k": 5}
    )
    assert status == 200 and slate["items"]
    for item in slate["items"]:
        found = app.call(f"/v1/items/{item['item_id']}")[1]
        assert "Horror" in found["categories"]
        assert found["numbers"]["year"] <= 1980
    _, empty = app.call("/v1/recommendations", {"user_id": user, "filters": {"year_min": 3000}, "k": 5})
    assert empty["items"] == []
    assert "no item" in empty["notice"]


def test_words_become_constraints_that_the_answer_shows_and_obeys(app: Client) -> None:
    body = {"user_id": first_user(app), "query": "a scary horror film from before 1981, no comedy", "k": 5}
    _, slate = app.call("/v1/recommendations", body)
    shown = {name: value for name, value in slate["filters"].items() if value is not None}
    assert shown == {"all_categories": ["Horror"], "no_categories": ["Comedy"], "year_max": 1980}
    assert slate["items"]
    for item in slate["items"]:
        found = app.call(f"/v1/items/{item['item_id']}")[1]
        assert "Horror" in found["categories"] and "Comedy" not in found["categories"]
        assert found["numbers"]["year"] <= 1980
    later = {**body, "dialogue": [body["query"]], "query": "rather a drama"}
    _, slate = app.call("/v1/recommendations", later)
    assert slate["filters"]["all_categories"] == ["Drama"] and slate["filters"]["year_max"] == 1980
    _, empty = app.call("/v1/recommendations", {"query": "a western from 2090"})
    assert empty["items"] == [] and "year 2090" in empty["notice"]


def test_user_can_be_added_and_forgotten(app: Client) -> None:
    assert put(app, "/v1/users/ada", {"attributes": {"age": 36, "gender": "F"}}) == 200
    assert app.call("/v1/recommendations/ada?k=3")[0] == 200
    assert send(app, "DELETE", "/v1/users/ada") in {200, 204}
    assert app.call("/v1/recommendations/ada?k=3")[0] == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/recommendations/nobody", None, 404),
        ("/v1/items/nothing", None, 404),
        ("/v1/recommendations/{user}?k=0", None, 422),
        ("/v1/recommendations/{user}?k=NaN", None, 422),
        ("/v1/recommendations/{user}?k=1e9", None, 422),
        ("/v1/nowhere", None, 404),
        ("/v1/feedback", [{"event_id": "x"}], 422),
        ("/v1/recommendations", {"history": ["no-such-item"]}, 404),
        ("/v1/explanations/no-slate/no-item", None, 404),
    ],
)
def test_bad_requests_are_problems(app: Client, path: str, body: object, status: int) -> None:
    got, problem = app.call(path.format(user=first_user(app)), body)
    assert got == status, problem
    assert problem["status"] == status
    assert problem["detail"]
    assert "Traceback" not in str(problem)


@pytest.mark.parametrize(
    ("data", "status"), [(b'{"k": NaN, "history": []}', 400), (b"[" * 5_000_000, 413), (b"\xff\xfe", 400)]
)
def test_hostile_bodies(app: Client, data: bytes, status: int) -> None:
    request = urllib.request.Request(
        app.url + "/v1/recommendations", data, {"content-type": "application/json"}, method="POST"
    )
    with pytest.raises(urllib.error.URLError) as refused:
        urllib.request.urlopen(request, timeout=30)
    if not isinstance(refused.value, urllib.error.HTTPError):  # it closed before all of the 5 MB were sent
        assert status == 413 and isinstance(refused.value.reason, BrokenPipeError | ConnectionResetError)
        return
    assert refused.value.code == status
    assert refused.value.headers["content-type"].startswith("application/problem+json")


def test_page_docs_and_health(app: Client) -> None:
    assert "<html" in app.call("/")[1]
    assert app.call("/docs")[0] == 200
    assert app.call("/healthz")[0] == 200
    assert "/v1/feedback" in app.call("/openapi.json")[1]["paths"]
    assert app.call("/v1/status")[1]["users"] == 150


def test_nothing_listens_outside_loopback(app: Client, cluster: LocalCluster) -> None:
    assert listeners_outside_loopback(cluster) == []


def put(app: Client, path: str, record: object) -> int:
    return send(app, "PUT", path, record)


def send(app: Client, method: str, path: str, record: object = None) -> int:
    import json

    data = None if record is None else json.dumps(record).encode()
    request = urllib.request.Request(app.url + path, data, {"content-type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(answer.status)


def exported() -> str:
    """All metrics of this node, as Prometheus would get them."""
    found = json.loads(Path("/tmp/ray/prom_metrics_service_discovery.json").read_text())
    texts = []
    for target in found[0]["targets"]:
        try:
            texts.append(Client(f"http://{target}").call("/metrics")[1])
        except OSError:
            continue  # of a Ray that has ended
    return "\n".join(map(str, texts))


def test_metrics_that_the_dashboard_shows_are_exported_and_name_nobody(app: Client) -> None:
    user = "ann.example+metrics@example.org"
    known = first_user(app)
    item = app.call(f"/v1/recommendations/{known}?k=1&explain=true")[1]["items"][0]["item_id"]
    app.call("/v1/feedback", [event(user, item)])
    assert app.call(f"/v1/recommendations/{user}?k=1")[0] == 200
    board = Path(HOME, "deploy/grafana/llm4rec.json").read_text()
    wanted = set(re.findall(r"ray_llm4rec_\w+", board))
    deadline = time.monotonic() + 60  # Ray gathers every few seconds
    while missing := {name for name in wanted if name not in (text := exported())}:
        assert time.monotonic() < deadline, f"not exported: {missing}"
        time.sleep(2)
    ours = [line for line in text.splitlines() if line.startswith("ray_llm4rec_")]
    assert any('route="/v1/recommendations/{user_id}"' in line and 'status="200"' in line for line in ours)
    assert not any("ann.example" in line for line in text.splitlines())
