"""Every error as RFC 9457 problem+json: what was wrong, the value, what is allowed; never a trace."""

import json
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from llm4rec.errors import Llm4RecError
from llm4rec.serve.contract import FieldProblem, Problem
from llm4rec.serve.errors import BusyError, NotFoundError, NotReadyError
from llm4rec.serve.headers import SECURITY_HEADERS

logger = logging.getLogger(__name__)

MAX_FIELDS = 20
STATUS_OF: dict[type[Llm4RecError], int] = {Llm4RecError: 422, NotFoundError: 404, BusyError: 429, NotReadyError: 503}


def _problem_schema() -> dict[str, Any]:
    """JSON schema of a problem in one piece: a reference to its own definitions would lead nowhere in the document."""
    schema = Problem.model_json_schema()
    schema["properties"]["errors"]["items"] = schema.pop("$defs")[FieldProblem.__name__]
    return schema


PROBLEM_CONTENT = {"application/problem+json": {"schema": _problem_schema()}}
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "The request cannot be answered.", "content": PROBLEM_CONTENT},
    "5XX": {"description": "The service cannot answer now.", "content": PROBLEM_CONTENT},
}


def problem_response(
    status: int, detail: str, headers: Mapping[str, str] | None = None, errors: Sequence[FieldProblem] = ()
) -> Response:
    """A problem as a response; ASCII JSON, so that no odd character in `detail` can break it."""
    problem = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=list(errors))
    body = json.dumps(problem.model_dump(exclude_defaults=True)).encode("ascii")
    return Response(body, status, SECURITY_HEADERS | dict(headers or {}), media_type="application/problem+json")


def install_problem_handlers(
    app: FastAPI, retry_after_s: int, statuses: Mapping[type[Llm4RecError], int] = MappingProxyType({})
) -> None:
    """Make every error of the app a problem+json response; `statuses` adds to STATUS_OF."""
    status_of = STATUS_OF | dict(statuses)
    retry = {"retry-after": str(retry_after_s)}

    @app.exception_handler(Llm4RecError)
    async def on_known_error(_: Request, error: Llm4RecError) -> Response:
        status = next(status_of[kind] for kind in type(error).mro() if kind in status_of)
        if error.told != str(error):
            logger.error("%s: %s", type(error).__name__, error)
        return problem_response(status, error.told, retry if status in {429, 503} else None)

    @app.exception_handler(TimeoutError)
    async def on_timeout(_: Request, error: TimeoutError) -> Response:
        return problem_response(503, "the answer took too long; try again later", retry)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(_: Request, error: RequestValidationError) -> Response:
        fields = [_field_problem(problem) for problem in error.errors()[:MAX_FIELDS]]
        detail = "; ".join(f"{field.field}: {field.message}" for field in fields)
        return problem_response(422, detail, errors=fields)

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        return problem_response(error.status_code, _http_detail(request, error), error.headers)

    @app.exception_handler(Exception)
    async def on_bug(request: Request, error: Exception) -> Response:
        logger.error("unexpected %s in %s", type(error).__name__, request.method, exc_info=error)
        return problem_response(500, "the service met an unexpected error; its log has the details")


def _http_detail(request: Request, error: HTTPException) -> str:
    if error.status_code == 404 and error.detail == HTTPStatus.NOT_FOUND.phrase:
        return f"nothing is at {request.url.path[:200]}; see /docs for what there is (encode a / within an id as %2F)"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "another method")
        return f"{request.method} is not possible at {request.url.path[:200]}; allowed: {allowed}"
    return str(error.detail)


def _field_problem(problem: Mapping[str, Any]) -> FieldProblem:
    where = ".".join(str(part)[:100] for part in problem["loc"])
    message = str(problem["msg"]).removeprefix("Value error, ")
    return FieldProblem(field=where, message=message + _shown(problem.get("input")))


def _shown(value: Any) -> str:
    """The refused value where it is short and plain; never whole bodies."""
    if isinstance(value, int) and value.bit_length() > 64:
        return ", got a very large number"
    if isinstance(value, str):
        return f", got {value[:60]!r}"
    return f", got {value!r}" if isinstance(value, bool | int | float) else ""
