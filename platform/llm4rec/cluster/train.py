"""The train stage: Ray Train workers, each with a DeepSpeed engine around the single-device recommender."""

import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import TrainingFailedError, WorkerGroupError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2.api.config import ScalingConfig

from llm4rec.artifacts import Artifact, ArtifactWriter, RunStore, location_inside
from llm4rec.cluster.checkpoint import PROGRESS, leave_newest, newest
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.stage import MODEL, TRAINING, run_stage
from llm4rec.cluster.worker import Worker, corpus_and_shape, read_parts, train_worker, validate
from llm4rec.config import content_hash
from llm4rec.device import best_device
from llm4rec.errors import ConfigError, Llm4RecError
from llm4rec.train.loop import TorchEngine, fit
from llm4rec.train.state import WEIGHTS, save_weights, write_model

log = logging.getLogger("llm4rec")

CHECKPOINTS = ".train"
MAX_CAUSE = 300
"""Characters of an error that a line holds."""


def run(store: RunStore, config: RunConfig) -> Artifact:
    """Corpus + features + effects -> model."""
    if config.train.rank_weight == 0:
        raise ConfigError(
            "train.rank_weight is 0, which leaves the ranking untrained that all later stages use; "
            "give it a weight above 0, the outcome head then learns beside it"
        )
    return train(store, config, MODEL, ("corpus", "features", "effects"))


def train(store: RunStore, config: RunConfig, stage: str, made_from: Sequence[str]) -> Artifact:
    """A training, of the model that is measured or of a refit.

    Args:
        store: of the run.
        config: of this training.
        stage: MODEL or REFIT_MODEL.
        made_from: names of the artifacts that it reads.
    """
    inputs = {name: store.open(name).hash for name in made_from}
    name = _name(config, inputs)

    def build(writer: ArtifactWriter) -> None:
        if config.train.num_workers == 0:
            _train_here(writer, store, config, stage)
        else:
            _train(writer, store, config, stage, name)

    artifact = run_stage(
        store,
        stage,
        config=_decisive(config),
        inputs=inputs,
        seed=config.run.seed,
        build=build,
    )
    store.delete(f"{CHECKPOINTS}/{name}")  # only now: until the artifact is sealed they are all there is
    return artifact


def _train(writer: ArtifactWriter, store: RunStore, config: RunConfig, stage: str, name: str) -> None:
    """Train on workers, from the last checkpoint after a failure here or in an earlier, killed, run."""
    settings = {"run": config.model_dump(mode="json"), "stage": stage}
    result = _fit(settings, location_inside(store.location, CHECKPOINTS), name, config)
    _, shape = corpus_and_shape(store, config, stage)
    assert result.checkpoint is not None, "every epoch reports a checkpoint"
    with result.checkpoint.as_directory() as folder:
        noted = json.loads(Path(folder, PROGRESS).read_text(encoding="utf-8"))
        write_model(writer, Path(folder, WEIGHTS), config.train.model, shape, noted["progress"]["curve"])


def _fit(settings: dict[str, Any], storage: str, name: str, config: RunConfig) -> ray.train.Result:
    """Start workers, and again after a failure that another try may mend, up to `train.max_failures` times in a row.

    Failures in a row are those between which no checkpoint was made: a long training on machines that come and go has
    any number of others.

    Ray could do that by itself, but would also try again what can only fail again, such as a loss that is not finite.
    A trainer of the same name goes on from the last checkpoint, with whatever number of workers.

    Raises:
        Llm4RecError: what a worker says the user can mend.
    """
    failures, reached = 0, newest(storage, name)
    gpus = on_gpus(config)
    while True:
        trainer = TorchTrainer(
            train_worker,
            train_loop_config={**settings, "checkpoint": leave_newest(storage, name), "on_gpus": gpus},
            scaling_config=ScalingConfig(
                num_workers=config.train.num_workers,
                elastic_resize_monitor_interval_s=config.cluster.resize_s,
                use_gpu=gpus,
                resources_per_worker={"CPU": 1},
            ),
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
            run_config=ray.train.RunConfig(
                name=name, storage_path=storage, checkpoint_config=ray.train.CheckpointConfig(num_to_keep=1)
            ),
        )
        try:
            return trainer.fit()
        except TrainingFailedError as error:
            if (mendable := _told_by_a_worker(error)) is not None:
                raise mendable from None
            before, reached = reached, newest(storage, name)
            failures = failures + 1 if reached == before else 1
            if failures > config.train.max_failures:
                raise
            log.warning(
                "%s: a worker was lost (%d of %d times without a new checkpoint); going on from the last one: %s",
                TRAINING[settings["stage"]],
                failures,
                config.train.max_failures,
                _cause(error),
            )


