"""The train stage: Ray Train workers, each with a DeepSpeed engine around the single-device recommender."""

import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ray.train
import torch
import torch.distributed as dist
from ray.train.torch import TorchConfig, TorchTrainer

from llm4rec.artifacts import Artifact, ArtifactWriter, RunStore
from llm4rec.cluster.deepspeed import CheckpointingEngine, build_engine
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.stage import run_stage
from llm4rec.config import content_hash
from llm4rec.debias.estimate import Effects, read_effects
from llm4rec.errors import ArtifactError, ConfigError
from llm4rec.evaluate.metrics import ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.evaluate.ranking import rank
from llm4rec.model.inputs import IntMatrix
from llm4rec.model.recommender import Recommender, Shape
from llm4rec.model.scorer import ModelScorer
from llm4rec.schema import VALID, Corpus, read_features
from llm4rec.train.loop import Progress, TorchEngine, fit, train_epoch
from llm4rec.train.state import WEIGHTS, save_weights, write_model
from llm4rec.train.windows import KnownOutcomes, Windows, build_windows

log = logging.getLogger("llm4rec")

STATE, PROGRESS, CHECKPOINTS = "state", "progress.json", ".train"
SECONDS_BETWEEN_REPORTS = 10
VALIDATION_ROWS = 20_000
"""At most so many choices are ranked after each epoch."""


def run(store: RunStore, config: RunConfig) -> Artifact:
    """Corpus + features + effects -> model."""
    if config.train.rank_weight == 0:
        raise ConfigError(
            "train.rank_weight is 0, which leaves the ranking untrained that all later stages use; "
            "give it a weight above 0, the outcome head then learns beside it"
        )
    inputs = {name: store.open(name).hash for name in ("corpus", "features", "effects")}

    def build(writer: ArtifactWriter) -> None:
        _train(writer, store, config, inputs)

    artifact = run_stage(
        store,
        "model",
        config={"train": config.train, "evaluate": config.evaluate, "split": config.run.split},
        inputs=inputs,
        seed=config.run.seed,
        build=build,
    )
    store.delete(CHECKPOINTS)  # only now: until the artifact is sealed they are all there is
    return artifact


def _train(writer: ArtifactWriter, store: RunStore, config: RunConfig, inputs: dict[str, str]) -> None:
    """Train, restarting from the last checkpoint after a failure here or in an earlier, killed, run."""
    if config.train.num_workers == 0:
        _train_here(writer, store, config)
        return
    settings = {"run": config.model_dump(mode="json"), "inputs": inputs}
    sections = {"train": config.train, "evaluate": config.evaluate}
    part: dict[str, Any] = {name: section.model_dump(mode="json") for name, section in sections.items()}
    part |= {"split": config.run.split, "seed": config.run.seed}
    resumes_for = {**part, "inputs": inputs}  # other settings may change between a kill and the next try
    storage = f"{store.location}/{CHECKPOINTS}"
    trainer = TorchTrainer(
        train_worker,
        train_loop_config=settings,
        scaling_config=ray.train.ScalingConfig(
            num_workers=config.train.num_workers, use_gpu=torch.cuda.is_available(), resources_per_worker={"CPU": 1}
        ),
        torch_config=TorchConfig(backend="nccl" if torch.cuda.is_available() else "gloo"),
        run_config=ray.train.RunConfig(
            name=content_hash(resumes_for),
            storage_path=storage,
            failure_config=ray.train.FailureConfig(max_failures=config.train.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1),
        ),
    )
    result = trainer.fit()
    if result.error is not None:
        raise result.error
    corpus, shape = _corpus_and_shape(store, config)
    assert result.checkpoint is not None, "every epoch reports a checkpoint"
    with result.checkpoint.as_directory() as folder:
        progress = json.loads(Path(folder, PROGRESS).read_text(encoding="utf-8"))
        write_model(writer, Path(folder, WEIGHTS), config.train.model, shape, progress["curve"])


def _train_here(writer: ArtifactWriter, store: RunStore, config: RunConfig) -> None:
    """Train in this process with plain PyTorch."""
    parts = _parts(store, config)
    engine = TorchEngine(parts.model, config.train, parts.total_steps(config))
    with tempfile.TemporaryDirectory() as folder:
        best = Path(folder, WEIGHTS)
        progress = fit(
            engine,
            parts.windows,
            config.train,
            seed=config.run.seed,
            validate=lambda: _validate(parts.model, parts, config, Worker(0, 1)),
            on_best=lambda: save_weights(parts.model, best),
            log=lambda line: log.info("train: %s", line),
        )
        write_model(writer, best, config.train.model, parts.model.shape, progress.curve)


def train_worker(settings: dict[str, Any]) -> None:
    """What each Ray Train worker runs; with `num_workers=0` it runs in the driver's process."""
    logging.getLogger("ray.train").setLevel(logging.WARNING)  # it reports every checkpoint twice
    config = RunConfig.model_validate(settings["run"])
    worker = Worker(ray.train.get_context().get_world_rank(), ray.train.get_context().get_world_size())
    parts = _parts(RunStore(config.run.path), config)
    total_steps = parts.total_steps(config)
    engine = build_engine(parts.model, config.train, world_size=worker.size, total_steps=total_steps)
    _run_epochs(engine, parts.windows, config, worker, lambda: _validate(engine.module, parts, config, worker))


@dataclass(frozen=True)
class Parts:
    """What is trained, on what, and what it is validated with."""

    model: Recommender
    windows: Windows
    validation: EvaluationSet
    attributes: IntMatrix

    def total_steps(self, config: RunConfig) -> int:
        """Steps of all epochs."""
        return config.train.epochs * self.windows.num_steps(config.train.batch_size)


