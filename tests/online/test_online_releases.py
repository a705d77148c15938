import pytest

from llm4rec.online.errors import ConflictError
from llm4rec.online.log import EventLog
from llm4rec.online.releases import Release, Routing, routing_after

FIRST = Release(0, "publish", "v0", "runs/0", 1.0, 0)


def routing(log: EventLog) -> Routing:
    return routing_after(FIRST, log.releases())


def test_a_publish_replaces_and_a_roll_back_returns(log: EventLog) -> None:
    assert routing(log).main == FIRST
    log.publish("v1", "runs/1")
    log.publish("v2", "runs/2")
    assert routing(log).main.version == "v2" and [r.version for r in routing(log).kept(1)] == ["v2", "v1"]
    assert log.roll_back(FIRST).main.version == "v1" == routing(log).main.version
    log.publish("v3", "runs/3")
    log.roll_back(FIRST)
    assert log.roll_back(FIRST).main == FIRST
    before = log.releases()
    with pytest.raises(ConflictError, match="nothing to roll back"):
        log.roll_back(FIRST)
    assert log.releases() == before and len(before) == 6


def test_a_candidate_is_tried_on_its_share_and_taken_away_first(log: EventLog) -> None:
    log.publish("v1", "runs/1")
    log.publish("v2", "runs/2", share=0.25)
    tried = routing(log)
    chosen = [tried.of(f"user {number}").version for number in range(4000)]
    assert 0.22 < chosen.count("v2") / 4000 < 0.28 and set(chosen) == {"v1", "v2"}
    assert chosen == [tried.of(f"user {number}").version for number in range(4000)]  # sticky
    assert tried.of(None).version == "v1" and {r.version for r in tried.kept(1)} == {"v0", "v1", "v2"}
    assert log.roll_back(FIRST).candidate is None
    log.publish("v3", "runs/3", share=0.25)
    other = [routing(log).of(f"user {number}").version for number in range(4000)]
    both = sum(a == "v2" and b == "v3" for a, b in zip(chosen, other, strict=True))
    assert 0.04 < both / 4000 < 0.09  # another draw: the same users do not try everything
    log.publish("v4", "runs/4")
    assert routing(log).main.version == "v4" and routing(log).candidate is None
