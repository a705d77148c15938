"""The index stage: what it refuses before it begins."""

from pathlib import Path

import pytest

from llm4rec.artifacts import RunStore
from llm4rec.cluster import index
from llm4rec.cluster.run_config import RunConfig
from llm4rec.config import load
from llm4rec.errors import ConfigError
from tests.cluster.small_run import write_run

DEMO = Path(__file__).parents[2] / "configs" / "demo.yaml"


def test_evidence_needs_a_model_that_reads_its_texts(tmp_path: Path) -> None:
    store = RunStore(write_run(tmp_path / "run", 0))
    before = store.open("index").manifest
    config = load(RunConfig, DEMO, ["encode.text_model=null"])
    with pytest.raises(ConfigError, match=r"encode\.text_model is null, but evidence"):
        index.run(store, config)
    assert store.open("index").manifest == before
