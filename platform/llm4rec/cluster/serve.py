"""The serve stage on Ray Serve: one ingress that retrieves and ranks in its own process, and the explainer."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import ray
import torch
from fastapi import FastAPI
from ray import serve
from ray.serve.handle import DeploymentHandle

from llm4rec.artifacts import RunStore
from llm4rec.cluster.explainer import read_explainer
from llm4rec.cluster.reasons import DeadlineReasons, LanguageModelWriter
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.service import Service
from llm4rec.cluster.session import LOOPBACK
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.encode.text import TextEncoder
from llm4rec.errors import ConfigError
from llm4rec.explain.grounds import Grounds
from llm4rec.explain.reason import Reason
from llm4rec.index.facts import item_categories
from llm4rec.online.errors import ConflictError, UnavailableError
from llm4rec.online.log import EventLog
from llm4rec.schema import Corpus
from llm4rec.serve.app import build_app

REQUESTS_AT_ONCE = 64
EXPLANATIONS_AT_ONCE = 4
STATUSES = {ConflictError: 409, UnavailableError: 503}


def application(config: RunConfig) -> serve.Application:
    """The app of a finished run, for `serve.run` and `serve deploy`."""
    explainer: Any = serve.deployment(
        Explainer,
        name="explainer",
        max_ongoing_requests=EXPLANATIONS_AT_ONCE,
        max_queued_requests=4 * EXPLANATIONS_AT_ONCE,
        ray_actor_options={"num_cpus": config.cluster.explainer_cpus, "num_gpus": config.cluster.explainer_gpus},
    )
    ingress: Any = serve.deployment(
        serve.ingress()(Ingress),
        name="recommender",
        max_ongoing_requests=REQUESTS_AT_ONCE,
        max_queued_requests=4 * REQUESTS_AT_ONCE,
        ray_actor_options={"num_cpus": config.cluster.recommender_cpus},
        logging_config={"enable_access_log": False},
    )
    return ingress.bind(config, explainer.bind(config))


class Ingress:
    """Answers HTTP: opens the run, keeps the log, retrieves and ranks in this process."""

    def __init__(self, config: RunConfig, explainer: DeploymentHandle) -> None:
        _listen_on_loopback()
        torch.set_num_threads(1)
        snapshot = Snapshot.open(RunStore(config.run.path), config)
        vocabulary = vocabulary_of(snapshot.corpus)
        reasons = DeadlineReasons(RemoteWriter(explainer), config.serve.deadline_s, vocabulary)
        log = EventLog(log_url(config), config.online.busy_timeout_s)
        self._config = config
        self._service = Service(snapshot, config, log, TextEncoder(config.encode), reasons)

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_app(lambda: self._service, self._config.serve, statuses=STATUSES)


class Explainer:
    """Holds the language model that writes reasons."""

    def __init__(self, config: RunConfig) -> None:
        _listen_on_loopback()
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


class RemoteWriter:
    """The explainer deployment as a `ReasonWriter`."""

    def __init__(self, explainer: DeploymentHandle) -> None:
        self._explainer = explainer

    async def write(self, items: Sequence[Grounds], seconds: float) -> list[Reason]:
        """A checked reason for each item."""
        return await self._explainer.write.remote(items, seconds)

    async def stream(self, grounds: Grounds, seconds: float) -> AsyncIterator[str]:
        """Unchecked pieces of one reason."""
        pieces: Any = self._explainer.options(stream=True).stream.remote(grounds, seconds)
        async for piece in pieces:
            yield piece


def log_url(config: RunConfig) -> str:
    """Where the event log lives: as configured, else a SQLite file in the run folder.

    Raises:
        ConfigError: the run folder is remote, where SQLite cannot work.
    """
    if config.online.url:
        return config.online.url
    if "://" in config.run.path:
        raise ConfigError(
            f"online.url must be set when run.path is remote ({config.run.path}); SQLite needs a local file"
        )
    return f"sqlite:///{Path(config.run.path, 'events.db')}"


def vocabulary_of(corpus: Corpus) -> list[str]:
    """All categories of the catalogue: words that a reason may only use with support."""
    return sorted({category for own in item_categories(corpus.items) for category in own})


def _listen_on_loopback() -> None:
    """Keep this replica's gRPC server off other interfaces when the node itself is on loopback.

    Ray Serve 2.60 binds it to all interfaces with no setting to change that. Call it in a deployment's constructor:
    the server starts after that.
    """
    if ray.util.get_node_ip_address() != LOOPBACK:
        return
    from ray.serve._private import replica  # noqa: PLC2701

    bind = replica.add_port_to_grpc_server
    replica.add_port_to_grpc_server = lambda server, address: bind(server, address.replace("[::]", LOOPBACK))
