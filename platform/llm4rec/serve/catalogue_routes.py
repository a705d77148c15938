"""Routes of the catalogue: items and users, read, searched, written and deleted."""

from typing import Annotated

from fastapi import APIRouter, Query

from llm4rec.serve.backend import BackendOfApp, ConfigOfApp
from llm4rec.serve.contract import (
    Item,
    ItemList,
    ItemRecord,
    PathId,
    SearchOptions,
    SimilarOptions,
    User,
    UserList,
    UserRecord,
)
from llm4rec.serve.problems import PROBLEM_RESPONSES
from llm4rec.serve.strict_route import StrictRoute

router = APIRouter(prefix="/v1", route_class=StrictRoute, responses=PROBLEM_RESPONSES)
Search = Annotated[SearchOptions, Query()]


@router.get("/items", tags=["items"])
async def search_items(search: Search, backend: BackendOfApp) -> ItemList:
    """Items whose id or title matches."""
    return await backend.items(search.search, search.limit)


@router.get("/items/{item_id}", tags=["items"])
async def item(item_id: PathId, backend: BackendOfApp) -> Item:
    """One item."""
    return await backend.item(item_id)


@router.get("/items/{item_id}/similar", tags=["items"])
async def similar_items(
    item_id: PathId, options: Annotated[SimilarOptions, Query()], backend: BackendOfApp, config: ConfigOfApp
) -> ItemList:
    """The items most similar to one."""
    return await backend.similar(item_id, config.slate_size(options.k))


@router.put("/items/{item_id}", tags=["items"])
async def put_item(item_id: PathId, record: ItemRecord, backend: BackendOfApp) -> Item:
    """Add or replace an item; it can be recommended at once."""
    return await backend.put_item(item_id, record)


@router.delete("/items/{item_id}", tags=["items"], status_code=204)
async def delete_item(item_id: PathId, backend: BackendOfApp) -> None:
    """Withdraw an item: no later slate shows it."""
    await backend.delete_item(item_id)


@router.get("/users", tags=["users"])
async def search_users(search: Search, backend: BackendOfApp) -> UserList:
    """Users whose id or attributes match."""
    return await backend.users(search.search, search.limit)


@router.get("/users/{user_id}", tags=["users"])
async def user(user_id: PathId, backend: BackendOfApp) -> User:
    """One user with recent history."""
    return await backend.user(user_id)


@router.put("/users/{user_id}", tags=["users"])
async def put_user(user_id: PathId, record: UserRecord, backend: BackendOfApp) -> User:
    """Add a user or replace the attributes."""
    return await backend.put_user(user_id, record)


@router.delete("/users/{user_id}", tags=["users"], status_code=204)
async def delete_user(user_id: PathId, backend: BackendOfApp) -> None:
    """Forget a user: history, feedback, exposures and attributes."""
    await backend.delete_user(user_id)
