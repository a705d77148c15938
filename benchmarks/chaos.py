"""What users notice while parts of the service are killed under load.

    python benchmarks/chaos.py    # writes benchmarks/results/chaos.json, ten minutes

The model of quality.py for ML-1M, two replicas of what every request passes through, 30 requests a second, open loop.
In turn one process of each kind is killed with -9 in the middle of a minute. A request that fails is sent once more
after a quarter of a second, as clients should; `failed` are those that failed again, `worst_stall_s` is the longest
from when a request was due to its answer, retry included, `unanswered_s` the time from the kill to when the last
request was due that failed, `recovered_s` to the last that failed or took longer than half a second; null where there
were such until the minute ended.

In profile laptop replicas listen themselves, so there is no ingress to kill; Serve's proxy is killed in profile
cluster, whose processes are more than two cores like.
"""

import time
from collections.abc import Sequence
from threading import Timer
from typing import Any

from load import CONFIG, asking, settings_of
from measure import store
from open_loop import open_loop, summary
from served import STAGES, Served, arguments, served

RATE, SECONDS, KILL_AT_S, RETRY_S, SLOW_S = 30.0, 60.0, 15.0, 0.25, 0.5
FAULTS = {
    "replica": "ServeReplica:recommender:recommender",
    "learner": "ServeReplica:recommender:learner",
    "explainer": "ServeReplica:recommender:explainer",
    "controller": "ServeController",
}
INGRESS = "ProxyActor"
SPREAD = ("cluster.profile=cluster", "cluster.recommender_cpus=0.1", "cluster.explainer_cpus=0.1")


def main() -> None:
    """Serve, kill, and store what came out."""
    options = arguments(__doc__).parse_args()
    began = time.monotonic()
    figures: dict[str, Any] = {}
    twice = [*settings_of(options), "cluster.replicas=[2,2]"]
    with served(CONFIG, twice, {}, *STAGES) as app:
        open_loop(app.client.url, RATE, 20, asking(app.client))
        for name, process in FAULTS.items():
            figures[name] = broken(app, process)
            print(name, figures[name], flush=True)
            time.sleep(20)
    with served(CONFIG, [*twice, *SPREAD], {}) as app:
        open_loop(app.client.url, RATE, 20, asking(app.client))
        figures["ingress"] = broken(app, INGRESS)
        print("ingress", figures["ingress"], flush=True)
    store("chaos", figures, time.monotonic() - began)


def broken(app: Served, process: str) -> dict[str, Any]:
    """A minute of load in which one process of a kind is killed."""
    killed: list[int] = []
    timer = Timer(KILL_AT_S, lambda: killed.append(kill_one(app, process)))
    timer.start()
    answers = open_loop(app.client.url, RATE, SECONDS, asking(app.client), retry_s=RETRY_S)
    timer.join()
    failed = [answer.due for answer in answers if answer.status != 200]
    slow = [answer.due for answer in answers if answer.seconds > SLOW_S]
    return {
        "killed": sum(killed),
        **summary(answers),
        "failed": len(failed),
        "retried": sum(answer.retried for answer in answers),
        "worst_stall_s": round(max(answer.seconds for answer in answers), 2),
        "unanswered_s": lasted(failed),
        "recovered_s": lasted(failed + slow),
    }


def lasted(due: Sequence[float]) -> float | None:
    """Seconds from the kill to the last of some requests; None if they go on to the end of the load."""
    last = max(due, default=0.0)
    return round(max(last - KILL_AT_S, 0.0), 1) if last < SECONDS - 1 else None


def kill_one(app: Served, process: str) -> int:
    """SIGKILL to the first process of a kind; how many were killed."""
    found = app.processes(process)
    if found:
        found[0].kill()
    return len(found[:1])


if __name__ == "__main__":
    main()
