"""What the routes need from whoever recommends, explains and stores, and how they get it."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Protocol, cast

from fastapi import Depends
from starlette.requests import HTTPConnection

from llm4rec.serve.config import ServeConfig
from llm4rec.serve.contract import (
    Accepted,
    ExplanationEvent,
    FeedbackEvent,
    Item,
    ItemList,
    ItemRecord,
    Models,
    RecommendRequest,
    RecommendResponse,
    Status,
    User,
    UserList,
    UserRecord,
)


class Backend(Protocol):
    """The service behind the routes.

    Methods raise NotFoundError for an unknown user, item or slate and another Llm4RecError for what else the caller
    can mend; the client is shown the message. Errors that are no Llm4RecError are bugs: 500, message kept back.
    """

    def refuses_slates(self) -> bool:
        """Whether another slate would have to wait for too long; asked once before each that is asked for."""

    async def recommend(self, request: RecommendRequest) -> RecommendResponse:
        """Draw a slate (`request.k` is set) and write its exposures down before it is returned."""

    async def feedback(self, events: Sequence[FeedbackEvent]) -> Accepted:
        """Store a batch; when this returns, it is durable and the users' next slates know it."""

    def explanation(self, slate_id: str, item_id: str) -> AsyncIterator[ExplanationEvent]:
        """Stream why the slate holds the item: tokens, then exactly one `done`."""

    async def item(self, item_id: str) -> Item:
        """One item."""

    async def items(self, search: str, limit: int) -> ItemList:
        """Items whose id or title matches; all of them where the search is empty."""

    async def similar(self, item_id: str, k: int) -> ItemList:
        """The items most similar to one, itself left out."""

    async def put_item(self, item_id: str, record: ItemRecord) -> Item:
        """Add or replace an item."""

    async def delete_item(self, item_id: str) -> None:
        """Withdraw an item: no later slate shows it."""

    async def user(self, user_id: str) -> User:
        """One user with recent history."""

    async def users(self, search: str, limit: int) -> UserList:
        """Users whose id or attributes match; all of them where the search is empty."""

    async def put_user(self, user_id: str, record: UserRecord) -> User:
        """Add a user or replace the attributes."""

    async def delete_user(self, user_id: str) -> None:
        """Forget a user."""

    async def status(self) -> Status:
        """Version and counts."""

    async def models(self) -> Models:
        """Which models answer, and how they do."""

    async def ready(self) -> bool:
        """Whether requests can be answered."""


async def backend_of(connection: HTTPConnection) -> Backend:
    """The backend of the app that serves this connection; a coroutine, since others get a thread each."""
    return cast(Backend, connection.app.state.get_backend())


async def config_of(connection: HTTPConnection) -> ServeConfig:
    """The configuration of the app that serves this connection."""
    return cast(ServeConfig, connection.app.state.config)


BackendOfApp = Annotated[Backend, Depends(backend_of)]
ConfigOfApp = Annotated[ServeConfig, Depends(config_of)]
