"""What each Ray Train worker runs: epochs of a DeepSpeed engine, checkpoints, validation, a log to look at."""

import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray.train
import torch
import torch.distributed as dist
from tensorboardX import SummaryWriter

from llm4rec.artifacts import RunStore, told_if_full
from llm4rec.cluster import checkpoint
from llm4rec.cluster.deepspeed import DeepSpeedEngine, build_engine
from llm4rec.cluster.elastic import whole
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.stage import MODEL, REFIT_MODEL, REFIT_WEIGHTS, TRAINING
from llm4rec.debias.result import Effects, read_effects, read_weights
from llm4rec.errors import ConfigError
from llm4rec.evaluate.metrics import ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import rank
from llm4rec.model.inputs import IntMatrix
from llm4rec.model.recommender import Recommender, Shape
from llm4rec.model.scorer import ModelScorer
from llm4rec.schema import VALID, Corpus, read_features
from llm4rec.train.config import TrainConfig
from llm4rec.train.loop import Engine, NotFiniteGradientError, Progress, in_words, train_epoch
from llm4rec.train.refit import refit_shape
from llm4rec.train.state import WEIGHTS, described, read_model, save_weights
from llm4rec.train.windows import KnownOutcomes, Windows, build_windows

log = logging.getLogger("llm4rec")

CURVES = "logs"
"""TensorBoard reads the run's trainings here, each in a folder of its own."""
SECONDS_BETWEEN_REPORTS = 10
VALIDATION_ROWS = 20_000
"""At most so many choices are ranked after each epoch."""


@dataclass(frozen=True)
class Parts:
    """What is trained, on what, and what it is validated with."""

    model: Recommender
    windows: Windows
    validation: EvaluationSet | None
    """None in a refit, which has seen all there is."""
    attributes: IntMatrix
    num_users: int
    plain: Recommender | None
    """A copy to validate and save, where ZeRO 3 takes the weights of the model itself apart at every use."""
    label: str
    """What lines and curves say is under way."""

    def total_steps(self, config: RunConfig) -> int:
        """Steps of all epochs."""
        return config.train.epochs * self.windows.num_steps(config.train.batch_size)


@dataclass(frozen=True)
class Worker:
    """The place of a worker among all."""

    rank: int
    size: int


def train_worker(settings: dict[str, Any]) -> None:
    """Train, from the last checkpoint if there is one, to the end."""
    logging.getLogger("ray.train").setLevel(logging.WARNING)  # it reports every checkpoint twice
    if not settings["on_gpus"]:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # before CUDA starts: Ray hides none from those who reserve none
    config = RunConfig.model_validate(settings["run"])
    worker = Worker(ray.train.get_context().get_world_rank(), ray.train.get_context().get_world_size())
    parts = read_parts(RunStore(config.run.path), config, settings["stage"])
    if worker.size > 1:
        log.info("%s: worker %d of %d is process %d", parts.label, worker.rank, worker.size, os.getpid())
    engine = build_engine(parts.model, config.train, world_size=worker.size, total_steps=parts.total_steps(config))
    if worker.rank == 0:
        log.info("%s: weights and activations are %s", parts.label, next(engine.module.parameters()).dtype)
    _run_epochs(engine, parts, config, worker, settings["checkpoint"])


def read_parts(store: RunStore, config: RunConfig, stage: str) -> Parts:
    """Everything that a training needs, from the artifacts of a run; a refit begins with the model that was measured.

    Args:
        store: of the run.
        config: of the training.
        stage: MODEL or REFIT_MODEL.

    Raises:
        ConfigError: outcomes are asked for and not known.
    """
    refit = stage == REFIT_MODEL
    corpus, shape = corpus_and_shape(store, config, stage)
    features = read_features(store.open("features"), corpus.item_ids)
    attributes = shape.attributes.encode_table(corpus.users)
    effects = read_effects(store.open("effects"))
    outcomes = known_outcomes(corpus, effects) if config.train.model.outcome else None
    weight = read_weights(store.open(REFIT_WEIGHTS)) if refit else effects.weight
    windows = build_windows(corpus, shape.history, attributes, weight, outcomes)
    torch.manual_seed(config.run.seed)
    if refit:
        model = read_model(store.open(MODEL), features, to_learn=shape)
    else:
        model = Recommender(config.train.model, shape, features)
    if config.train.gradient_checkpointing:
        model.users.backbone.gradient_checkpointing_enable({"use_reentrant": False})
    validation = None if refit else EvaluationSet.successive(corpus, VALID).at_most(VALIDATION_ROWS)
    dealt_out = config.train.num_workers != 0 and config.train.zero_stage == 3
    plain = Recommender(config.train.model, shape, features, with_weights=False) if dealt_out else None
    return Parts(model, windows, validation, attributes, corpus.num_users, plain, TRAINING[stage])


