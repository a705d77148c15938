"""Amazon Reviews 2023: one file of reviews and one of metadata a category, and what is odd in a metadata record."""

import json
from collections.abc import Iterable
from typing import Any

from llm4rec.errors import DataError
from llm4rec.preprocess.clean import storable
from llm4rec.preprocess.config import InteractionsFile, ItemsFile
from llm4rec.preprocess.folder import Folder, shown
from llm4rec.preprocess.sources.forms import find_form
from llm4rec.preprocess.sources.layout import CatalogueFile, Layout, LogFile

_REVIEW_FOLDERS = ("", "review_categories", "raw/review_categories")
_META_FOLDERS = ("", "meta_categories", "raw/meta_categories")
_META = "meta_"
_MAIN = "MAIN"
_SIZES = ("large", "hi_res", "thumb")
# Joins the parts of a list: a control character, which no text of a shop holds.
_SEPARATOR = "\x1f"


def find_amazon(folder: Folder) -> Layout:
    """Find the files of all categories: `X.jsonl` and `meta_X.jsonl`, plain or .gz.

    They lie side by side, or in the folders `review_categories` and `meta_categories`, also under `raw`.

    Raises:
        DataError: there are no reviews, or a category's metadata are missing.
    """
    reviews = _by_category(folder, _REVIEW_FOLDERS, is_meta=False)
    metas = _by_category(folder, _META_FOLDERS, is_meta=True)
    if not reviews:
        raise DataError(
            f"no Amazon reviews in {folder.location!r}: found {shown(folder.names())}; expected <category>.jsonl and "
            "meta_<category>.jsonl, or raw/review_categories/ and raw/meta_categories/ with them; each also as .gz"
        )
    if missing := sorted(set(reviews) - set(metas)):
        raise DataError(
            f"{reviews[missing[0]]} has no metadata in {folder.location!r}: put meta_{missing[0]}.jsonl (or .jsonl.gz) "
            "beside it, or into meta_categories"
        )
    return Layout(
        folder,
        tuple(_log_file(folder, file) for file in sorted(reviews.values())),
        tuple(_catalogue_file(folder, file) for file in sorted(metas.values())),
    )


def main_image(cell: str | None) -> str | None:
    """The address of a record's main image, or of the first one where none is called main.

    The large form is taken, else the high resolution, else the thumbnail.

    Args:
        cell: the field `images`: JSON objects joined by the separator of lists, or one object of lists.
    """
    images = [image for part in (cell or "").split(_SEPARATOR) for image in _images(part)]
    images.sort(key=lambda image: image.get("variant") != _MAIN)
    found = (image.get(size) for image in images for size in _SIZES)
    return next((storable(address) for address in found if isinstance(address, str) and address.strip()), None)


def _images(text: str) -> Iterable[dict[str, Any]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return []
    if not isinstance(value, dict):
        return []
    # The data set's loader turns a list of objects into an object of lists.
    lists = {name: cells for name, cells in value.items() if isinstance(cells, list)}
    if not lists:
        return [value]
    count = max(map(len, lists.values()))
    return [{name: cells[n] for name, cells in lists.items() if n < len(cells)} for n in range(count)]


def _by_category(folder: Folder, folders: Iterable[str], *, is_meta: bool) -> dict[str, str]:
    """Files by category; an earlier folder wins, and plain text wins over .gz."""
    found: dict[str, str] = {}
    for parent in folders:
        for name in folder.names(parent):
            category = name.removesuffix(".gz").removesuffix(".jsonl")
            is_jsonl = name.removesuffix(".gz").endswith(".jsonl")
            if is_jsonl and category.startswith(_META) == is_meta:
                found.setdefault(category.removeprefix(_META), f"{parent}/{name}" if parent else name)
    return found


def _log_file(folder: Folder, file: str) -> LogFile:
    mapping = InteractionsFile(
        file=file,
        item_id="parent_asin",
        other_item_id="asin",
        timestamp="timestamp",
        value="rating",
        event="verified_purchase",
        event_names={"true": "purchase", "false": "review"},
        default_event="review",
        text="text",
    )
    return LogFile(form=find_form(folder, mapping, mapping.wanted), mapping=mapping)


def _catalogue_file(folder: Folder, file: str) -> CatalogueFile:
    mapping = ItemsFile(
        file=file,
        item_id="parent_asin",
        title="title",
        text=("features", "description"),
        categories=("main_category", "categories", "store"),
        separator=_SEPARATOR,
        numbers=("price",),
        image="images",
    )
    return CatalogueFile(form=find_form(folder, mapping, mapping.wanted), mapping=mapping, reader="amazon")
