from collections.abc import Iterator
from pathlib import Path

import pytest
from small_service import STATUSES, SmallService
from starlette.testclient import TestClient

from llm4rec.online.log import EventLog
from llm4rec.serve.app import build_app
from llm4rec.serve.config import ServeConfig


@pytest.fixture
def service(tmp_path: Path) -> Iterator[SmallService]:
    log = EventLog(f"sqlite:///{tmp_path}/log.db")
    yield SmallService(log)
    log.close()


@pytest.fixture
def client(service: SmallService) -> Iterator[TestClient]:
    app = build_app(lambda: service, ServeConfig(request_timeout_s=5.0), statuses=STATUSES)
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client
