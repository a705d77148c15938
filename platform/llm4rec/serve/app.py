"""The HTTP application: routes, errors, limits and the page put together."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from fastapi import FastAPI
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

from llm4rec import __version__
from llm4rec.errors import Llm4RecError
from llm4rec.serve import catalogue_routes, slate_routes, status_routes
from llm4rec.serve.access import Access
from llm4rec.serve.admission import Admission
from llm4rec.serve.backend import Backend
from llm4rec.serve.body_limit import BodyLimit
from llm4rec.serve.config import ServeConfig
from llm4rec.serve.headers import SecurityHeaders
from llm4rec.serve.keys import Keys
from llm4rec.serve.observed import Observed, Observer
from llm4rec.serve.paths import EncodedPath
from llm4rec.serve.problems import install_problem_handlers

PAGE = Path(__file__).parent / "page"


def build_app(
    get_backend: Callable[[], Backend],
    config: ServeConfig,
    page: bool = True,
    statuses: Mapping[type[Llm4RecError], int] = MappingProxyType({}),
    observer: Observer | None = None,
) -> FastAPI:
    """The application of DESIGN section 8.

    Args:
        get_backend: called for each request that needs it; may raise NotReadyError.
        config: limits and defaults.
        page: whether the web page is served at `/`.
        statuses: HTTP statuses of the backend's own errors; others that a user can mend are 422, NotFoundError 404.
        observer: hears of every request.
    """
    # FastAPI's own documentation pages load scripts from another host; ours is in page/.
    app = FastAPI(title="LLM4Rec", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.get_backend = get_backend
    app.state.config = config
    for routes in (slate_routes, catalogue_routes, status_routes):
        app.include_router(routes.router)
    _add_pages(app, page)
    install_problem_handlers(app, config.retry_after_s, statuses)
    app.add_middleware(BodyLimit, max_bytes=config.max_body_bytes)
    most, retry = config.requests_at_once, config.retry_after_s
    app.add_middleware(Admission, get_backend=get_backend, most=most, retry_after_s=retry)
    known = Keys(Path(config.keys)) if config.keys else None
    app.add_middleware(Access, known=known, rate=config.requests_per_s)
    app.add_middleware(EncodedPath)
    app.add_middleware(SecurityHeaders)
    if observer is not None:
        app.add_middleware(Observed, observer=observer)
    return app


def _add_pages(app: FastAPI, page: bool) -> None:
    app.mount("/static", StaticFiles(directory=PAGE))

    @app.get("/docs", include_in_schema=False)
    async def docs() -> FileResponse:
        return FileResponse(PAGE / "docs.html")

    @app.get("/models", include_in_schema=False)
    async def models() -> FileResponse:
        return FileResponse(PAGE / "models.html")

    if page:

        @app.get("/", include_in_schema=False)
        async def index() -> FileResponse:
            return FileResponse(PAGE / "index.html")
