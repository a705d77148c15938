"""Bad input of every kind: the exact status, problem+json, a message that helps, and never a 500."""

import asyncio
import json
import logging
from pathlib import Path

import pytest
from small_service import STATUSES, SmallService
from starlette.testclient import TestClient

from llm4rec.config import validate
from llm4rec.errors import ConfigError
from llm4rec.online.log import EventLog
from llm4rec.serve.app import build_app
from llm4rec.serve.config import ServeConfig
from llm4rec.serve.errors import NotReadyError

JSON = {"content-type": "application/json"}
EVENT = {"event_id": "e1", "user_id": "7", "item_id": "1", "event": "like"}


def check(answer, status: int, *words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status and problem["title"] and "Traceback" not in answer.text
    for word in words:
        assert word in problem["detail"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("k=0", ("query.k", "greater than or equal to 1", "got '0'")),
        ("k=-1", ("query.k", "greater than or equal to 1")),
        ("k=NaN", ("query.k", "got 'NaN'")),
        ("k=x", ("query.k", "got 'x'")),
        ("k=true", ("query.k",)),
        ("k=1e9", ("query.k",)),
        ("k=101", ("k is too large: 101", "1 to 100")),
        ("k=1000000000", ("1 to 100",)),
        ("k=" + "9" * 5000, ()),
        ("K=5", ("query.K", "Extra inputs")),
        ("diversity=nan", ("query.diversity",)),
        ("diversity=1.1", ("query.diversity", "less than or equal to 1")),
        ("debias=-0.1", ("query.debias",)),
        ("explain=perhaps", ("query.explain",)),
    ],
)
def test_bad_query_strings(client: TestClient, query: str, words: tuple[str, ...]) -> None:
    check(client.get(f"/v1/recommendations/7?{query}"), 422, *words)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ('{"user_id": "7", "k": NaN}', 400, ("NaN",)),
        ('{"user_id": "7", "k": -Infinity}', 400, ("-Infinity",)),
        ('{"user_id": "7", "diversity": 1e999}', 400, ("1e999", "too large")),
        ('{"user_id": "7", "user_id": "8"}', 400, ("'user_id' occurs twice",)),
        ("[" * 200_000, 400, ("nested too deeply",)),
        ('{"a":' * 200_000, 400, ("nested too deeply",)),
        ('{"user_id": ', 400, ("not valid JSON",)),
        (b'{"user_id": "\xff"}', 400, ("not valid JSON",)),
        ('{"user_id": "7"}'.encode("utf-16"), 400, ("not valid JSON",)),
        ('{"user_id": "7", "k": ' + "9" * 5000 + "}", 400, ("not valid JSON",)),
        ("", 422, ("body",)),
        ("null", 422, ("body",)),
        ("[]", 422, ("body",)),
        ("{}", 422, ("at least one of user_id, history",)),
        ('{"user_id": "7", "k": 0}', 422, ("body.k", "got 0")),
        ('{"user_id": "7", "k": -1}', 422, ("body.k", "got -1")),
        ('{"user_id": "7", "k": 1.0}', 422, ("body.k", "integer")),
        ('{"user_id": "7", "k": true}', 422, ("body.k", "got True")),
        ('{"user_id": "7", "k": "10"}', 422, ("body.k", "got '10'")),
        ('{"user_id": "7", "k": 1000000000}', 422, ("1 to 100",)),
        ('{"user_id": "7", "k": ' + "9" * 4000 + "}", 422, ("1 to 100",)),
        ('{"user_id": "7", "diversity": ' + "9" * 4000 + "}", 422, ("body.diversity",)),
        ('{"user_id": "7", "wish": 1}', 422, ("body.wish", "Extra inputs")),
        ('{"user_id": ""}', 422, ("body.user_id", "at least 1")),
        (json.dumps({"user_id": "x" * 257}), 422, ("body.user_id", "at most 256")),
        (r'{"user_id": "a\u0000b"}', 422, ("body.user_id", "control characters")),
        (r'{"user_id": "\ud800"}', 422, ("body.user_id",)),
        (r'{"user_id": "7", "\ud800": 1}', 422, ()),
        ('{"user_id": 7}', 422, ("body.user_id", "string")),
        ('{"history": "1"}', 422, ("body.history",)),
        ('{"history": [{"item_id": "1", "timestamp": -1}]}', 422, ("timestamp", "got -1")),
        (json.dumps({"history": ["1"] * 1001}), 422, ("body.history", "at most 1000")),
        ('{"query": ""}', 422, ("body.query",)),
        ('{"query": "x", "filters": {"categories": []}}', 422, ("body.filters.categories",)),
        ('{"query": "x", "filters": {"year_min": 2000, "year_max": 1990}}', 422, ("2000 is after year_max 1990",)),
        ('{"query": "x", "filters": {"price_min": 2, "price_max": 1}}', 422, ("price_min 2 is above price_max 1",)),
        ('{"query": "x", "filters": {"price_max": -1}}', 422, ("body.filters.price_max",)),
        ('{"user_id": "7", "dialogue": ["a film"]}', 422, ("dialogue needs a query",)),
        ('{"query": "x", "dialogue": [7]}', 422, ("body.dialogue",)),
        ('{"user_id": "nobody"}', 404, ("unknown user 'nobody'",)),
    ],
)
def test_bad_recommendation_bodies(client: TestClient, body: str | bytes, status: int, words: tuple[str, ...]) -> None:
    check(client.post("/v1/recommendations", content=body, headers=JSON), status, *words)


