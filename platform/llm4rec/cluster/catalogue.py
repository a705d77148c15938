"""The catalogue as the service sees it: the corpus's items, those put since, without those withdrawn.

Shapes: I items, D width of item vectors, T width of text vectors.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional as F

from llm4rec.cluster.grounding import Described
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.encode.categories import CategoryColumns
from llm4rec.encode.numbers import NumberScales
from llm4rec.encode.text import TextEncoder, item_text, item_texts
from llm4rec.index.facts import display_titles, item_categories, item_prices, item_years
from llm4rec.model.generative import IdGenerator
from llm4rec.model.items import feature_tensors
from llm4rec.recommend.relevance import Searchable
from llm4rec.recommend.request import RequestReader
from llm4rec.recommend.slate import Catalogue
from llm4rec.recommend.words import WordIndex
from llm4rec.schema import (
    CATEGORIES,
    ITEM_ID,
    NUMBERS,
    TEXT,
    TITLE,
    TRAIN,
    BoolVector,
    Corpus,
    FloatMatrix,
    FloatVector,
    Modality,
)
from llm4rec.serve.errors import NotFoundError

Record = Mapping[str, Any]


@dataclass(frozen=True)
class LiveCatalogue:
    """All items by code; a change makes a new catalogue, so that a request sees one or the other.

    Attributes:
        item_ids: external ids by code; those of the corpus first, codes never change their meaning.
        codes: codes by external id.
        records: title, text, categories and numbers of each item.
        titles: display titles.
        ranking: what slates are drawn with: vectors (I, D), prices, years, categories.
        id_generator: writes the semantic ids of all items, where there are any.
        text_vectors: shape (I, T).
        words: of items' texts.
        popularity: log of one plus the number of training interactions, shape (I,).
        read: reads requests in words.
        withdrawn: items that no slate shows, shape (I,).
    """

    item_ids: list[str]
    codes: dict[str, int]
    records: list[Record]
    titles: list[str]
    ranking: Catalogue
    id_generator: IdGenerator | None
    text_vectors: FloatMatrix
    words: WordIndex
    popularity: FloatVector
    read: RequestReader
    withdrawn: BoolVector

    @classmethod
    def of(cls, snapshot: Snapshot) -> "LiveCatalogue":
        """The catalogue of the corpus."""
        items = snapshot.corpus.items
        ranking = Catalogue(
            vectors=snapshot.index.vectors if snapshot.near is None else snapshot.near.vectors,  # each call copies all
            price=snapshot.prices.price,
            years=item_years(items),
            categories=item_categories(items),
            sale_price=item_prices(items),
        )
        return cls(
            item_ids=list(snapshot.corpus.item_ids),
            codes=dict(snapshot.corpus.item_codes),
            records=[_record(row) for row in items.select([TITLE, TEXT, CATEGORIES, NUMBERS]).to_pylist()],
            titles=display_titles(items),
            ranking=ranking,
            id_generator=snapshot.id_generator,
            text_vectors=snapshot.features["text"].vectors,
            words=WordIndex.of(item_texts(items)),
            popularity=log_popularity(snapshot.corpus),
            read=RequestReader(all_of(ranking.categories), items[TITLE].to_pylist()),
            withdrawn=np.zeros(items.num_rows, np.bool_),
        )

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def searchable(self) -> Searchable:
        """What requests in words are held against."""
        return Searchable(self.text_vectors, self.words, self.ranking.vectors, self.popularity, ~self.withdrawn)

    @property
    def described(self) -> Described:
        """What reasons say of the items."""
        r = self.ranking
        return Described(self.item_ids, self.titles, r.categories, r.vectors, self.text_vectors)

    def put(self, item_id: str, record: Record, vector: FloatVector, text_vector: FloatVector) -> "LiveCatalogue":
        """With one item added or replaced; a new item has the lowest price."""
        if item_id in self.codes:
            return self._replaced(self.codes[item_id], record, vector, text_vector)
        facts, r = _facts(item_id, record), self.ranking
        return LiveCatalogue(
            item_ids=[*self.item_ids, item_id],
            codes={**self.codes, item_id: len(self)},
            records=[*self.records, record],
            titles=[*self.titles, display_titles(facts)[0]],
            ranking=Catalogue(
                vectors=np.vstack([r.vectors, vector]),
                price=np.append(r.price, r.price.min(initial=0)),
                years=np.append(r.years, item_years(facts)),
                categories=[*r.categories, *item_categories(facts)],
                sale_price=np.append(r.sale_price, item_prices(facts)),
            ),
            id_generator=self.id_generator and self.id_generator.extended(vector[None]),
            text_vectors=np.vstack([self.text_vectors, text_vector]),
            words=self.words.put(len(self), shown_text(item_id, record)),
            popularity=np.append(self.popularity, np.float32(0)),
            read=self._read_with(facts),
            withdrawn=np.append(self.withdrawn, False),
        )

    def withdraw(self, item_id: str) -> "LiveCatalogue":
        """With one item hidden from every slate."""
        withdrawn = self.withdrawn.copy()
        withdrawn[self.codes[item_id]] = True
        return replace(self, withdrawn=withdrawn)

    def has(self, item_id: str) -> bool:
        """Whether the item exists and is not withdrawn."""
        return item_id in self.codes and not self.withdrawn[self.codes[item_id]]

    def require(self, item_id: str) -> int:
        """The code of an item.

        Raises:
            NotFoundError: it does not exist, or is withdrawn.
        """
        if not self.has(item_id):
            raise NotFoundError(f"unknown item {item_id!r}; GET /v1/items?search= finds items by title")
        return self.codes[item_id]

    def _read_with(self, facts: pa.Table) -> RequestReader:
        """A reader that knows the categories and the title of a changed item too."""
        known, own = all_of(self.ranking.categories), all_of(item_categories(facts))
        (title,) = facts[TITLE].to_pylist()
        if not own <= known:
            return RequestReader(known | own, [*(record["title"] for record in self.records), title])
        self.read.add_title(title)  # that an older catalogue knows it too does no harm
        return self.read

    def _replaced(self, code: int, record: Record, vector: FloatVector, text_vector: FloatVector) -> "LiveCatalogue":
        facts, r = _facts(self.item_ids[code], record), self.ranking
        return replace(
            self,
            records=_with(self.records, code, record),
            titles=_with(self.titles, code, display_titles(facts)[0]),
            ranking=Catalogue(
                vectors=_with_row(r.vectors, code, vector),
                price=r.price,
                years=_with_row(r.years, code, item_years(facts)[0]),
                categories=_with(r.categories, code, item_categories(facts)[0]),
                sale_price=_with_row(r.sale_price, code, item_prices(facts)[0]),
            ),
            id_generator=self.id_generator and self.id_generator.replaced(code, vector),
            text_vectors=_with_row(self.text_vectors, code, text_vector),
            words=self.words.put(code, shown_text(self.item_ids[code], record)),
            read=self._read_with(facts),
            withdrawn=_with_row(self.withdrawn, code, False),
        )


def log_popularity(corpus: Corpus) -> FloatVector:
    """Log of one plus each item's training interactions, shape (I,)."""
    return np.log1p(np.bincount(corpus.part(TRAIN).item, minlength=corpus.num_items)).astype(np.float32)


