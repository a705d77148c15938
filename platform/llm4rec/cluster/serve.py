"""The serve stage on Ray Serve: ingress, explainer and learners; retrieval, ranking and the index within or apart.

In profile `laptop` each ingress listens itself, on a port that all of them share: a request costs a third of what it
does through Serve's proxy (docs/log.md). In profile `cluster` Serve's proxies spread requests over nodes and replicas,
and see how many there are, by which Serve scales.
"""

import asyncio
import gc
import math
import sys
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ray
import torch
from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle
from threadpoolctl import threadpool_limits

from llm4rec.artifacts import RunStore
from llm4rec.cluster.engine import Drawn, Retrieved
from llm4rec.cluster.event_log import open_log
from llm4rec.cluster.explainer import read_explainer
from llm4rec.cluster.metrics import CountedService, ServiceMetrics
from llm4rec.cluster.online import LearnerLoop, Listener, News, new_follower
from llm4rec.cluster.proxies import listen_on_loopback, require_port_free_of_proxies, require_proxies
from llm4rec.cluster.reasons import DeadlineReasons, LanguageModelWriter
from llm4rec.cluster.releases import Engines, Search
from llm4rec.cluster.remote import PART_ANSWERS_S, PartSearch, RemoteDrawing, RemoteWriter, asking
from llm4rec.cluster.run_config import ClusterSection, RunConfig
from llm4rec.cluster.service import Drawing, LocalDrawing
from llm4rec.cluster.shards import ModelParts
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.errors import Llm4RecError
from llm4rec.explain.grounds import Grounds
from llm4rec.explain.reason import Reason
from llm4rec.index.facts import item_categories
from llm4rec.online.errors import ConflictError, UnavailableError
from llm4rec.online.log import EventLog
from llm4rec.schema import Corpus, FloatMatrix, IntVector
from llm4rec.serve.admission import Queue
from llm4rec.serve.app import build_app
from llm4rec.serve.contract import RecommendRequest
from llm4rec.serve.http_server import HttpServer

REQUESTS_AT_ONCE = 64
"""Requests under way in a replica; more wait at the proxy."""
EXPLANATIONS_AT_ONCE = 4
SWITCH_S = 0.0005
"""How long a thread may hold on to the interpreter where others want it. With Python's 5 ms what answers HTTP waits
behind what draws slates, again and again for one request."""
NEWS_S = 1.0
"""How long a part waits for a model that it does not know yet."""
STATUSES = {ConflictError: 409, UnavailableError: 503}
WATCHED: dict[str, Any] = {"health_check_period_s": 2.0, "health_check_timeout_s": 10.0}
DRAINED: dict[str, Any] = {
    "graceful_shutdown_wait_loop_s": 0.2,
    "graceful_shutdown_timeout_s": 20.0,
    "max_surge_percent": 100,
}
"""A new version is started before the old one ends, which finishes what it has begun."""
FEW_ARENAS = {"env_vars": {"MALLOC_ARENA_MAX": "2"}}
"""With glibc's eight heaps a core what threads free in turn is kept in all of them, and memory grows by the hour."""


def application(config: RunConfig) -> serve.Application:
    """The app of a finished run, for `serve.run` and `serve deploy`."""
    explainer: Any = serve.deployment(
        Explainer,
        name="explainer",
        max_ongoing_requests=EXPLANATIONS_AT_ONCE,
        max_queued_requests=4 * EXPLANATIONS_AT_ONCE,
        ray_actor_options={
            "num_cpus": config.cluster.explainer_cpus,
            "num_gpus": config.cluster.explainer_gpus,
            "runtime_env": FEW_ARENAS,
        },
        **WATCHED,
        **DRAINED,
    )
    learners = _learners(config)
    if config.cluster.profile == "laptop":
        return _scaled(Ingress, "recommender", config).bind(config, explainer.bind(config), learners, None)
    parts = _index_parts(config)
    retriever = _scaled(Retriever, "retriever", config).bind(config, learners, parts)
    ranker = _scaled(Ranker, "ranker", config).bind(config, retriever)
    return _scaled(ProxiedIngress, "recommender", config).bind(config, explainer.bind(config), learners, ranker)


def _scaled(kind: Any, name: str, config: RunConfig) -> Any:
    """A deployment that every request passes through."""
    cluster, (fewest, most) = config.cluster, config.cluster.replicas
    scaling: dict[str, Any] = {"num_replicas": fewest}
    if most > fewest:
        scaling = {
            "autoscaling_config": {
                "min_replicas": fewest,
                "max_replicas": most,
                "target_ongoing_requests": cluster.ongoing_requests,
                "upscale_delay_s": 5.0,
                "downscale_delay_s": 120.0,
            }
        }
    return serve.deployment(
        kind,
        name=name,
        max_ongoing_requests=REQUESTS_AT_ONCE,
        max_queued_requests=cluster.queued_requests,
        backpressure_config={"status_code": 429, "retry_after_s": config.serve.retry_after_s},
        ray_actor_options={
            "num_cpus": cluster.recommender_cpus,
            "resources": {cluster.serving_resource: 0.001} if cluster.serving_resource else {},
            "runtime_env": FEW_ARENAS,
        },
        logging_config={"enable_access_log": False},
        **scaling,
        **WATCHED,
        **DRAINED,
    )


