import json
from collections.abc import Iterator

import pytest
from small_service import SmallService
from starlette.testclient import TestClient

LIKE = {"event_id": "e1", "user_id": "7", "item_id": "1", "event": "like"}


def events_of(text: str) -> list[tuple[str, dict]]:
    """Server-sent events as the standard reads them: blocks ended by an empty line."""
    blocks = text.split("\n\n")
    assert blocks.pop() == ""
    events = []
    for block in blocks:
        kind, data = block.split("\n")
        assert kind.startswith("event: ") and data.startswith("data: ")
        events.append((kind[7:], json.loads(data[6:])))
    return events


def test_a_slate_for_a_known_user_is_recorded_with_its_propensities(client: TestClient, service: SmallService) -> None:
    answer = client.get("/v1/recommendations/7", params={"k": 3})
    assert answer.status_code == 200
    slate = answer.json()
    assert len(slate["items"]) == 3 and slate["source"] == "none" and slate["model_version"] == "small-1"
    recorded = service.log.slate(slate["slate_id"])
    assert recorded is not None and recorded.user_id == "7"
    assert [(e.item_id, e.propensity) for e in recorded.exposures] == [
        (item["item_id"], item["propensity"]) for item in slate["items"]
    ]


def test_feedback_changes_the_next_slate(client: TestClient) -> None:
    answer = client.post("/v1/feedback", json=[LIKE])
    assert answer.status_code == 202 and answer.json() == {"accepted": 1, "duplicates": 0}
    items = client.get("/v1/recommendations/7").json()["items"]
    assert "1" not in [item["item_id"] for item in items]
    assert items[0]["item_id"] == "a/b"  # the first film that shares a genre with film 1
    assert client.get("/v1/users/7").json()["history"][0]["title"] == "Toy Story (1995)"


def test_feedback_sent_again_is_a_duplicate_and_another_content_a_conflict(client: TestClient) -> None:
    client.post("/v1/feedback", json=[LIKE])
    assert client.post("/v1/feedback", json=[LIKE]).json() == {"accepted": 0, "duplicates": 1}
    refused = client.post("/v1/feedback", json=[LIKE | {"event_id": "e2"}, LIKE | {"event": "dislike"}])
    assert refused.status_code == 409 and "'e1'" in refused.json()["detail"]
    assert client.get("/v1/status").json()["feedback_events"] == 1


def test_a_posted_history_may_hold_ids_and_entries(client: TestClient) -> None:
    history = ["1", {"item_id": "2", "timestamp": 5, "value": 4.0, "event": "rate"}]
    answer = client.post("/v1/recommendations", json={"history": history, "k": 6, "explain": True})
    assert answer.status_code == 200
    slate = answer.json()
    assert slate["source"] == "template" and len(slate["items"]) == 4
    assert all(item["reason_source"] == "template" and item["reason"] for item in slate["items"])


def test_the_default_slate_size_comes_from_the_config(client: TestClient, service: SmallService) -> None:
    for number in range(20):
        service.log.put_item(f"new-{number}", {"title": f"New {number}"})
    assert len(client.get("/v1/recommendations/7").json()["items"]) == 10


def test_explanations_are_streamed_as_server_sent_events(client: TestClient) -> None:
    slate = client.get("/v1/recommendations/7").json()
    answer = client.get(f"/v1/explanations/{slate['slate_id']}/a%2Fb")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.headers["cache-control"] == "no-store"
    kinds, data = zip(*events_of(answer.text), strict=True)
    assert kinds == ("token", "token", "done")
    assert data[0]["text"] + data[1]["text"] == data[2]["text"] == "Because of\n\ngenres é."
    assert data[2]["source"] == "template" and data[2]["evidence"] == ["action", "comedy"]


def test_an_explanation_that_breaks_ends_with_an_error_event_without_details(
    client: TestClient, service: SmallService
) -> None:
    slate = client.get("/v1/recommendations/7").json()
    service.breaks = True
    events = events_of(client.get(f"/v1/explanations/{slate['slate_id']}/1").text)
    assert [kind for kind, _ in events] == ["token", "error"]
    assert "secret" not in events[1][1]["text"]


def test_explaining_an_unknown_slate_is_a_404_not_a_stream(client: TestClient) -> None:
    answer = client.get("/v1/explanations/none/1")
    assert answer.status_code == 404 and answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("encoded", "item_id"),
    [("1", "1"), ("a%2Fb", "a/b"), ("a%2fb", "a/b"), ("a%2Fsimilar", "a/similar"), ("50%25", "50%"), ("%C3%A9", "é")],
)
def test_item_ids_may_hold_any_character(client: TestClient, encoded: str, item_id: str) -> None:
    assert client.get(f"/v1/items/{encoded}").json()["item_id"] == item_id
    similar = client.get(f"/v1/items/{encoded}/similar", params={"k": 2})
    assert similar.status_code == 200 and len(similar.json()["items"]) == 2
    assert item_id not in [item["item_id"] for item in similar.json()["items"]]


def test_items_are_put_found_and_withdrawn(client: TestClient) -> None:
    record = {"title": "New Film", "categories": ["comedy"], "numbers": {"year": 2024.0}}
    assert client.put("/v1/items/n%2F1", json=record).json() == record | {"item_id": "n/1", "text": ""}
    assert [item["item_id"] for item in client.get("/v1/items?search=new").json()["items"]] == ["n/1"]
    assert client.delete("/v1/items/n%2F1").status_code == 204
    assert client.get("/v1/items/n%2F1").status_code == 404
    assert client.delete("/v1/items/n%2F1").status_code == 404


def test_users_are_put_found_and_forgotten(client: TestClient) -> None:
    attributes = {"age": 30, "town": "Ulm", "height": 1.8}
    assert client.put("/v1/users/ann", json={"attributes": attributes}).json()["attributes"] == attributes
    assert client.get("/v1/users?search=Ulm").json()["users"][0]["user_id"] == "ann"
    client.post("/v1/feedback", json=[LIKE | {"user_id": "ann"}])
    assert client.delete("/v1/users/ann").status_code == 204
    assert client.get("/v1/users/ann").status_code == 404
    assert client.get("/v1/status").json()["feedback_events"] == 0


def test_a_forgotten_user_of_the_corpus_stays_forgotten(client: TestClient) -> None:
    assert client.delete("/v1/users/7").status_code == 204
    assert client.get("/v1/recommendations/7").status_code == 404


def test_health_needs_no_backend_and_readiness_says_when(client: TestClient, service: SmallService) -> None:
    assert client.get("/readyz").json() == {"status": "ready"}
    service.is_ready = False
    assert client.get("/healthz").json() == {"status": "ok"}
    answer = client.get("/readyz")
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"


def references(value: object) -> Iterator[str]:
    """All `$ref` within a document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_of_the_openapi_document_leads_somewhere(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    found = set(references(document))
    assert len(found) > 10
    for reference in found:
        assert reference.startswith("#/components/schemas/"), reference
        assert reference.rpartition("/")[2] in document["components"]["schemas"]


def test_the_openapi_document_names_every_route_and_the_problems(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {"get", "put", "delete"} == set(paths["/v1/items/{item_id}"]) == set(paths["/v1/users/{user_id}"])
    for path in ("/v1/recommendations/{user_id}", "/v1/recommendations", "/v1/feedback", "/v1/status", "/healthz"):
        for operation in paths[path].values():
            assert "application/problem+json" in operation["responses"]["4XX"]["content"]