def all_of(categories: Iterable[Iterable[str]]) -> set[str]:
    """Every category that some item has."""
    return {name for own in categories for name in own}


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

    def encode(self, item_id: str, record: Record) -> tuple[FloatVector, FloatVector]:
        """The item vector, shape (D,), and the text vector, shape (T,).

        Categories and numbers that the corpus does not know have no weight in the model and are left out.
        """
        text = self._text.encode([shown_text(item_id, record)])[0]
        features = {"text": Modality(text[None], np.ones(1, np.bool_)), **self._rest(record)}
        model = self._snapshot.scorer.model
        vectors, present = feature_tensors({name: features[name] for name in model.shape.widths if name in features})
        code = self._snapshot.corpus.item_codes.get(item_id, model.shape.num_warm_items)
        with torch.no_grad():
            vector = model.items.from_content(vectors, present, 1)
            if code < model.shape.num_warm_items:  # what training learned of the item itself stays
                vector = vector + model.items.id_emb.weight[code]
            vector = F.normalize(vector, dim=-1)
        return vector[0].numpy(), text

    def _rest(self, record: Record) -> dict[str, Modality]:
        """Categories and numbers, in the columns and scales of the corpus."""
        schema = pa.schema([self._snapshot.corpus.items.schema.field(name) for name in (CATEGORIES, NUMBERS)])
        numbers = _known_numbers(record["numbers"], schema.field(NUMBERS).type)
        row = pa.Table.from_pylist([{CATEGORIES: record["categories"], NUMBERS: numbers}], schema=schema)
        encoded = {CATEGORIES: self._categories.encode(row)}
        return encoded if self._numbers is None else encoded | {NUMBERS: self._numbers.encode(row)}


def _known_numbers(numbers: Mapping[str, float], kind: pa.DataType) -> dict[str, float | None] | None:
    names = [field.name for field in kind] if pa.types.is_struct(kind) else []
    return {name: numbers.get(name) for name in names} or None


def _record(row: Mapping[str, Any]) -> Record:
    numbers = {name: value for name, value in (row[NUMBERS] or {}).items() if value is not None}
    return {"title": row[TITLE], "text": row[TEXT] or "", "categories": row[CATEGORIES] or [], "numbers": numbers}


def _facts(item_id: str, record: Record) -> pa.Table:
    row = {
        ITEM_ID: item_id,
        TITLE: record["title"],
        CATEGORIES: record["categories"],
        NUMBERS: record["numbers"] or None,
    }
    return pa.Table.from_pylist([row])


def _with(values: Sequence[Any], place: int, value: Any) -> list[Any]:
    return [*values[:place], value, *values[place + 1 :]]


def _with_row(array: np.ndarray, row: int, value: Any) -> np.ndarray:
    changed = array.copy()
    changed[row] = value
    return changed