def _index_parts(config: RunConfig) -> list[Any]:
    """Deployments of the parts. Their names tell how many there are: those of another cut are never asked."""
    number = config.cluster.index_parts
    if number == 1:
        return []
    return [_scaled(IndexPart, f"index-{part}-of-{number}", config).bind(config, part) for part in range(number)]


def _learners(config: RunConfig) -> list[Any]:
    if config.online.learner is None:
        return []
    reserved = {"num_cpus": config.cluster.learner_cpus, "runtime_env": FEW_ARENAS}
    found = []
    for shard in range(config.online.shards):
        learner: Any = serve.deployment(Learner, name=f"learner-{shard}", ray_actor_options=reserved, **WATCHED)
        found.append(learner.bind(config, shard))
    return found


def open_engines(config: RunConfig, search: Search | None = None) -> tuple[Engines, EventLog]:
    """The models that answer now, at work in this process on one thread and kept up with releases, and the log.

    Args:
        config: of the service.
        search: finds what competes in a large catalogue, in the place of the models' own indexes.
    """
    _use_one_thread()
    log = open_log(config)
    engines = Engines(config, log, search=search)
    gc.collect()
    gc.freeze()  # the collector need not look through the whole catalogue again and again
    engines.follow(config.online.poll_s)
    return engines, log


def _use_one_thread() -> None:
    """Let libraries compute with one thread, and who answers HTTP not wait for it."""
    sys.setswitchinterval(SWITCH_S)
    torch.set_num_threads(1)
    threadpool_limits(1)  # of numpy too: its threads wait for each other busily, and another process has the core


def _nothing(_: Snapshot) -> None:
    """The search of those that retrieve for nobody."""


def places(cluster: ClusterSection) -> int:
    """How many may wait in one replica of profile laptop: what all may keep waiting, over the replicas there may be."""
    return math.ceil(cluster.queued_requests / cluster.replicas[1])


class Ingress:
    """Answers HTTP: keeps the log, and retrieves and ranks itself unless others do.

    Without a ranker it listens on `serve.host:serve.port`.
    """

    def __init__(
        self,
        config: RunConfig,
        explainer: DeploymentHandle,
        learners: Sequence[DeploymentHandle],
        ranker: DeploymentHandle | None,
    ) -> None:
        listen_on_loopback()
        if ranker is None:
            require_port_free_of_proxies(config)
        engines, log = open_engines(config, _nothing if ranker else None)
        vocabulary = vocabulary_of(engines.main.snapshot.corpus)
        reasons = DeadlineReasons(RemoteWriter(explainer), config.serve.deadline_s, vocabulary)
        listener = Listener(engines, [asking(learner) for learner in learners], config.online.poll_s)
        # Behind Serve's proxies no more come than REQUESTS_AT_ONCE.
        queue = Queue(places(config.cluster) if ranker is None else REQUESTS_AT_ONCE + 1)
        drawing: Drawing = LocalDrawing(engines, queue) if ranker is None else RemoteDrawing(ranker)
        self._metrics, self._listener = ServiceMetrics(), listener
        service = CountedService(self._metrics, engines, log, reasons, drawing, queue, listener.status)
        self._app = build_app(lambda: service, config.serve, statuses=STATUSES, observer=self._metrics.request)
        self._server = None if ranker else HttpServer(self._app, config.serve.host, config.serve.port, _service())

    def check_health(self) -> None:
        """Ask for a new replica where nothing more is answered.

        Raises:
            RuntimeError: see above.
        """
        if self._server is not None and not self._server.alive:
            raise RuntimeError("the HTTP server has died")
        self._metrics.tell(self._listener.status())

    def __del__(self) -> None:
        """Serve calls this when the replica is to end."""
        if server := getattr(self, "_server", None):
            server.stop()


def _service() -> str:
    """The app and its cluster, whose replicas share a port."""
    return f"{ray.get_runtime_context().gcs_address} {serve.get_replica_context().app_name}"


@serve.ingress()
class ProxiedIngress(Ingress):
    """The same behind Serve's proxies."""

    def __init__(
        self, config: RunConfig, explainer: DeploymentHandle, learners: Sequence[DeploymentHandle], ranker: Any
    ) -> None:
        require_proxies(config)
        super().__init__(config, explainer, learners, ranker)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return self._app


