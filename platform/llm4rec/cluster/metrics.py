"""Metrics of the service for Prometheus, by way of Ray, which gathers those of all processes of a node.

Ray puts `ray_` before every name, and adds labels of its own. Nothing here names a user, an item or a key.
"""

import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any

from ray.util.metrics import Counter, Gauge

from llm4rec.cluster.service import Service
from llm4rec.serve import contract

SECONDS = [0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0]
BOUNDS = [*map(str, SECONDS), "+Inf"]
TAGS = {
    "llm4rec_requests_total": ("method", "route", "status"),
    "llm4rec_requests_within_total": ("route", "le"),
    "llm4rec_request_seconds_total": ("route",),
    "llm4rec_reasons_total": ("source",),
    "llm4rec_feedback_events_total": ("kind",),
}
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class CountedService(Service):
    """The service, whose reasons and feedback are counted."""

    def __init__(self, metrics: "ServiceMetrics", *parts: Any) -> None:
        super().__init__(*parts)
        self._metrics = metrics

    async def recommend(self, request: contract.RecommendRequest) -> contract.RecommendResponse:
        """Draw a slate and count who wrote its reasons."""
        slate = await super().recommend(request)
        self._metrics.reasons([item.reason_source for item in slate.items if item.reason_source])
        return slate

    async def explanation(self, slate_id: str, item_id: str) -> AsyncIterator[contract.ExplanationEvent]:
        """Stream a reason and count who wrote it."""
        async for event in super().explanation(slate_id, item_id):
            if event.source is not None:
                self._metrics.reasons([event.source])
            yield event

    async def feedback(self, events: Sequence[contract.FeedbackEvent]) -> contract.Accepted:
        """Store a batch and count it."""
        accepted = await super().feedback(events)
        self._metrics.feedback(accepted.accepted, accepted.duplicates)
        return accepted


class ServiceMetrics:
    """What a replica that answers HTTP tells.

    Events are counted here and handed to Ray together, by `tell`: one by one Ray took an eighth of the time of the
    thread that answers (docs/log.md).
    """

    def __init__(self) -> None:
        self._requests = Counter(
            "llm4rec_requests_total", "Requests by route and status.", tag_keys=("method", "route", "status")
        )
        self._within = Counter(
            "llm4rec_requests_within_total", "Requests answered within `le` seconds.", tag_keys=("route", "le")
        )
        self._seconds = Counter("llm4rec_request_seconds_total", "Until answers were sent.", tag_keys=("route",))
        self._reasons = Counter("llm4rec_reasons_total", "Reasons by who wrote them.", tag_keys=("source",))
        self._feedback = Counter("llm4rec_feedback_events_total", "Events, new or sent again.", tag_keys=("kind",))
        self._learner = {
            name: Gauge(f"llm4rec_learner_{name}", help_, tag_keys=("shard",))
            for name, help_ in {
                "behind": "Feedback events not yet learnt from.",
                "examples": "Examples learnt from.",
                "gain": "NDCG@10 that learning adds.",
                "rollbacks": "How often learning was undone.",
                "heard_seconds": "Since the learner was last heard of.",
            }.items()
        }
        self._counted: dict[tuple[Counter, tuple[str, ...]], float] = defaultdict(float)
        self._lock = threading.Lock()

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        known = method if method in METHODS else "other"
        within = BOUNDS[bisect_left(SECONDS, seconds)]
        with self._lock:
            self._counted[self._requests, (known, route, str(status))] += 1
            self._counted[self._within, (route, within)] += 1
            self._counted[self._seconds, (route,)] += seconds

    def reasons(self, sources: Sequence[str]) -> None:
        """Reasons were written."""
        with self._lock:
            for source in sources:
                self._counted[self._reasons, (source,)] += 1

    def feedback(self, accepted: int, duplicates: int) -> None:
        """A batch of feedback is on the disk."""
        with self._lock:
            self._counted[self._feedback, ("new",)] += accepted
            self._counted[self._feedback, ("again",)] += duplicates

    def tell(self, learners: Sequence[contract.LearnerStatus]) -> None:
        """Hand over what was counted since the last time, and how far the learners are."""
        with self._lock:
            counted, self._counted = self._counted, defaultdict(float)
        for (counter, values), count in counted.items():
            tags = dict(zip(TAGS[counter.info["name"]], values, strict=True))
            if "le" in tags:  # as Prometheus has it, each bound counts all that is below
                for bound in BOUNDS[BOUNDS.index(tags["le"]) :]:
                    counter.inc(count, tags={**tags, "le": bound})
            elif count:
                counter.inc(count, tags=tags)
        for status in learners:
            shown = status.model_dump()
            shown["heard_seconds"] = shown.pop("heard_s")
            for name, gauge in self._learner.items():
                gauge.set(float(shown[name]), tags={"shard": str(status.shard)})
