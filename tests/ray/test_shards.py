"""An index in parts: the same answers as the whole one, also while replicas are killed."""

import re

import pytest

from llm4rec.cluster.local import LocalCluster

pytestmark = pytest.mark.ray


def test_parts_answer_as_the_whole_while_replicas_are_killed(
    cluster: LocalCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.submit(["python", "tests/ray/shards_probe.py"])
    told = capfd.readouterr().out
    assert "same as the whole index" in told
    (answers, wrong) = re.findall(r"wrong of (\d+) answers while replicas were killed: (\d+)", told)[0]
    assert int(answers) > 9 and wrong == "0"
    assert "a replica that hangs stops nobody" in told
    assert "part 1 of 3 of the index has not answered for 1 s; try again later" in told
    assert "the only replica of a part came back with the same answers" in told