def _parts(store: RunStore, config: RunConfig) -> Parts:
    corpus, shape = _corpus_and_shape(store, config)
    features = read_features(store.open("features"), corpus.item_ids)
    attributes = shape.attributes.encode_table(corpus.users)
    effects = read_effects(store.open("effects"))
    outcomes = known_outcomes(corpus, effects) if config.train.model.outcome else None
    windows = build_windows(corpus, shape.history, attributes, effects.weight, outcomes)
    torch.manual_seed(config.run.seed)
    model = Recommender(config.train.model, shape, features)
    return Parts(model, windows, EvaluationSet.successive(corpus, VALID).at_most(VALIDATION_ROWS), attributes)


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


@dataclass(frozen=True)
class Worker:
    """The place of a worker among all."""

    rank: int
    size: int


def _run_epochs(
    engine: CheckpointingEngine, windows: Windows, config: RunConfig, worker: Worker, validate: Callable[[], float]
) -> None:
    """Epochs with a checkpoint after each, from where the last checkpoint left off."""
    with tempfile.TemporaryDirectory() as kept:
        best = Path(kept, WEIGHTS)
        progress = _restore(engine, best)
        while not progress.finished(config.train):
            started = time.monotonic()
            torch.manual_seed(hash((config.run.seed, progress.epoch, worker.rank)))
            batches = windows.batches(
                config.train.batch_size,
                seed=config.run.seed,
                epoch=progress.epoch,
                rank=worker.rank,
                world_size=worker.size,
            )
            steps = windows.num_steps(config.train.batch_size)
            loss = train_epoch(engine, batches, config.train, _reporter(progress.epoch, steps, config, worker))
            gain = validate()
            better = progress.record(loss, gain, time.monotonic() - started)
            if better and worker.rank == 0:
                save_weights(engine.module, best)
            if worker.rank == 0:
                _log_epoch(progress, config)
            _checkpoint(engine, progress, best, worker)


def _log_epoch(progress: Progress, config: RunConfig) -> None:
    last = progress.curve[-1]
    best = " (best)" if progress.best_epoch == progress.epoch - 1 else ""
    log.info(
        "train: epoch %d/%d, loss %.4f, validation NDCG@10 %.4f%s, %.0f s",
        *(progress.epoch, config.train.epochs, last["loss"], last["valid_ndcg@10"], best, last["seconds"]),
    )


def _reporter(epoch: int, steps: int, config: RunConfig, worker: Worker) -> Callable[[int, float], None]:
    """Reports the loss and the time left in the epoch every few seconds, from rank 0."""
    started = last = time.monotonic()

    def report(step: int, loss: float) -> None:
        nonlocal last
        now = time.monotonic()
        if worker.rank == 0 and now - last >= SECONDS_BETWEEN_REPORTS:
            last = now
            left = (now - started) / (step + 1) * (steps - step - 1)
            place = (epoch + 1, config.train.epochs, step + 1, steps)
            log.info("train: epoch %d/%d, step %d/%d, loss %.4f, %.0f s left in this epoch", *place, loss, left)

    return report


def _validate(model: Recommender, parts: Parts, config: RunConfig, worker: Worker) -> float:
    """NDCG@10 on the validation split; each worker ranks its share of the users."""
    scorer = ModelScorer(model, parts.attributes)
    ranked = rank(scorer, _share(parts.validation, worker), config.evaluate)
    gains = ndcg(ranked.target_rank, 10)
    totals = torch.tensor([gains.sum(), len(gains)], dtype=torch.float64, device=scorer.item_vectors.device)
    if worker.size > 1:
        dist.all_reduce(totals)
    return float(totals[0] / totals[1])


def _share(users: EvaluationSet, worker: Worker) -> EvaluationSet:
    """Every size-th user, so that workers rank about equally many."""
    rows = slice(worker.rank, None, worker.size)
    return replace(users, users=users.users[rows], histories=users.histories[rows], targets=users.targets[rows])


def _checkpoint(engine: CheckpointingEngine, progress: Progress, best: Path, worker: Worker) -> None:
    """Report a checkpoint: every rank its engine state, rank 0 also the best weights and the progress."""
    with tempfile.TemporaryDirectory() as folder:
        engine.save_checkpoint(folder, tag=STATE)
        if worker.rank == 0:
            shutil.copy(best, Path(folder, WEIGHTS))
            Path(folder, PROGRESS).write_text(json.dumps(asdict(progress)), encoding="utf-8")
        metrics = {"epoch": progress.epoch, **progress.curve[-1]}
        ray.train.report(metrics, checkpoint=ray.train.Checkpoint.from_directory(folder))


def _restore(engine: CheckpointingEngine, best: Path) -> Progress:
    """Load the last checkpoint, if there is one."""
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        return Progress()
    with checkpoint.as_directory() as folder:
        loaded, _ = engine.load_checkpoint(folder, tag=STATE)
        if loaded is None:
            raise ArtifactError(
                f"the checkpoint {checkpoint.path} holds no state of this rank; delete it and train again"
            )
        shutil.copy(Path(folder, WEIGHTS), best)
        progress = Progress(**json.loads(Path(folder, PROGRESS).read_text(encoding="utf-8")))
        if dist.is_initialized():
            dist.barrier()  # no rank may leave, and remove the folder, while another still reads it
    log.info("train: resumed after epoch %d", progress.epoch)
    return progress


def _corpus_and_shape(store: RunStore, config: RunConfig) -> tuple[Corpus, Shape]:
    corpus = Corpus.read(store.open("corpus"), config.run.split)
    features = read_features(store.open("features"), corpus.item_ids)
    return corpus, Shape.of(corpus, features, config.train.model)
