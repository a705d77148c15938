"""How soon a slate knows what its user did, how soon all slates do, and how many events a second are taken.

    python benchmarks/feedback.py    # writes benchmarks/results/feedback.json, a quarter of an hour

The model of quality.py for ML-1M, two replicas, client on the same machine. Read your writes: a user gets a slate,
likes its first item, and asks again: the item must be gone; `p99_ms` is from sending the feedback to the second slate.
Visible: events on slates, five a second; of each, until every replica's status says that its slates have learnt from
it. Events a second: 16 clients who send one event, or 8 who send a hundred, and again when they are answered; all of
them are durable before the answer.
"""

import asyncio
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import numpy as np
from load import CONFIG, settings_of
from measure import store
from open_loop import Request, closed_loop
from served import STAGES, Served, arguments, served

TRIALS, WRITERS = 10_000, 4
VISIBLE_S, VISIBLE_RATE = 60, 5.0
LOAD_S = 20.0
USERS, REPLICAS = 6040, 2


def main() -> None:
    """Serve, write, read, and store what came out."""
    parser = arguments(__doc__)
    parser.add_argument("--trials", type=int, default=TRIALS, help="of reading what was written")
    options = parser.parse_args()
    began = time.monotonic()
    settings = [*settings_of(options), f"cluster.replicas=[{REPLICAS},{REPLICAS}]"]
    with served(CONFIG, settings, {}, *STAGES) as app:
        figures = {
            **read_your_writes(app, options.trials),
            "visible": asyncio.run(visible(app)),
            "events_per_second_single": round(closed_loop(app.client.url, 16, LOAD_S, batches(1)), 1),
            "events_per_second_batched": round(100 * closed_loop(app.client.url, 8, LOAD_S, batches(100)), 1),
        }
        print(figures, flush=True)
    if options.trials == TRIALS:
        store("feedback", figures, time.monotonic() - began)


def read_your_writes(app: Served, trials: int) -> dict[str, Any]:
    """Like what is shown and ask again, several users at a time."""

    def trial(number: int) -> tuple[bool, float]:
        user = str(number * 2741 % USERS + 1)
        _, slate = app.client.call(f"/v1/recommendations/{user}?k=10")
        liked = slate["items"][0]["item_id"]
        started = time.perf_counter()
        status, _ = app.client.call("/v1/feedback", [event(user, liked, slate["slate_id"])])
        _, after = app.client.call(f"/v1/recommendations/{user}?k=10")
        seconds = time.perf_counter() - started
        return status == 202 and liked not in {item["item_id"] for item in after["items"]}, seconds

    with ThreadPoolExecutor(WRITERS) as pool:
        done = list(pool.map(trial, range(trials)))
    p50, p99 = np.quantile([seconds for _, seconds in done], [0.5, 0.99]) * 1000
    return {
        "trials": trials,
        "read_your_writes_failures": sum(not good for good, _ in done),
        "p50_ms": round(float(p50), 1),
        "p99_ms": round(float(p99), 1),
    }


async def visible(app: Served) -> dict[str, Any]:
    """From each event's acknowledgement until each replica has learnt from it."""
    sent: list[tuple[int, float]] = []
    seen: dict[str, list[tuple[float, int]]] = {}
    over = asyncio.Event()
    async with aiohttp.ClientSession(app.client.url, trust_env=False) as session, each_anew(app.client.url) as anew:

        async def watch() -> None:
            while not over.is_set():
                async with anew.get("/v1/status") as answer:
                    status = await answer.json()
                if status["learners"]:
                    known = seen.setdefault(status["replica"], [])
                    known.append((time.perf_counter(), status["learners"][0]["sequence"]))
                await asyncio.sleep(0.05)

        watching = asyncio.create_task(watch())
        for number in range(int(VISIBLE_S * VISIBLE_RATE)):
            user = str(number * 1009 % USERS + 1)
            async with session.get(f"/v1/recommendations/{user}?k=10") as answer:
                slate = await answer.json()
            body = [event(user, slate["items"][1]["item_id"], slate["slate_id"])]
            async with session.post("/v1/feedback", json=body) as answer:
                assert answer.status == 202
            at = time.perf_counter()
            async with session.get("/v1/status") as answer:
                sent.append(((await answer.json())["feedback_events"], at))
            await asyncio.sleep(1 / VISIBLE_RATE)
        await asyncio.sleep(10)
        over.set()
        await watching
    waits = [
        max(next((when for when, until in known if until >= sequence), np.inf) for known in seen.values()) - at
        for sequence, at in sent
    ]
    assert len(seen) == REPLICAS, f"only {len(seen)} of {REPLICAS} replicas were asked"
    p50, p99 = np.quantile(waits, [0.5, 0.99])
    return {"events": len(sent), "replicas": len(seen), "p50_s": round(float(p50), 2), "p99_s": round(float(p99), 2)}


def each_anew(url: str) -> aiohttp.ClientSession:
    """Each request on a connection of its own, which any replica may take; a kept one stays with one replica."""
    return aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(force_close=True), trust_env=False)


def batches(size: int) -> Any:
    """Requests that each send so many new events."""

    def request(number: int) -> Request:
        users = [str((number * size + place) * 2741 % USERS + 1) for place in range(size)]
        return "POST", "/v1/feedback", [event(user, str(number % 1000 + 1)) for user in users]

    return request


def event(user: str, item: str, slate_id: str | None = None) -> dict[str, Any]:
    """A like, with an id of its own."""
    liked = {"event_id": uuid.uuid4().hex, "user_id": user, "item_id": item, "event": "like"}
    return liked if slate_id is None else {**liked, "slate_id": slate_id}


if __name__ == "__main__":
    main()