def corpus_and_shape(store: RunStore, config: RunConfig, stage: str) -> tuple[Corpus, Shape]:
    """What a training learns from, and the shape of its network; a refit has that of the model that was measured."""
    corpus = Corpus.read(store.open("corpus"), config.run.split)
    features = read_features(store.open("features"), corpus.item_ids)
    if stage != REFIT_MODEL:
        return corpus, Shape.of(corpus, features, config.train.model)
    network, shape = described(store.open(MODEL))
    corpus = corpus.as_train()
    return corpus, refit_shape(shape, network, corpus, features)


def known_outcomes(corpus: Corpus, effects: Effects) -> KnownOutcomes:
    """What the debias stage says of outcomes.

    Raises:
        ConfigError: it made no outcome model.
    """
    if effects.outcome is None:
        raise ConfigError(
            "train.model.outcome needs the debias stage's outcome model: set debias.outcome_model to true, and see the "
            "warnings in effects.json if it is"
        )
    good = effects.outcome.is_good(corpus.interactions.value)
    return KnownOutcomes(good, effects.outcome.users, effects.outcome.items)


def validate(model: Recommender, parts: Parts, config: RunConfig, worker: Worker) -> float | None:
    """NDCG@10 on the validation split, one vote a user, if any is held out; each worker ranks its share of the rows."""
    if parts.validation is None:
        return None
    scorer, own = ModelScorer(model, parts.attributes), _share(parts.validation, worker)
    gains = ndcg(rank(scorer, own, config.evaluate).target_rank, 10)
    by_user = np.stack([np.bincount(own.users, values, parts.num_users) for values in (gains, np.ones(len(gains)))])
    totals = torch.from_numpy(by_user).to(scorer.item_vectors.device)
    if worker.size > 1:
        dist.all_reduce(totals)
    gain, count = totals
    return float((gain / count)[count > 0].mean())


def _share(users: EvaluationSet, worker: Worker) -> EvaluationSet:
    """Every size-th row, so that workers rank about equally many."""
    return users.rows(np.arange(worker.rank, len(users), worker.size))


def _run_epochs(engine: DeepSpeedEngine, parts: Parts, config: RunConfig, worker: Worker, found: str | None) -> None:
    """Epochs with a checkpoint after each, and within them where asked for, from where the last one left off."""
    settings, steps_an_epoch = config.train, parts.windows.num_steps(config.train.batch_size)
    with tempfile.TemporaryDirectory() as kept:
        best = Path(kept, WEIGHTS)
        progress = checkpoint.restore(engine, best, found)
        if progress != Progress() and worker.rank == 0:
            log.info("%s: resumed after epoch %d, step %d of the next", parts.label, progress.epoch, progress.step)
        report = _Reporter(engine, progress, parts, config, worker)
        started = time.monotonic()
        if progress.finished(settings):  # killed before Ray had noted the last checkpoint, and it has to be told again
            checkpoint.save(engine, progress, report.steps, best, worker.rank)

        def after_step(loss: float) -> None:
            progress.advance(loss)
            report.step(loss)
            every = settings.checkpoint_steps
            if every and progress.step % every == 0 and progress.step < steps_an_epoch:
                _agree(progress, worker)
                progress.seconds = time.monotonic() - started
                checkpoint.save(engine, progress, report.steps, best, worker.rank)

        while not progress.finished(settings):
            started = time.monotonic() - progress.seconds
            torch.manual_seed(hash((config.run.seed, progress.epoch, progress.step, worker.rank)))
            batches = parts.windows.batches(
                settings.batch_size,
                seed=config.run.seed,
                epoch=progress.epoch,
                rank=worker.rank,
                world_size=worker.size,
                parts=settings.accumulation,
                first_step=progress.step,
            )
            train_epoch_together(engine, batches, settings, after_step)
            model = _to_validate(engine, parts)
            gain = validate(model, parts, config, worker)
            _agree(progress, worker)
            better = progress.record(gain, time.monotonic() - started)
            if better and worker.rank == 0:
                with told_if_full("the best weights so far"):
                    save_weights(model, best)
            report.epoch()
            checkpoint.save(engine, progress, report.steps, best, worker.rank)


