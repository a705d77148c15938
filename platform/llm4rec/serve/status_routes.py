"""Routes for operators: status, health, readiness."""

from fastapi import APIRouter

from llm4rec.serve.backend import BackendOfApp
from llm4rec.serve.contract import Health, Models, Status
from llm4rec.serve.errors import NotReadyError
from llm4rec.serve.problems import PROBLEM_RESPONSES
from llm4rec.serve.strict_route import StrictRoute

router = APIRouter(tags=["status"], route_class=StrictRoute, responses=PROBLEM_RESPONSES)


@router.get("/v1/status")
async def status(backend: BackendOfApp) -> Status:
    """Model version and counts."""
    return await backend.status()


@router.get("/v1/models")
async def models(backend: BackendOfApp) -> Models:
    """Which models answer whom, and how their slates do; for administrators."""
    return await backend.models()


@router.get("/healthz")
async def health() -> Health:
    """Whether the process answers."""
    return Health(status="ok")


@router.get("/readyz")
async def readiness(backend: BackendOfApp) -> Health:
    """Whether requests can be answered; 503 until the model is loaded."""
    if not await backend.ready():
        raise NotReadyError("the service is not ready yet: the model is still being loaded")
    return Health(status="ready")
