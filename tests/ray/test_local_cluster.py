"""A local cluster leaves nothing behind and touches nobody else's."""

import socket
from pathlib import Path

import pytest

from llm4rec.cluster.demo import listeners_outside_loopback
from llm4rec.cluster.local import LocalCluster
from llm4rec.cluster.session import LOOPBACK
from llm4rec.errors import Llm4RecError
from tests.ray.conftest import HOME, free_port

pytestmark = pytest.mark.ray


def test_every_process_is_ended_and_the_token_is_private(cluster: LocalCluster, tmp_path: Path) -> None:
    own = LocalCluster(HOME, tmp_path, gcs_port=free_port(), dashboard_port=free_port())
    with own:
        assert own.processes()
        assert listeners_outside_loopback(own) == []
        assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
    assert own.processes() == []
    assert cluster.processes()


def test_a_job_joins_the_cluster_it_was_submitted_to_not_the_newest(cluster: LocalCluster, tmp_path: Path) -> None:
    with LocalCluster(HOME, tmp_path, gcs_port=free_port(), dashboard_port=free_port()):
        cluster.submit(["python", "-c", "import ray; ray.init()"])  # the newest has another token


def test_a_taken_port_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind((LOOPBACK, 0))
        other.listen()
        port = other.getsockname()[1]
        with (
            pytest.raises(Llm4RecError, match=f"port {port} .* is taken"),
            LocalCluster(HOME, tmp_path / "cluster", gcs_port=free_port(), dashboard_port=port),
        ):
            pass
    assert not (tmp_path / "cluster").exists()
