"""Several machines, each in namespaces of its own on this one: no shared disk, and one of them gone."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm4rec.artifacts import RunStore

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from node_loss import CONFIG, offline, settings_of
from nodes import OUTSIDE, Nodes, network
from object_store import CREDENTIALS, ObjectStore, object_store

from tests.ports import free_port
from tests.ray.conftest import HOME

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.skipif(
        os.geteuid() != 0 or not shutil.which("ip"), reason="making nodes needs root and the command ip (iproute2)"
    ),
]


@pytest.fixture
def objects() -> Iterator[ObjectStore]:
    with network(), object_store(OUTSIDE, free_port()) as running:
        running.put(HOME / "data" / "ml-100k", "data/ml-100k")
        yield running


@pytest.mark.parametrize("token", [True, False], ids=["token", "no token"])
def test_a_node_that_is_lost_at_work_costs_no_row(objects: ObjectStore, tmp_path: Path, token: bool) -> None:
    with Nodes(tmp_path / "nodes", token=token, environment=CREDENTIALS) as nodes:
        for name in ("head", "one", "two"):
            nodes.start(name, cpus=1)
        nodes.submit("python", "jobs/preprocess.py", "--config", CONFIG, *settings_of(objects, "whole"))
        found = offline(nodes, objects, "preprocess")
        assert (found["lost"], found["doubled"], found["same_hash"]) == (0, 0, True)
        told = nodes.submit("python", "jobs/encode.py", "--config", CONFIG, *settings_of(objects, "whole"))
        assert "features: finished" in told
        assert RunStore(objects.location("runs/whole")).open("features").hash
