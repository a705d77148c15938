"""An index in parts: the same answers as the whole one, also while actors are killed."""

import pytest

from llm4rec.cluster.local import LocalCluster

pytestmark = pytest.mark.ray


def test_parts_answer_as_the_whole_while_actors_are_killed(
    cluster: LocalCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    cluster.submit(["python", "tests/ray/shards_probe.py"])
    told = capfd.readouterr().out
    assert "same as the whole index" in told
    assert "wrong while actors were killed: 0" in told
    assert "the only actor of a part came back with the same answers" in told
    assert "an actor that hangs stops nobody" in told
    assert "3 of 3 actors of the index are not open after 3 s; each reserves 1000 CPUs" in told
    assert "part 3 of 3 of the index has not answered for 1 s" in told
