"""An item that is put while the service runs, made ready for the catalogue.

Shapes: D width of item vectors, T width of text vectors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional as F

from llm4rec.cluster.snapshot import Snapshot
from llm4rec.encode.categories import CategoryColumns
from llm4rec.encode.numbers import NumberScales
from llm4rec.encode.text import TextEncoder, item_text
from llm4rec.index.facts import display_titles, item_categories, item_prices, item_years
from llm4rec.model.items import feature_tensors
from llm4rec.schema import CATEGORIES, ITEM_ID, NUMBERS, TITLE, FloatVector, Modality

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """An item as it was put, with all that a catalogue takes from it.

    Attributes:
        item_id: external id.
        record: title, text, categories and numbers.
        vector: shape (D,).
        text_vector: shape (T,).
        title: as it is shown.
        text: as the encode stage reads it.
        year: NaN if unknown.
        categories: in order.
        sale_price: NaN if unknown.
    """

    item_id: str
    record: Record
    vector: FloatVector
    text_vector: FloatVector
    title: str
    text: str
    year: float
    categories: tuple[str, ...]
    sale_price: float

    @classmethod
    def of(cls, item_id: str, record: Record, vector: FloatVector, text_vector: FloatVector) -> Self:
        """Read the facts of a record.

        Raises:
            TypeError: the title is no text; other content that no PUT takes raises whatever reading it comes to.
        """
        if not isinstance(record["title"], str):
            raise TypeError(f"item {item_id!r}: title must be text, got {record['title']!r}")
        facts = _facts(item_id, record)
        (title,), (year,), (categories,) = display_titles(facts), item_years(facts), item_categories(facts)
        (sale_price,) = item_prices(facts)
        text = shown_text(item_id, record)
        return cls(item_id, record, vector, text_vector, title, text, float(year), categories, float(sale_price))


def shown_text(item_id: str, record: Record) -> str:
    """The text of an item, as the encode stage reads it."""
    return item_text(item_id, record["title"], record["categories"], record["numbers"], record["text"])


class ContentEncoder:
    """Vectors of items put since training: from their content, and the id vector where training knew the item."""

    def __init__(self, snapshot: Snapshot, text: TextEncoder, max_categories: int) -> None:
        """Encode as the encode stage did.

        Args:
            snapshot: the trained model and the corpus that it was trained on.
            text: the encoder of texts.
            max_categories: how many categories have a column, see `encode.max_categories`.
        """
        self._snapshot = snapshot
        self._text = text
        items = snapshot.corpus.items
        self._categories, self._numbers = CategoryColumns.fit([items], max_categories), NumberScales.fit([items])

    def encode(self, records: Mapping[str, Record]) -> list[Entry]:
        """Entries of the catalogue, in this order, from records by item id.

        Categories and numbers that the corpus does not know have no weight in the model and are left out.

        Raises:
            Exception: of whatever kind reading a record comes to that no PUT would take.
        """
        texts = self._text.encode([shown_text(item_id, record) for item_id, record in records.items()])
        features = {"text": Modality(texts, np.ones(len(texts), np.bool_)), **self._rest(list(records.values()))}
        model = self._snapshot.scorer.model
        vectors, present = feature_tensors({name: features[name] for name in model.shape.widths if name in features})
        codes = [self._snapshot.corpus.item_codes.get(item_id, model.shape.num_warm_items) for item_id in records]
        learnt = [(row, code) for row, code in enumerate(codes) if code < model.shape.num_warm_items]
        with torch.no_grad():
            found = model.items.from_content(vectors, present, len(codes))
            for row, code in learnt:  # what training learned of the item itself stays
                found[row] += model.items.id_emb.weight[code]
            normed_ID = F.normalize(found, dim=-1).numpy()
        return [
            Entry.of(item_id, record, vector, text)
            for (item_id, record), vector, text in zip(records.items(), normed_ID, texts, strict=True)
        ]

    def _rest(self, records: Sequence[Record]) -> dict[str, Modality]:
        """Categories and numbers, in the columns and scales of the corpus."""
        schema = pa.schema([self._snapshot.corpus.items.schema.field(name) for name in (CATEGORIES, NUMBERS)])
        kind = schema.field(NUMBERS).type
        rows = [
            {CATEGORIES: record["categories"], NUMBERS: _known_numbers(record["numbers"], kind)} for record in records
        ]
        table = pa.Table.from_pylist(rows, schema=schema)
        encoded = {CATEGORIES: self._categories.encode(table)}
        return encoded if self._numbers is None else encoded | {NUMBERS: self._numbers.encode(table)}


def _known_numbers(numbers: Mapping[str, float], kind: pa.DataType) -> dict[str, float | None] | None:
    names = [field.name for field in kind] if pa.types.is_struct(kind) else []
    return {name: numbers.get(name) for name in names} or None


def _facts(item_id: str, record: Record) -> pa.Table:
    row = {
        ITEM_ID: item_id,
        TITLE: record["title"],
        CATEGORIES: record["categories"],
        NUMBERS: record["numbers"] or None,
    }
    return pa.Table.from_pylist([row])
