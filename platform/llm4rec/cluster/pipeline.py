"""All offline stages in order; each skips itself when its artifact is complete for this configuration."""

from llm4rec.artifacts import RunStore
from llm4rec.cluster import debias, encode, evaluate, index, preprocess, refit, train
from llm4rec.cluster.run_config import RunConfig


def run(store: RunStore, config: RunConfig) -> None:
    """Raw files -> report, and the model that answers."""
    for stage in (preprocess, encode, debias, train, index, evaluate, refit):
        stage.run(store, config)
