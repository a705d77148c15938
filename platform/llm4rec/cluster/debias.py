"""The debias stage: effects, propensities and weights, estimated in a Ray task; fits of effects have their own."""

from collections.abc import Callable, Sequence
from typing import Any

import ray

from llm4rec.artifacts import Artifact, ArtifactWriter, RunStore
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.stage import run_stage
from llm4rec.debias.estimate import estimate
from llm4rec.debias.result import write_effects
from llm4rec.schema import Corpus, read_features


def run(store: RunStore, config: RunConfig) -> Artifact:
    """Corpus + features -> effects."""
    corpus_artifact, features_artifact = store.open("corpus"), store.open("features")

    def build(writer: ArtifactWriter) -> None:
        corpus = Corpus.read(corpus_artifact, config.run.split)
        features = read_features(features_artifact, corpus.item_ids)
        remote: Any = ray.remote(estimate).options(num_cpus=1)
        write_effects(writer, corpus, ray.get(remote.remote(corpus, features, config.debias, config.run.seed, each)))

    return run_stage(
        store,
        "effects",
        config={"debias": config.debias, "split": config.run.split},
        inputs={"corpus": corpus_artifact.hash, "features": features_artifact.hash},
        seed=config.run.seed,
        build=build,
    )


def each(function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
    """A Ray task for each call; an argument that several calls share is stored once."""
    distinct = {id(value): value for call in calls for value in call}
    stored = {key: ray.put(value) for key, value in distinct.items()}
    task = ray.remote(function).options(num_cpus=1)
    return list(ray.get([task.remote(*(stored[id(value)] for value in call)) for call in calls]))
