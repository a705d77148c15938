"""The Yelp Open Dataset: businesses, reviews, users and photos, and what a business's attributes say."""

import ast
import json
import re
from typing import Any

from llm4rec.errors import DataError
from llm4rec.preprocess.config import InteractionsFile, ItemsFile, UsersFile
from llm4rec.preprocess.folder import Folder, shown
from llm4rec.preprocess.sources.forms import find_form, stored
from llm4rec.preprocess.sources.layout import CatalogueFile, DetailFile, Layout, LogFile

PRICE_RANGE = "price_range"
"""Name of the number that says how dear a business is, from 1 to 4."""
PHOTO_PLACE = "photos/{item_id}.jpg"
"""Where a photo lies; here the id is the photo's."""
PHOTO_LABELS = ("food", "inside", "outside", "drink", "menu")
"""What a photo shows, what says most about the business first."""
_PREFIX = "yelp_academic_dataset_"
_PRICE_ATTRIBUTE = "RestaurantsPriceRange2"
# They hold for nearly every business, or say nothing of what it is like.
_NOT_SAID = frozenset(
    {_PRICE_ATTRIBUTE, "BusinessAcceptsCreditCards", "BusinessAcceptsBitcoin", "BusinessParking", "BikeParking"}
)
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def find_yelp(folder: Folder) -> Layout:
    """Find the files, with or without the prefix `yelp_academic_dataset_`, plain or .gz.

    Raises:
        DataError: the businesses or the reviews are missing, or a file is empty.
    """
    names = folder.names()
    business, review = (_named(names, part) for part in ("business", "review"))
    if business is None or review is None:
        raise DataError(
            f"no Yelp data in {folder.location!r}: found {shown(names)}; expected {_PREFIX}business.json and "
            f"{_PREFIX}review.json, optionally {_PREFIX}user.json and photos.json with photos/; each also as .gz"
        )
    log = InteractionsFile(
        file=review, item_id="business_id", timestamp="date", value="stars", default_event="review", text="text"
    )
    mapping = ItemsFile(
        file=business,
        item_id="business_id",
        title="name",
        text=("city", "state", "attributes"),
        categories=("categories",),
        separator=",",
        numbers=("latitude", "longitude"),
    )
    user = _named(names, "user")
    people = UsersFile(file=user, years=("yelping_since",)) if user else None
    return Layout(
        folder,
        (LogFile(form=find_form(folder, log, log.wanted), mapping=log),),
        (CatalogueFile(form=find_form(folder, mapping, mapping.wanted), mapping=mapping, reader="yelp"),),
        _photos(folder, names),
        (find_form(folder, people, people.wanted), people) if people else None,
    )


def describe(city: str | None, state: str | None, attributes: dict[str, Any]) -> str | None:
    """What a business is like, in short sentences.

    >>> describe("Reno", "NV", {"WiFi": "free", "Ambience": {"casual": True, "classy": False}})
    'In Reno, NV. Wi fi: free. Ambience: casual.'
    """
    place = ", ".join(part for part in (city, state) if part)
    said = [f"In {place}"] if place else []
    for name, value in attributes.items():
        if name not in _NOT_SAID and (sentence := _sentence(name, value)):
            said.append(sentence)
    return ". ".join(said) + "." if said else None


def price_range(attributes: dict[str, Any]) -> float | None:
    """How dear a business is, 1 to 4; None where it is not known."""
    value = attributes.get(_PRICE_ATTRIBUTE)
    return float(text) if (text := str(value)) in {"1", "2", "3", "4"} else None


def read_attributes(cell: str | None) -> dict[str, Any]:
    r"""A business's attributes: JSON whose values are Python literals written out, such as "u'free'" or "None".

    >>> read_attributes('{"WiFi": "u\'free\'", "HasTV": "True", "Alcohol": "None"}')
    {'WiFi': 'free', 'HasTV': True, 'Alcohol': None}
    """
    try:
        found = json.loads(cell or "{}")
    except (ValueError, RecursionError):
        return {}
    return {name: _literal(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _literal(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value


def _sentence(name: str, value: Any) -> str | None:
    words = " ".join(_WORD.findall(name)).removeprefix("Restaurants ").removeprefix("Business ").lower().capitalize()
    if value is True:
        return words
    if isinstance(value, dict):
        value = ", ".join(str(part) for part, holds in value.items() if holds is True)
    if not isinstance(value, str) or value.lower() in {"", "no", "none"}:
        return None
    return f"{words}: {value.replace('_', ' ')}"


def _named(names: list[str], part: str) -> str | None:
    return stored(names, f"{_PREFIX}{part}.json", f"{part}.json")


def _photos(folder: Folder, names: list[str]) -> tuple[DetailFile, ...]:
    file = stored(names, "photos.json", "photo.json", f"{_PREFIX}photo.json")
    if file is None:
        return ()
    mapping = ItemsFile(file=file, item_id="business_id", categories=("label",), image="photo_id")
    return (DetailFile(form=find_form(folder, mapping, mapping.wanted), mapping=mapping, kind="photos"),)
