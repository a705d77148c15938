import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from llm4rec.online.log import EventLog
from tests.postgres import Postgres, programs


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    try:
        programs()
    except FileNotFoundError as error:
        if "LLM4REC_ALL_SERVICES" in os.environ:  # continuous integration, which installed it
            raise
        pytest.skip(str(error))
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # nobody pulls the plug on tests: no need of a disk
    folder = Path(tempfile.mkdtemp(dir=memory))  # pytest's own folders are closed to the account the server runs as
    folder.chmod(0o755)
    server = Postgres(folder / "server")
    server.start()
    yield server
    server.kill()
    shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", "postgresql"])
def log_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/log.db"
    url: str = request.getfixturevalue("postgres").new_database()
    return url


@pytest.fixture
def log(log_url: str) -> Iterator[EventLog]:
    log = EventLog(log_url)
    yield log
    log.close()
