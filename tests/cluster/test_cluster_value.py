"""What another policy would earn, from slates that were drawn and judged."""

import numpy as np
import pytest

from llm4rec.cluster.engine import Engine
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.cluster.value import logged_value
from llm4rec.errors import DataError
from llm4rec.online.feedback import Feedback, Slate
from llm4rec.online.log import EventLog
from llm4rec.serve.contract import RecommendRequest
from tests.cluster.small_run import WordsAsNumbers
from tests.cluster.test_cluster_engine import CONFIG

USERS = ("u0", "u1", "u2")


def engine_at(temperature: float, snapshot: Snapshot, log: EventLog) -> Engine:
    changed = CONFIG.model_dump() | {"recommend": CONFIG.recommend.model_dump() | {"temperature": temperature}}
    config = RunConfig.model_validate(changed)
    return Engine(snapshot, config, log, WordsAsNumbers(config.encode))  # type: ignore[arg-type]


def drawn(engine: Engine, log: EventLog, **request: object) -> Slate:
    asked = RecommendRequest.model_validate(request)
    slate = engine.rank(asked, engine.retrieve(asked)).logged
    log.record_exposures(slate)
    return slate


def test_the_chances_of_a_model_of_its_own_slates_are_the_propensities_it_logged(
    snapshot: Snapshot, log: EventLog
) -> None:
    engine = engine_at(0.7, snapshot, log)
    log.append_feedback([Feedback("early", "u1", "c", "like")])  # in the second of the slate
    slates = [drawn(engine, log, user_id=user, k=3, diversity=0.3 if user == "u1" else None) for user in USERS]
    for number, slate in enumerate(slates):  # by senders whose clocks are late, on time and early
        asked, shown = slate.timestamp + 5 * (number - 1), slate.exposures[0].item_id
        log.append_feedback([Feedback(f"late-{number}", USERS[number], shown, "like", None, None, asked)])
    log.append_feedback([Feedback("again", "u1", "c", "view")])
    for slate in slates:
        logged = log.slate(slate.slate_id)
        assert logged == slate and logged.plain is not None
        np.testing.assert_allclose(
            engine.chances(logged), [shown.propensity for shown in slate.exposures], rtol=1e-4, err_msg="as of then"
        )


def test_only_plain_requests_are_kept_and_they_go_with_their_user(snapshot: Snapshot, log: EventLog) -> None:
    engine = engine_at(0.7, snapshot, log)
    drawn(engine, log, user_id="u0", query="a film", k=1)
    drawn(engine, log, history=["a"], k=1)
    with pytest.raises(DataError, match="no slate of a plain request"):
        logged_value(engine, log, 10)
    drawn(engine, log, user_id="u0", k=1)
    assert len(log.judged(10)) == 1
    log.delete_user("u0")
    assert log.judged(10) == []


def test_the_value_of_another_policy_is_found_from_the_log_of_this_one(snapshot: Snapshot, log: EventLog) -> None:
    """First places of u1 earn where they hold the item that the other policy draws most; later places always earn."""
    engine, other = engine_at(1.0, snapshot, log), engine_at(0.4, snapshot, log)
    slates = [drawn(engine, log, user_id="u1", k=2) for _ in range(600)]
    chance = {slate.exposures[0].item_id: float(other.chances(slate)[0]) for slate in slates}
    own = {slate.exposures[0].item_id: slate.exposures[0].propensity for slate in slates}
    assert sum(chance.values()) == pytest.approx(1, abs=1e-3), "every first item has been drawn once"
    earning = max(chance, key=lambda item: chance[item])
    assert chance[earning] > own[earning] + 0.1, "else the two policies cannot be told apart"
    for slate in slates:
        good = [shown.item_id for place, shown in enumerate(slate.exposures) if place or shown.item_id == earning]
        events = [
            Feedback(f"{slate.slate_id}-{item}", "u1", item, "like", None, slate.slate_id, 2**31) for item in good
        ]
        log.append_feedback(events)
    found = logged_value(other, log, 1000)
    assert found.logged == pytest.approx(own[earning], abs=0.07)
    assert found.value.value == pytest.approx(chance[earning], abs=0.07)
    assert found.mean_weight == pytest.approx(1, abs=0.1)
    assert 100 < found.effective_slates < found.slates == 600
