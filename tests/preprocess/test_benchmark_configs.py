"""The configs of benchmarks are valid, and their data may lie anywhere."""

from pathlib import Path

import pytest

from llm4rec.cluster.run_config import load_run

ROOT = Path(__file__).parents[2]
CONFIGS = sorted((ROOT / "benchmarks/configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_benchmark_config_is_valid_and_its_source_can_be_elsewhere(path):
    assert load_run(path, ["source.path=/elsewhere"], home=ROOT).source.path == "/elsewhere"
