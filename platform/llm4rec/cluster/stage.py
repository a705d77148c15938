"""Running one stage: skip it if its artifact is complete, else build it and seal it."""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from llm4rec.artifacts import Artifact, ArtifactWriter, RunStore, told_if_full
from llm4rec.cluster.run_config import RunConfig
from llm4rec.config import StrictModel, content_hash

log = logging.getLogger("llm4rec")

MODEL, REFIT_MODEL = "model", "refit/model"
"""The artifact of the model that is measured; that of the one that learnt of what was held out, too."""
TRAINING = {MODEL: "train", REFIT_MODEL: "refit"}
"""What lines and curves call the training of either."""
INDEX, REFIT_INDEX = "index", "refit/index"
"""What answers with the one, and with the other."""
REFIT_WEIGHTS = "refit/weights"
"""The training weight of every interaction."""


def run_stage(
    store: RunStore,
    name: str,
    *,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    seed: int,
    build: Callable[[ArtifactWriter], None],
) -> Artifact:
    """The stage's artifact, built unless it exists for the same configuration, inputs and seed.

    Args:
        store: the run's artifacts.
        name: the artifact's name.
        config: the parts of the configuration that the artifact depends on, as sections or plain values.
        inputs: content hashes of what it is made from.
        seed: the run's seed.
        build: writes the artifact's files.

    Raises:
        ArtifactError: the artifact exists but is damaged, or a disk is full.
    """
    values = {part: c.model_dump(mode="json") if isinstance(c, StrictModel) else c for part, c in config.items()}
    key = {"config_hash": content_hash(values), "inputs": dict(inputs), "seed": seed}
    if found := store.find(name, key):
        log.info("%s: complete, skipped (%s)", name, found.hash[:12])
        return found
    log.info("%s: started", name)
    started = time.monotonic()
    with told_if_full(f"the artifact {name}"), store.write(name, key) as writer:
        build(writer)
        writer.seconds = round(time.monotonic() - started, 1)
    artifact = store.open(name)
    log.info("%s: finished in %.1f s (%s)", name, time.monotonic() - started, artifact.hash[:12])
    return artifact


def open_store(config: RunConfig) -> RunStore:
    """The artifacts of a run."""
    return RunStore(config.run.path)
