"""Whatever schemathesis makes of the OpenAPI document: no 5xx, and statuses, types and shapes as documented."""

from contextlib import suppress
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from small_service import STATUSES, SmallService

from llm4rec.online.log import EventLog
from llm4rec.serve.app import build_app
from llm4rec.serve.config import ServeConfig

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
def test_every_operation_answers_as_documented(tmp_path: Path, mode: GenerationMode) -> None:
    log = EventLog(f"sqlite:///{tmp_path}/log.db")
    service = SmallService(log)
    schema = schemathesis.openapi.from_asgi(
        "/openapi.json", build_app(lambda: service, ServeConfig(), statuses=STATUSES)
    )
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) > 10
    for operation in operations:

        @settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def answers(case: schemathesis.Case) -> None:
            case.call_and_validate(checks=CHECKS)

        with suppress(Unsatisfiable):  # of what takes nothing nothing is wrong
            answers()
    log.close()
