"""What is told of an app that Serve could not deploy: the exception's own words; of one that may recover, nothing."""

from typing import Any

import pytest

from llm4rec.cluster.serve_status import failure_of, reason

BUILD = """Deploying app 'recommender' failed with exception:
Traceback (most recent call last):
  File "/ray/serve/application_state.py", line 1700, in build_serve_application
    app = call_user_app_builder_with_args_if_necessary(import_attr(import_path), args)
llm4rec.errors.ArtifactError: no corpus artifact at /runs/x; run jobs/preprocess.py first
"""
REPLICA = """The deployment failed to start 3 times in a row. This may be due to a problem with its constructor or \
initial health check failing. See controller logs for details. Error:
\x1b[36mray::ServeReplica:recommender:learner-0.initialize_and_get_metadata()\x1b[39m (pid=1, ip=127.0.0.1)
  File "/llm4rec/cluster/learner.py", line 40, in __init__
    self._log = open_log(url)
sqlalchemy.exc.OperationalError: (psycopg.OperationalError) connection failed: Connection refused
\tIs the server running on that host?
(Background on this error at: https://sqlalche.me/e/20/e3q8)"""


def deployment(status: str, trigger: str, message: str = "") -> dict[str, str]:
    return {"status": status, "status_trigger": trigger, "message": message}


def failed(message: str, **deployments: dict[str, str]) -> dict[str, Any]:
    return {"recommender": {"status": "DEPLOY_FAILED", "message": message, "deployments": deployments}}


def test_an_app_that_cannot_be_built_is_told_of_in_the_words_of_the_exception() -> None:
    assert failure_of(failed(BUILD), "recommender") == (
        "llm4rec.errors.ArtifactError: no corpus artifact at /runs/x; run jobs/preprocess.py first"
    )


def test_of_replicas_that_cannot_start_each_deployment_tells_its_own_reason() -> None:
    told = failure_of(
        failed(
            "Failed to update the deployments ['learner-0', 'explainer'].",
            ranker=deployment("HEALTHY", "CONFIG_UPDATE_COMPLETED"),
            **{"learner-0": deployment("DEPLOY_FAILED", "REPLICA_STARTUP_FAILED", REPLICA)},
            explainer=deployment("DEPLOY_FAILED", "REPLICA_STARTUP_FAILED", "Error:\nOSError: no such model"),
        ),
        "recommender",
    )
    assert told == (
        "learner-0: sqlalchemy.exc.OperationalError: (psycopg.OperationalError) connection failed: Connection refused "
        "Is the server running on that host? (Background on this error at: https://sqlalche.me/e/20/e3q8); "
        "explainer: OSError: no such model"
    )


def test_a_replica_that_missed_a_health_check_while_it_started_may_recover() -> None:
    actor = deployment("DEPLOY_FAILED", "DEPLOYMENT_ACTOR_FAILED", "Error:\nOSError: no")
    assert failure_of(failed("Failed.", ranker=actor), "recommender") == "ranker: OSError: no"
    slow = deployment("DEPLOY_FAILED", "HEALTH_CHECK_FAILED", "A replica's health check failed.")
    assert failure_of(failed("Failed to update the deployments ['ranker'].", ranker=slow), "recommender") is None


@pytest.mark.parametrize("status", ["DEPLOYING", "RUNNING", "UNHEALTHY", "DELETING"])
def test_an_app_that_is_on_its_way_has_not_failed(status: str) -> None:
    assert failure_of({"recommender": {"status": status, "message": ""}}, "recommender") is None


def test_an_app_that_is_not_there_has_not_failed() -> None:
    assert failure_of({}, "recommender") is None


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("Runtime env setup for app failed.", "Runtime env setup for app failed."),
        ("ValueError: the log at\n/x\ncannot be opened", "ValueError: the log at /x cannot be opened"),
        (
            "Traceback:\nKeyError: 'a'\n\nWhile handling it:\n\nTraceback:\npydantic_core.ValidationError: 1 error\n"
            "b\n  Input should be a number",
            "pydantic_core.ValidationError: 1 error b Input should be a number",
        ),
        ("Traceback:\n  File x\n    stop()\nSystemExit: 3", "SystemExit: 3"),
        ("The target was\nnot there.", "The target was not there."),
        ("", "Serve gives no reason"),
    ],
)
def test_a_reason_begins_with_the_last_exception_and_is_one_line(message: str, told: str) -> None:
    assert reason(message) == told