def on_gpus(config: RunConfig) -> bool:
    """Whether workers take a GPU each. The driver, which may run on a node without, is not asked."""
    workers = config.train.num_workers
    fewest = workers[0] if isinstance(workers, tuple) else workers
    there = int(ray.cluster_resources().get("GPU", 0))
    chosen = there >= fewest if config.cluster.train_on_gpus is None else config.cluster.train_on_gpus
    if there and not chosen:
        log.warning(
            "train: on CPUs, though the cluster has %d GPUs; train.num_workers of at most that, or "
            "cluster.train_on_gpus, would use them",
            there,
        )
    return chosen


def _cause(error: TrainingFailedError) -> str:
    """What the first worker that failed said, in a line."""
    failures = list(error.worker_failures.values()) if isinstance(error, WorkerGroupError) else [error]
    cause = getattr(failures[0], "_base_exc", failures[0])
    return f"{type(cause).__name__}: {' '.join(str(cause).split())[:MAX_CAUSE]}"


def _told_by_a_worker(error: TrainingFailedError) -> Llm4RecError | None:
    """The error of ours that a worker ended with, if one did."""
    failures = error.worker_failures.values() if isinstance(error, WorkerGroupError) else ()
    causes = [getattr(failure, "_base_exc", failure) for failure in failures]
    return next((cause for cause in causes if isinstance(cause, Llm4RecError)), None)


def _name(config: RunConfig, inputs: dict[str, str]) -> str:
    """Equal for trainings that may go on from each other's checkpoints, whose number of workers may differ."""
    return content_hash({**_decisive(config), "seed": config.run.seed, "inputs": inputs})


def settings_hash(config: RunConfig) -> str:
    """What the manifest of a model says of the settings that it was trained with."""
    return content_hash(_decisive(config))


def _decisive(config: RunConfig) -> dict[str, Any]:
    """What decides which model comes out: not how the work is spread, nor how reports are made."""
    free = {"num_workers", "zero_stage", "accumulation", "gradient_checkpointing", "checkpoint_steps", "max_failures"}
    return {
        "train": config.train.model_dump(mode="json", exclude=free),
        "remove_seen": config.evaluate.remove_seen,  # of the validation split
        "split": config.run.split,
    }


def _train_here(writer: ArtifactWriter, store: RunStore, config: RunConfig, stage: str) -> None:
    """Train in this process with plain PyTorch."""
    parts = read_parts(store, config, stage)
    parts.model.to(best_device())
    engine = TorchEngine(parts.model, config.train, parts.total_steps(config))
    with tempfile.TemporaryDirectory() as folder:
        best = Path(folder, WEIGHTS)
        progress = fit(
            engine,
            parts.windows,
            config.train,
            seed=config.run.seed,
            validate=lambda: validate(parts.model, parts, config, Worker(0, 1)),
            on_best=lambda: save_weights(parts.model, best),
            log=lambda line: log.info("%s: %s", parts.label, line),
        )
        write_model(writer, best, config.train.model, parts.model.shape, progress.curve)
