"""Keys: what is kept of them, who may do what on every route, and that none of it is told."""

import json
import logging
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from small_service import STATUSES, SmallService
from starlette.testclient import TestClient

from llm4rec.config import validate
from llm4rec.errors import ConfigError
from llm4rec.serve import keys
from llm4rec.serve.access import Rates, needed_scope
from llm4rec.serve.app import build_app
from llm4rec.serve.config import ServeConfig

READ, WRITE, ADMIN, OPEN = "read", "write", "admin", None
NEEDED = {
    ("GET", "/v1/recommendations/{user_id}"): READ,
    ("POST", "/v1/recommendations"): READ,
    ("POST", "/v1/feedback"): WRITE,
    ("GET", "/v1/explanations/{slate_id}/{item_id}"): READ,
    ("GET", "/v1/items"): READ,
    ("GET", "/v1/items/{item_id}"): READ,
    ("GET", "/v1/items/{item_id}/similar"): READ,
    ("PUT", "/v1/items/{item_id}"): WRITE,
    ("DELETE", "/v1/items/{item_id}"): WRITE,
    ("GET", "/v1/users"): READ,
    ("GET", "/v1/users/{user_id}"): READ,
    ("PUT", "/v1/users/{user_id}"): WRITE,
    ("DELETE", "/v1/users/{user_id}"): WRITE,
    ("GET", "/v1/status"): READ,
    ("GET", "/v1/models"): ADMIN,
    ("GET", "/healthz"): OPEN,
    ("GET", "/readyz"): OPEN,
    ("GET", "/docs"): OPEN,
    ("GET", "/models"): OPEN,
    ("GET", "/openapi.json"): OPEN,
    ("GET", "/"): OPEN,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


@pytest.fixture
def given(path: Path) -> dict[str, str]:
    made = {name: keys.create_key(path, name, scopes) for name, scopes in SCOPES.items()}
    made["expired"] = keys.create_key(path, "expired", ["read", "write", "admin"], days=-1)
    made["revoked"] = keys.create_key(path, "revoked", ["read", "write", "admin"])
    keys.revoke_key(path, "revoked")
    return {**made, "unknown": "l4r_" + "x" * 43, "none": ""}


SCOPES: dict[str, list[keys.Scope]] = {
    "reader": ["read"],
    "writer": ["write"],
    "both": ["read", "write"],
    "admin": ["admin"],
}


@pytest.fixture
def locked(service: SmallService, path: Path, given: dict[str, str]) -> Iterator[TestClient]:
    app = build_app(lambda: service, ServeConfig(host="0.0.0.0", keys=str(path)), statuses=STATUSES)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"} if key else {}


def test_the_matrix_has_every_route(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    pages = {("GET", page) for page in ("/", "/docs", "/models", "/openapi.json")}
    assert {(method.upper(), path) for path, methods in paths.items() for method in methods} | pages == set(NEEDED)


@pytest.mark.parametrize(("method", "route"), NEEDED)
def test_every_route_with_every_key(locked: TestClient, given: dict[str, str], method: str, route: str) -> None:
    needed = NEEDED[method, route]
    url = route.format(user_id="7", item_id="1", slate_id="s")
    for name, key in given.items():
        answer = locked.request(method, url, headers=bearer(key))
        if needed is None:
            assert answer.status_code == 200, name
        elif name not in SCOPES:
            assert answer.status_code == 401, name
            assert answer.headers["www-authenticate"].startswith("Bearer") and "valid key" in answer.json()["detail"]
        elif needed not in SCOPES[name]:
            assert answer.status_code == 403, name
            assert needed in answer.json()["detail"]
        else:
            assert answer.status_code not in {401, 403, 500}, name


@pytest.mark.parametrize(
    "spelling",
    ["/v1/feedback/", "//v1/feedback", "/static/../v1/feedback", "/static/%2e%2e/v1/feedback", "/v1%2Ffeedback", "/x"],
)
def test_no_spelling_of_a_path_opens_it(locked: TestClient, service: SmallService, spelling: str) -> None:
    event = {"event_id": "e1", "user_id": "7", "item_id": "1", "event": "like"}
    answer = locked.post(spelling, json=[event])
    assert answer.status_code in {401, 404, 405}
    assert service.log.counts()["feedback"] == 0


def test_models_are_for_administrators() -> None:
    assert needed_scope("GET", "/v1/models") == needed_scope("POST", "/v1/models/x") == "admin"
    assert needed_scope("GET", "/v1/modelsx") == "read"


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", "Basic eDp5", "bearer  x", "Bearer \xe9", "Bearer " + "x" * 9000]
)
def test_a_header_that_holds_no_key_is_none(locked: TestClient, header: str) -> None:
    assert locked.get("/v1/status", headers={"authorization": header.encode("latin-1")}).status_code == 401


def test_keys_are_in_no_log_and_in_no_answer(
    locked: TestClient, given: dict[str, str], caplog: pytest.LogCaptureFixture, service: SmallService
) -> None:
    caplog.set_level(logging.DEBUG)
    service.breaks = True
    for key in given.values():
        for url in ("/v1/status", "/v1/recommendations/7", "/v1/nowhere"):
            answer = locked.get(url, headers=bearer(key))
            assert not key or key not in answer.text
    assert not any(key and key in caplog.text for key in given.values())


def test_only_hashes_are_on_the_disk_for_the_owner_alone(path: Path, given: dict[str, str]) -> None:
    text = path.read_text()
    assert not any(key and key in text for key in given.values())
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600 and len(json.loads(text)) == 5


def test_a_changed_file_is_taken_notice_of_and_a_broken_one_is_not(
    path: Path, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "LOOK_AGAIN_S", 0.0)
    known = keys.Keys(path)
    assert known.find(given["both"]) is not None and known.find("") is None
    new = keys.create_key(path, "new", ["read"])
    keys.revoke_key(path, "both")
    assert known.find(new) is not None and known.find(given["both"]) is None
    path.write_text("[{")
    assert known.find(new) is not None
    path.unlink()
    assert known.find(new) is None, "who takes the file away wants no key to count"


def test_keys_that_are_made_at_the_same_time_are_all_kept(path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda number: keys.create_key(path, f"key {number}", ["read"]), range(40)))
    known = keys.Keys(path)
    assert all(known.find(key) is not None for key in made)