@pytest.mark.parametrize(
    ("events", "status", "words"),
    [
        ([], 422, ("body", "at least 1")),
        ([EVENT] * 1001, 422, ("at most 1000",)),
        (EVENT, 422, ("body",)),
        ([EVENT | {"event": "adore"}], 422, ("body.0.event", "'click', 'like'", "got 'adore'")),
        ([EVENT | {"event": "rate"}], 422, ("body.0", "needs a value")),
        ([EVENT | {"value": "5"}], 422, ("body.0.value",)),
        ([EVENT | {"value": True}], 422, ("body.0.value",)),
        ([EVENT | {"timestamp": 1.5}], 422, ("body.0.timestamp",)),
        ([EVENT | {"timestamp": 10**12}], 422, ("body.0.timestamp",)),
        ([EVENT | {"extra": 1}], 422, ("body.0.extra",)),
        ([{key: EVENT[key] for key in ("user_id", "item_id", "event")}], 422, ("body.0.event_id", "required")),
        ([EVENT, EVENT | {"item_id": "no such"}], 404, ("unknown item 'no such'",)),
    ],
)
def test_bad_feedback_writes_nothing(
    client: TestClient, service: SmallService, events: object, status: int, words: tuple[str, ...]
) -> None:
    check(client.post("/v1/feedback", json=events), status, *words)
    assert service.log.counts()["feedback"] == 0


@pytest.mark.parametrize(
    ("method", "path", "status", "words"),
    [
        ("GET", "/v1/recommendations/nobody", 404, ("unknown user 'nobody'",)),
        ("GET", "/v1/items/none", 404, ("unknown item 'none'",)),
        ("GET", "/v1/items/none/similar", 404, ("unknown item 'none'",)),
        ("GET", "/v1/items/1/similar?k=0", 422, ("query.k",)),
        ("GET", "/v1/items/1/similar?k=101", 422, ("1 to 100",)),
        ("GET", "/v1/items?limit=101", 422, ("query.limit",)),
        ("GET", "/v1/items/a%00b", 422, ("path.item_id", "control characters")),
        ("GET", "/v1/items/" + "x" * 257, 422, ("path.item_id", "at most 256")),
        ("GET", "/v1/items/%2e%2e%2f%2e%2e%2fetc%2fpasswd", 404, ("unknown item '../../etc/passwd'",)),
        ("GET", "/v1/items/%FF", 404, ("unknown item",)),
        ("GET", "/v1/users/nobody", 404, ("unknown user",)),
        ("DELETE", "/v1/users/nobody", 404, ("unknown user",)),
        ("GET", "/v1/items/a/b", 404, ("%2F",)),
        ("GET", "/v1/nothing", 404, ("/docs",)),
        ("GET", "/v1/status/", 404, ()),
        ("GET", "/static/..%2Fapp.py", 404, ()),
        ("GET", "/static/%2e%2e/app.py", 404, ()),
        ("GET", "/v1/feedback", 405, ("allowed: POST",)),
        ("PATCH", "/v1/items/1", 405, ("PATCH",)),
        ("DELETE", "/v1/status", 405, ()),
    ],
)
def test_bad_paths_and_methods(client: TestClient, method: str, path: str, status: int, words: tuple[str, ...]) -> None:
    check(client.request(method, path), status, *words)


