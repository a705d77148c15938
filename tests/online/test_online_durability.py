"""What was acknowledged must be in the log, whatever happens to the process or the disk."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm4rec.online.errors import UnavailableError
from llm4rec.online.feedback import Feedback
from llm4rec.online.log import EventLog
from tests.postgres import Postgres

APPEND_FOR_EVER = """
import sys
from llm4rec.online.feedback import Feedback
from llm4rec.online.log import EventLog

log = EventLog(sys.argv[1])
number = 0
while True:
    number += 1
    log.append_feedback([Feedback(f"{number}-{part}", "u", "i", "like") for part in range(3)])
    print(number, flush=True)
"""

APPEND_ON_A_FULL_DISK = """
import resource, signal, sys
from llm4rec.online.errors import UnavailableError
from llm4rec.online.feedback import Feedback
from llm4rec.online.log import EventLog

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
log = EventLog(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # the kernel refuses to write beyond, like a full disk
acknowledged = 0
try:
    while acknowledged < 10_000:
        log.append_feedback([Feedback(str(acknowledged), "u", "i", "like")])
        acknowledged += 1
except UnavailableError as error:
    print(acknowledged, error)
"""


def run(code: str, url: str) -> subprocess.Popen[str]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True, env=environment)


def test_acknowledged_events_survive_kill_9(log_url: str) -> None:
    process = run(APPEND_FOR_EVER, log_url)
    assert process.stdout is not None
    acknowledged = [int(process.stdout.readline()) for _ in range(50)]
    process.kill()
    acknowledged += [int(line) for line in process.stdout.read().split("\n")[:-1]]
    process.wait()
    log = EventLog(log_url)
    logged = [event.event_id for _, event in log.feedback_after(0, limit=1_000_000)]
    log.close()
    assert len(logged) == len(set(logged)) and len(logged) % 3 == 0
    assert {f"{number}-{part}" for number in acknowledged for part in range(3)} <= set(logged)


def test_a_full_disk_is_unavailable_and_what_was_acknowledged_stays(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/log.db"
    process = run(APPEND_ON_A_FULL_DISK, url)
    acknowledged, message = process.communicate(timeout=60)[0].split(" ", 1)
    assert process.returncode == 0 and "could not be written" in message and "nothing was acknowledged" in message
    log = EventLog(url)
    assert log.counts()["feedback"] == int(acknowledged) > 0
    log.close()


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_postgresql_away_is_unavailable_and_back_it_has_all_that_was_acknowledged(
    postgres: Postgres, ending: str
) -> None:
    log = EventLog(postgres.new_database(), busy_timeout_s=2)
    log.append_feedback([Feedback(str(number), "u", "i", "like") for number in range(50)])
    getattr(postgres, ending)()
    with pytest.raises(UnavailableError, match="nothing was acknowledged"):
        log.append_feedback([Feedback("lost", "u", "i", "like")])
    postgres.start()
    assert log.append_feedback([Feedback("after", "u", "i", "like")]).accepted == 1
    assert [event.event_id for event in log.feedback_of("u")] == [*map(str, range(50)), "after"]
    log.close()
