"""A corpus made in this process, read back as tables."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from llm4rec.artifacts import Artifact, RunStore
from llm4rec.preprocess.config import PreprocessConfig, SourceConfig
from llm4rec.preprocess.single_process import write_preprocessed

LOOSE = PreprocessConfig(min_user_interactions=1, min_item_interactions=1)


def preprocess(raw: SourceConfig, config: PreprocessConfig, run: str) -> Artifact:
    """The whole stage, into the folder `run`."""
    store = RunStore(run)
    with store.write("corpus", {"config_hash": "x"}) as writer:
        write_preprocessed(writer, raw, config)
    return store.open("corpus")


@dataclass(frozen=True)
class Tables:
    """What a corpus holds."""

    interactions: pa.Table
    items: pa.Table
    users: pa.Table
    quarantine: pa.Table


def read_source(raw: SourceConfig, run: Any, config: PreprocessConfig = LOOSE) -> Tables:
    """Everything that a source gives, nothing filtered out."""
    artifact = preprocess(raw, config, str(run))
    return Tables(*(artifact.read_table(name) for name in ("interactions", "items", "users", "quarantine")))