@pytest.mark.parametrize(
    ("path", "record", "words"),
    [
        ("/v1/items/n", {"title": ""}, ("body.title",)),
        ("/v1/items/n", {"title": "a\nb"}, ("control characters",)),
        ("/v1/items/n", {"title": "T", "text": "x" * 20_001}, ("body.text",)),
        ("/v1/items/n", {"title": "T", "numbers": {"year": "1995"}}, ("body.numbers.year",)),
        ("/v1/items/n", {"title": "T", "numbers": {"year": 1e39}}, ("body.numbers.year", "less than or equal to")),
        ("/v1/items/n", {"title": "T", "categories": "drama"}, ("body.categories",)),
        ("/v1/users/n", {"attributes": {"age": None}}, ("body.attributes.age",)),
        ("/v1/users/n", {"attributes": {"admin": True}}, ("body.attributes.admin",)),
        ("/v1/users/n", {"attributes": {str(n): 1 for n in range(101)}}, ("body.attributes",)),
    ],
)
def test_bad_records(client: TestClient, path: str, record: dict, words: tuple[str, ...]) -> None:
    check(client.put(path, json=record), 422, *words)
    check(client.get(path), 404)


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_bodies_that_are_not_declared_json_are_refused(client: TestClient, kind: str) -> None:
    answer = client.post("/v1/feedback", content=json.dumps([EVENT]), headers={"content-type": kind})
    check(answer, 415, "application/json")


def test_compressed_bodies_are_refused(client: TestClient) -> None:
    headers = JSON | {"content-encoding": "gzip"}
    check(client.post("/v1/feedback", content=b"\x1f\x8b no gzip", headers=headers), 415, "gzip")


def test_a_5_mb_body_is_refused_by_its_length_and_while_it_streams(client: TestClient) -> None:
    chunk = b" " * 100_000
    check(client.post("/v1/recommendations", content=chunk * 50, headers=JSON), 413, "1048576 bytes")
    sent = 0

    def chunks():
        nonlocal sent
        for _ in range(50):
            sent += 1
            yield chunk

    check(client.post("/v1/recommendations", content=chunks(), headers=JSON), 413, "1048576 bytes")


def test_a_body_at_the_limit_is_read(service: SmallService) -> None:
    body = json.dumps({"user_id": "7"})
    app = build_app(lambda: service, ServeConfig(max_body_bytes=len(body)))
    with TestClient(app) as client:
        assert client.post("/v1/recommendations", content=body, headers=JSON).status_code == 200
        check(client.post("/v1/recommendations", content=body + " ", headers=JSON), 413)


@pytest.mark.parametrize("length", ["x", "-1", "1" * 5000, "²"])
def test_senseless_content_lengths_are_refused(client: TestClient, length: str) -> None:
    headers = JSON | {"content-length": length.encode("utf-8")}
    answer = client.post("/v1/recommendations", content=b"", headers=headers)
    check(answer, 413 if length.startswith("11") else 400)


def test_a_bug_is_a_500_without_details_and_is_logged(
    client: TestClient, service: SmallService, caplog: pytest.LogCaptureFixture
) -> None:
    service.breaks = True
    with caplog.at_level(logging.ERROR):
        answer = client.get("/v1/recommendations/7")
    check(answer, 500)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "secret" not in client.get("/v1/recommendations/7").text
    assert "secret detail" in caplog.text


def test_a_log_that_cannot_be_written_is_a_503_and_never_an_acknowledgement(tmp_path: Path) -> None:
    service = SmallService(EventLog(f"sqlite:///{tmp_path}/log.db"))
    service.log.close()
    (tmp_path / "log.db").write_bytes(b"garbage" * 1000)
    for rest in tmp_path.glob("log.db-*"):
        rest.unlink()
    with TestClient(build_app(lambda: service, ServeConfig(retry_after_s=3), statuses=STATUSES)) as client:
        answer = client.post("/v1/feedback", json=[EVENT])
        check(answer, 503, "nothing was acknowledged")
        assert "log.db" not in answer.text and "database" not in answer.text, "clients need not know"
        assert answer.headers["retry-after"] == "3"


def test_a_missing_backend_and_a_slow_one_are_503(service: SmallService) -> None:
    def missing():
        raise NotReadyError("the model is still being loaded")

    with TestClient(build_app(missing, ServeConfig())) as client:
        check(client.get("/v1/status"), 503, "still being loaded")
        assert client.get("/healthz").status_code == 200

    async def never(request: object) -> None:
        await asyncio.sleep(60)

    service.recommend = never  # type: ignore[assignment, method-assign]
    with TestClient(build_app(lambda: service, ServeConfig(request_timeout_s=0.05))) as client:
        answer = client.get("/v1/recommendations/7")
        check(answer, 503, "too long")
        assert answer.headers["retry-after"] == "1"


def test_a_default_slate_size_above_the_largest_is_refused() -> None:
    with pytest.raises(ConfigError, match="k is 10, more than max_k 5"):
        validate(ServeConfig, {"max_k": 5}, "test")


def test_every_response_carries_the_security_headers(client: TestClient) -> None:
    for path in ("/", "/docs", "/v1/status", "/v1/nothing", "/static/page.js"):
        headers = client.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'self'")
        assert headers["x-content-type-options"] == "nosniff" and headers["referrer-policy"] == "no-referrer"
