"""Load as it comes from outside: requests are sent when they are due, whether or not earlier ones were answered.

Latency counts from the moment a request was due, so a service that stands still is not spared the requests that would
have come meanwhile (coordinated omission).
"""

import asyncio
import collections
import gc
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import aiohttp
import numpy as np

from llm4rec.cluster.demo import KEY

Request = tuple[str, str, object]
"""Method, path, and a body to send as JSON or None."""
GIVE_UP_S = 60.0


@dataclass(frozen=True)
class Answer:
    """What became of a request.

    Attributes:
        due: when it was due, in seconds since the first one was.
        seconds: from then until it was answered, retries included.
        status: of the answer, 0 for none.
        retried: whether it was asked twice.
        retry_after: whether the answer says when to come again.
    """

    due: float
    seconds: float
    status: int
    retried: bool = False
    retry_after: bool = False


def open_loop(
    url: str, rate: float, seconds: float, request: Callable[[int], Request], *, retry_s: float | None = None
) -> list[Answer]:
    """Send `rate` requests a second.

    Args:
        url: of the service.
        rate: requests a second, evenly spaced.
        seconds: for how long.
        request: what the n-th one asks for.
        retry_s: after how long an unanswered or refused request is sent once more; None: never.
    """
    return asyncio.run(_open_loop(url, rate, int(rate * seconds), request, retry_s))


def session_of(url: str) -> aiohttp.ClientSession:
    """Connections to a service, as many as are needed."""
    key = os.environ.get(KEY)
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0), headers=headers, trust_env=False)


async def _open_loop(
    url: str, rate: float, count: int, request: Callable[[int], Request], retry_s: float | None
) -> list[Answer]:
    async with session_of(url) as session:
        gc.collect()
        gc.disable()  # it would stop this process, and what it measures, for a third of a second now and then
        began = time.perf_counter() + 0.1
        tasks = []
        for number in range(count):
            due = began + number / rate
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            tasks.append(asyncio.create_task(_asked(session, request(number), due, began, retry_s)))
        answers = await asyncio.gather(*tasks)
        gc.enable()
        return answers


async def _asked(
    session: aiohttp.ClientSession, request: Request, due: float, began: float, retry_s: float | None
) -> Answer:
    status, retry_after = await _once(session, request)
    retried = False
    if retry_s is not None and (status == 0 or status >= 429):
        await asyncio.sleep(retry_s)
        status, retry_after = await _once(session, request)
        retried = True
    return Answer(due - began, time.perf_counter() - due, status, retried, retry_after)


async def _once(session: aiohttp.ClientSession, request: Request) -> tuple[int, bool]:
    method, path, body = request
    data = None if body is None else json.dumps(body).encode()
    headers = {} if data is None else {"content-type": "application/json"}
    try:
        timeout = aiohttp.ClientTimeout(total=GIVE_UP_S)
        async with session.request(method, path, data=data, headers=headers, timeout=timeout) as answer:
            await answer.read()
            return answer.status, "retry-after" in answer.headers
    except (aiohttp.ClientError, TimeoutError, OSError):
        return 0, False


def closed_loop(url: str, clients: int, seconds: float, request: Callable[[int], Request]) -> float:
    """Answers a second of so many clients who each ask as soon as they are answered; those with a 2xx count."""

    async def run() -> float:
        numbers = iter(range(10**9))
        async with session_of(url) as session:
            until = time.perf_counter() + seconds

            async def ask() -> int:
                good = 0
                while time.perf_counter() < until:
                    status, _ = await _once(session, request(next(numbers)))
                    good += 200 <= status < 300
                return good

            return sum(await asyncio.gather(*(ask() for _ in range(clients)))) / seconds

    return asyncio.run(run())


def summary(answers: Sequence[Answer]) -> dict[str, Any]:
    """Statuses, and latencies of those that were answered with a 2xx."""
    good = np.array([answer.seconds for answer in answers if 200 <= answer.status < 300])
    statuses = collections.Counter(str(answer.status) for answer in answers)
    figures: dict[str, Any] = {"requests": len(answers), "statuses": dict(statuses)}
    if len(good):
        p50, p99, p999 = np.quantile(good, [0.5, 0.99, 0.999]) * 1000
        figures |= {
            "p50_ms": round(float(p50), 1),
            "p99_ms": round(float(p99), 1),
            "p999_ms": round(float(p999), 1),
            "worst_ms": round(float(good.max()) * 1000, 1),
        }
    return figures