class IndexPart:
    """Holds a part of the approximate index of a large catalogue."""

    def __init__(self, config: RunConfig, part: int) -> None:
        listen_on_loopback()
        _use_one_thread()
        self._parts = ModelParts(config, open_log(config), part)
        self._parts.follow(config.online.poll_s)

    async def search(
        self, version: str, queries: FloatMatrix, k: int, exclude: Sequence[IntVector] | None
    ) -> tuple[IntVector, FloatMatrix]:
        """The best items of the part of a model's index."""
        # What was published just now may be open in another replica first. Who waits looks busy: the other is asked.
        ends = time.monotonic() + NEWS_S
        while not self._parts.ready(version) and time.monotonic() < ends:
            await asyncio.sleep(0.05)
        return await asyncio.to_thread(self._parts.search, version, queries, k, exclude)

    async def ready(self, version: str) -> bool:
        """Whether a model can be searched."""
        return self._parts.ready(version)


class Retriever:
    """Finds out who asks and scores every item for them, or of a large catalogue those that may compete."""

    def __init__(
        self, config: RunConfig, learners: Sequence[DeploymentHandle], parts: Sequence[DeploymentHandle]
    ) -> None:
        listen_on_loopback()
        # Parts of an index are waited for, which nobody may do in the event loop, where a constructor runs, nor in its
        # few threads: requests that need no index would wait with those that wait for one that is lost.
        self._threads = ThreadPoolExecutor(REQUESTS_AT_ONCE)
        search = PartSearch(parts, config) if parts else None
        self._engines, _ = self._threads.submit(open_engines, config, search).result()
        if search is not None:
            search.patience_s = PART_ANSWERS_S
        Listener(self._engines, [asking(learner) for learner in learners], config.online.poll_s)

    async def retrieve(self, request: RecommendRequest) -> Retrieved | Llm4RecError:
        """Scores of all items, -inf of those that do not compete; or what the caller can mend."""
        retrieve = self._engines.of(request.user_id).retrieve
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, retrieve, request)
        except Llm4RecError as error:  # what Serve sees raised it logs, with ids of users
            return error


class Ranker:
    """Draws slates from what the retriever found."""

    def __init__(self, config: RunConfig, retriever: DeploymentHandle) -> None:
        listen_on_loopback()
        self._engines, _ = open_engines(config, _nothing)
        self._retriever = retriever

    async def draw(self, request: RecommendRequest) -> Drawn | Llm4RecError:
        """A slate; or what the caller can mend."""
        retrieved = await self._retriever.retrieve.remote(request)
        if isinstance(retrieved, Llm4RecError):
            return retrieved
        try:
            return await asyncio.to_thread(self._rank, request, retrieved)
        except Llm4RecError as error:
            return error

    def _rank(self, request: RecommendRequest, retrieved: Retrieved) -> Drawn:
        return self._engines.of_version(retrieved.version).rank(request, retrieved)


class Learner:
    """Learns from the feedback of a part of the users."""

    def __init__(self, config: RunConfig, shard: int) -> None:
        listen_on_loopback()
        engines, log = open_engines(config, _nothing)
        learner = config.online.learner
        assert learner is not None
        self._loop = LearnerLoop(
            engines, lambda engine: new_follower(engine, log, config, shard), config.online.poll_s, learner.snapshot_s
        )

    def check_health(self) -> None:
        """Ask for a new one where nothing more is learnt.

        Raises:
            RuntimeError: see above.
        """
        if not self._loop.alive:
            raise RuntimeError("the learner has died")

    async def news(self, version: str, epoch: str, examples: int) -> News | None:
        """What has changed of a model since an earlier update, and how far learning is; None of an unknown model."""
        return await asyncio.to_thread(self._loop.news, version, epoch, examples)


class Explainer:
    """Holds the language model that writes reasons."""

    def __init__(self, config: RunConfig) -> None:
        listen_on_loopback()
        torch.set_num_threads(config.cluster.explainer_threads)
        corpus = Corpus.read(RunStore(config.run.path).open("corpus"), config.run.split)
        threads = config.cluster.explainer_threads
        self._writer = LanguageModelWriter(config.explain, vocabulary_of(corpus), read_explainer(config), threads)

    def check_health(self) -> None:
        """Ask for a new replica where nothing more can be written.

        Raises:
            RuntimeError: see above.
        """
        if not self._writer.healthy:
            raise RuntimeError("the generator has died")

    async def write(self, items: Sequence[Grounds], seconds: float) -> list[Reason]:
        """A checked reason for each item."""
        return await asyncio.to_thread(self._writer.write, items, seconds)

    async def stream(self, grounds: Grounds, seconds: float) -> AsyncIterator[str]:
        """Unchecked pieces of one reason, as they are written."""
        pieces = self._writer.pieces(grounds, seconds)
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            yield piece


def vocabulary_of(corpus: Corpus) -> list[str]:
    """All categories of the catalogue: words that a reason may only use with support."""
    return sorted({category for own in item_categories(corpus.items) for category in own})