def train_epoch_together(
    engine: Engine, batches: Iterator[Windows], config: TrainConfig, report: Callable[[float], None]
) -> None:
    """`train_epoch` on every worker, whose error names the whole batch where only the gradient of all is not finite."""
    try:
        train_epoch(engine, batches, config, report)
    except NotFiniteGradientError as error:  # the norm is of all workers, so that all of them are here
        shares: list[Any] = [None] * dist.get_world_size()
        dist.all_gather_object(shares, (error.users, error.items))
        users, items = (sorted({name for share in shares for name in share[place]}) for place in (0, 1))
        raise NotFiniteGradientError(error.what, users, items) from None


def _to_validate(engine: DeepSpeedEngine, parts: Parts) -> Recommender:
    """The model with all its weights; call it on every rank."""
    if parts.plain is None:
        return engine.module
    with whole(*engine.module.parameters()):
        parts.plain.load_state_dict(engine.module.state_dict())
    return parts.plain.to(next(engine.module.parameters()).device)


def _agree(progress: Progress, worker: Worker) -> None:
    """Make the loss so far that of all workers: each has seen its own share of every step."""
    total = torch.tensor(progress.total_loss, dtype=torch.float64)
    if worker.size > 1:
        total = total.to("cuda") if dist.get_backend() == "nccl" else total
        dist.all_reduce(total)
    progress.total_loss = float(total) / worker.size


class _Reporter:
    """Tells, from rank 0, how training goes: a line every few seconds, and curves for TensorBoard.

    Losses of single steps are those of rank 0's share; those of epochs are of all workers, as are gradients' norms.
    """

    def __init__(
        self, engine: DeepSpeedEngine, progress: Progress, parts: Parts, config: RunConfig, worker: Worker
    ) -> None:
        self._engine, self._progress, self._label = engine, progress, parts.label
        self._steps_an_epoch, self._epochs = parts.windows.num_steps(config.train.batch_size), config.train.epochs
        self._speaks = worker.rank == 0
        self._began, self._first, self._last = time.monotonic(), progress.step, time.monotonic()
        self._curves: SummaryWriter | None = None
        if self._speaks and "://" in config.run.path:
            log.info("%s: no curves for TensorBoard, which are written to local folders only", self._label)
        elif self._speaks:
            # what an earlier training in this folder, or this one before it was killed, wrote of later steps goes
            self._curves = SummaryWriter(
                str(Path(config.run.path, CURVES, self._label)), purge_step=self.steps + 1 if self.steps else 0
            )

    @property
    def steps(self) -> int:
        """Steps of the optimiser so far."""
        return self._progress.epoch * self._steps_an_epoch + self._progress.step

    def step(self, loss: float) -> None:
        """Note a step."""
        if self._curves is not None:
            self._curves.add_scalar("loss", loss, self.steps)
            self._curves.add_scalar("gradient_norm", float(self._engine.get_global_grad_norm() or 0), self.steps)
            self._curves.add_scalar("learning_rate", self._engine.lr_scheduler.get_last_lr()[-1], self.steps)
        now = time.monotonic()
        if not self._speaks or now - self._last < SECONDS_BETWEEN_REPORTS:
            return
        self._last, done = now, self._progress.step
        each = (now - self._began) / (done - self._first)
        left, curve = each * (self._steps_an_epoch - done), self._progress.curve
        an_epoch = curve[-1]["seconds"] if curve else each * self._steps_an_epoch
        in_all = left + an_epoch * (self._epochs - self._progress.epoch - 1)
        place = (self._progress.epoch + 1, self._epochs, done, self._steps_an_epoch)
        log.info(
            "%s: epoch %d/%d, step %d/%d, loss %.4f, %.0f s left in this epoch and at most %.0f s in all",
            *(self._label, *place, loss, left, in_all),
        )

    def epoch(self) -> None:
        """Note the end of an epoch."""
        last = self._progress.curve[-1]
        if self._curves is not None:
            for name in last.keys() & {"valid_ndcg@10", "seconds"}:
                self._curves.add_scalar(name, last[name], self.steps)
            self._curves.flush()
        if self._speaks:
            is_best = "valid_ndcg@10" in last and self._progress.best_epoch == self._progress.epoch - 1
            best = " (best)" if is_best else ""
            log.info(
                "%s: epoch %d/%d, %s%s, %.0f s",
                *(self._label, self._progress.epoch, self._epochs, in_words(last), best, last["seconds"]),
            )
        self._began, self._first, self._last = time.monotonic(), 0, time.monotonic()
