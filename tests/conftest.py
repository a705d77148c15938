"""How tests are dealt out to processes: those on the session's Ray stay together, others file by file."""

import os
from pathlib import Path

import hypothesis
import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# OpenMP's threads wait by spinning, and those of processes that share cores keep each other from work: beside two
# trainings the fits of the debias stage took more than thirty times as long. The Ray of tests/ray does without.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes is the machine's matter.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

TOGETHER = Path(__file__).parent / "ray"


class Scheduling(LoadScopeScheduling):
    """Ray's tests share one cluster, so one process has them all; files share fixtures."""

    def _split_scope(self, nodeid: str) -> str:
        path, *_ = nodeid.split("::")
        return "ray" if TOGETHER in Path(self.config.rootpath, path).parents else path


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    """Asked for by xdist; its groups, which would do, do nothing with pytest 9.2."""
    return Scheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Ray's tests take longest, so they come first where others run beside them."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: TOGETHER not in item.path.parents)
