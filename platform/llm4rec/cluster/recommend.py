"""The recommend stage: slates of all or listed users as one Parquet file, scored batch by batch in Ray tasks."""

import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import ray

from llm4rec.artifacts import RunStore
from llm4rec.cluster.candidates import Candidates, may_decide
from llm4rec.cluster.event_log import Gone
from llm4rec.cluster.pool import Free
from llm4rec.cluster.resume import LOSSES, MAX_FAILURES
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.snapshot import Snapshot, narrow_by
from llm4rec.errors import ConfigError
from llm4rec.index.facts import item_categories, item_prices, item_years
from llm4rec.online.parameters import Shift
from llm4rec.recommend.batch import known_users, read_user_ids, slates_table
from llm4rec.recommend.slate import Catalogue, Wish, draw_slate
from llm4rec.schema import SLATE_SCHEMA, TEST, TRAIN, VALID, BoolVector, FloatMatrix, FloatVector, History, IntVector

log = logging.getLogger("llm4rec")


def run(store: RunStore, config: RunConfig) -> None:
    """Index + corpus -> slates, at `recommend.output`; unknown users are reported and left out.

    Users whom the service's log has forgotten have no slate, and items that were withdrawn there are on none.
    """
    snapshot = Snapshot.open(store, config)
    corpus, gone = snapshot.corpus, Gone.of(config)
    wanted = read_user_ids(config.recommend.users) if config.recommend.users else corpus.user_ids
    codes, messages = known_users(left := gone.left(wanted), corpus.user_codes)
    if len(left) < len(wanted):
        log.warning("recommend: %d users are forgotten and left out", len(wanted) - len(left))
    for message in messages:
        log.warning("recommend: %s", message)
    size = config.recommend.batch_size
    batches = [codes[start : start + size] for start in range(0, len(codes), size)]
    _require_writable(config.recommend.output)
    tables = _tables(config, batches, np.isin(corpus.item_ids, list(gone.items)))
    table = pa.concat_tables([SLATE_SCHEMA.empty_table(), *tables])
    _write(table, config.recommend.output)
    log.info("recommend: %d slates, %d rows -> %s", len(codes), table.num_rows, config.recommend.output)


def _tables(config: RunConfig, batches: Sequence[list[int]], withdrawn: BoolVector) -> list[pa.Table]:
    """The slates of each batch of users, in order; the batch of a worker that is lost is drawn again by another.

    Every worker opens the run once. A lost one is not replaced while others are left: there may be no room for it. A
    batch that takes `MAX_FAILURES` workers and another with it ends the job.
    """
    actor: Any = ray.remote(num_cpus=1)(SlateWorker)
    idle = [actor.remote(config, withdrawn) for _ in range(max(1, min(Free.now().places, len(batches))))]
    waiting, at_work, tables = list(reversed(range(len(batches)))), dict[Any, tuple[int, Any]](), dict[int, pa.Table]()
    losses = Counter[int]()
    while waiting or at_work:
        while idle and waiting:
            worker, batch = idle.pop(), waiting.pop()
            at_work[worker.slates.remote(batches[batch])] = (batch, worker)
        (done,), _ = ray.wait(list(at_work), num_returns=1)
        batch, worker = at_work.pop(done)
        try:
            tables[batch] = ray.get(done)
        except LOSSES:
            losses[batch] += 1
            if losses[batch] > MAX_FAILURES:
                raise
            log.warning("recommend: a worker was lost; batch %d is drawn again", batch + 1)
            waiting.append(batch)
            if not (at_work or idle):
                idle.append(actor.remote(config, withdrawn))
            continue
        idle.append(worker)
        log.info("recommend: batch %d/%d", len(tables), len(batches))
    return [tables[batch] for batch in range(len(batches))]


class SlateWorker:
    """Draws slates for batches of users; a user's slate depends on seed and user alone."""

    def __init__(self, config: RunConfig, withdrawn: BoolVector) -> None:
        self._config = config
        self._snapshot = snapshot = Snapshot.open(RunStore(config.run.path), config)
        items = snapshot.corpus.items
        self._catalogue = Catalogue(
            snapshot.index.vectors,
            snapshot.prices.price,
            item_years(items),
            item_categories(items),
            item_prices(items),
        )
        self._candidates = None if snapshot.near is None else Candidates(snapshot.near, config.run.seed)
        self._withdrawn = withdrawn
        self._weights = snapshot.effects.user_weight
        self._histories = snapshot.corpus.histories(TRAIN, VALID, TEST)

    def slates(self, users: list[int]) -> pa.Table:
        """The slates of these users (codes), as rows of `SLATE_SCHEMA`."""
        snapshot, settings = self._snapshot, self._config.recommend
        histories = [self._histories[user] for user in users]
        states = snapshot.scorer.user_states(np.asarray(users, np.int32), histories)
        drawn = [
            draw_slate(
                np.where(self._withdrawn, -np.inf, row).astype(np.float32),
                history.item,
                settings,
                self._catalogue,
                np.random.default_rng((self._config.run.seed, user)),
                Wish(popularity_weight=float(self._weights[user])),
                narrow=narrow_by(snapshot.id_generator, state, settings),
            )
            for user, row, state, history in zip(
                users, self._rows(users, states, histories), states, histories, strict=True
            )
        ]
        corpus = snapshot.corpus
        return slates_table([corpus.user_ids[user] for user in users], drawn, corpus.item_ids)

    def _rows(self, users: list[int], states: FloatMatrix, histories: list[History]) -> Iterable[FloatVector]:
        """The logits of each user, shape (I,); of a large catalogue one user after the other: not all fit."""
        snapshot, vectors = self._snapshot, self._catalogue.vectors
        if self._candidates is None:
            return snapshot.logits(states, vectors, histories)
        return (self._large_row(*one) for one in zip(users, states, histories, strict=True))

    def _large_row(self, user: int, state: FloatVector, history: History) -> FloatVector:
        """Logits of all items, or of those that may compete where taste alone decides; -inf of the others."""
        snapshot, settings, vectors = self._snapshot, self._config.recommend, self._catalogue.vectors
        if not may_decide(settings, float(self._weights[user]), worded=False):
            return snapshot.logits(state[None], vectors, [history])[0]
        assert self._candidates is not None
        unmoved = Shift.none(vectors.shape[1])

        def score(codes: IntVector) -> FloatVector:
            return snapshot.logits_of(unmoved.products_of(codes, state, vectors)[None], [history])[0][codes]

        wanted, others = max(settings.k, settings.candidates), snapshot.gate.favourites(history)
        return self._candidates.logits(score, state, wanted, self._withdrawn, history.item, others)


def _require_writable(output: str) -> None:
    """Refuse an output that cannot be written before any slate is drawn."""
    folder = Path(output).absolute().parent
    if "://" not in output and not (folder.is_dir() and os.access(folder, os.W_OK)):
        raise ConfigError(f"recommend.output: the folder {folder} does not exist or cannot be written; create it first")


def _write(table: pa.Table, output: str) -> None:
    """Write the table, on a local disk under another name first, so that a half-written file never has its name."""
    if "://" in output:
        fs, path = pafs.FileSystem.from_uri(output)
        pq.write_table(table, path, filesystem=fs)
        return
    part = Path(f"{output}.part")
    pq.write_table(table, part)
    part.replace(output)