def test_a_name_stands_for_one_key_and_an_unknown_one_is_not_revoked(path: Path, given: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="'both' is in"):
        keys.create_key(path, "both", ["read"])
    with pytest.raises(ConfigError, match="no key named 'nobody'.*reader, writer"):
        keys.revoke_key(path, "nobody")


@pytest.mark.parametrize("text", ["", "{}", '[{"name": "a"}]', '[{"name": "a", "sha256": "00", "scopes": ["read"]}]'])
def test_a_file_that_holds_no_keys_is_named(path: Path, text: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"keys\.json is no list of keys"):
        keys.Keys(path)


def test_a_missing_file_is_named_with_a_way_out(path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read.*jobs/keys\.py --file .* --create"):
        keys.Keys(path)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
def test_without_keys_nobody_listens_beyond_this_machine(host: str) -> None:
    with pytest.raises(ConfigError, match="can be reached from other machines"):
        validate(ServeConfig, {"host": host}, "test")
    assert validate(ServeConfig, {"host": host, "keys": "keys.json"}, "test").host == host


def test_rates_are_kept_and_told(service: SmallService) -> None:
    app = build_app(lambda: service, ServeConfig(requests_per_s=0.5), statuses=STATUSES)
    with TestClient(app) as client:
        statuses = [client.get("/v1/status").status_code for _ in range(7)]
        refused = client.get("/v1/status")
        assert statuses == [200] * 5 + [429] * 2 and client.get("/healthz").status_code == 200
        assert refused.headers["retry-after"] == "2" and "0.5 requests a second" in refused.json()["detail"]


def test_tokens_come_back_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    rates = Rates(2.0)
    assert [rates.wait("a") for _ in range(20)] == [0.0] * 20
    assert rates.wait("a") == pytest.approx(0.5) and rates.wait("b") == 0.0
    now[0] += 0.5
    assert rates.wait("a") == 0.0 and rates.wait("a") == pytest.approx(0.5)


def test_the_command_makes_lists_and_revokes(path: Path) -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "jobs/keys.py", "--file", str(path), *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)

    key = run("--create", "shop", "--scopes", "read", "write").stdout.strip()
    found = keys.Keys(path).find(key)
    assert found is not None and found.scopes == ("read", "write")
    assert run("--list").stdout.strip() == "shop  read write"
    again = run("--create", "shop")
    assert again.returncode == 2 and "'shop' is in" in again.stderr and again.stdout == ""
    assert run("--revoke", "shop").returncode == 0 and keys.Keys(path).find(key) is None
