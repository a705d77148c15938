"""The catalogue as the service sees it: the corpus's items, those put since, without those withdrawn.

Shapes: I items, D width of item vectors, T width of text vectors.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from llm4rec.cluster.entry import Entry, Record
from llm4rec.cluster.grounding import Described
from llm4rec.cluster.snapshot import Snapshot
from llm4rec.encode.text import item_texts
from llm4rec.index.facts import display_titles, item_categories, item_prices, item_years
from llm4rec.model.generative import IdGenerator
from llm4rec.recommend.relevance import Searchable
from llm4rec.recommend.request import RequestReader
from llm4rec.recommend.slate import Catalogue
from llm4rec.recommend.words import WordIndex
from llm4rec.schema import CATEGORIES, NUMBERS, TEXT, TITLE, TRAIN, BoolVector, Corpus, FloatMatrix, FloatVector
from llm4rec.serve.errors import NotFoundError
from llm4rec.table_rows import with_rows


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
    def of(cls, snapshot: Snapshot) -> Self:
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

    def put(self, entries: Sequence[Entry]) -> "LiveCatalogue":
        """With items added or replaced, one entry an item, all in one copy; new ones have the lowest price."""
        if not entries:
            return self
        codes = dict(self.codes)
        for entry in entries:
            codes.setdefault(entry.item_id, len(codes))
        at, added, r = [codes[entry.item_id] for entry in entries], len(codes) - len(self), self.ranking
        return LiveCatalogue(
            item_ids=[*self.item_ids, *(entry.item_id for entry in entries if entry.item_id not in self.codes)],
            codes=codes,
            records=_with(self.records, at, [entry.record for entry in entries]),
            titles=_with(self.titles, at, [entry.title for entry in entries]),
            ranking=Catalogue(
                vectors=with_rows(r.vectors, at, [entry.vector for entry in entries]),
                price=np.append(r.price, np.full(added, r.price.min(initial=0), np.float32)),
                years=with_rows(r.years, at, [entry.year for entry in entries]),
                categories=_with(r.categories, at, [entry.categories for entry in entries]),
                sale_price=with_rows(r.sale_price, at, [entry.sale_price for entry in entries]),
            ),
            id_generator=self.id_generator and self.id_generator.put(at, np.stack([e.vector for e in entries])),
            text_vectors=with_rows(self.text_vectors, at, [entry.text_vector for entry in entries]),
            words=self.words.put(at, [entry.text for entry in entries]),
            popularity=np.append(self.popularity, np.zeros(added, np.float32)),
            read=self._read_with(entries),
            withdrawn=with_rows(self.withdrawn, at, [False] * len(at)),
        )

    def withdraw(self, item_ids: Iterable[str]) -> "LiveCatalogue":
        """With items hidden from every slate."""
        withdrawn = self.withdrawn.copy()
        withdrawn[[self.codes[item_id] for item_id in item_ids]] = True
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

    def _read_with(self, entries: Sequence[Entry]) -> RequestReader:
        """A reader that knows the categories and the titles of changed items too."""
        known, own = all_of(self.ranking.categories), all_of(entry.categories for entry in entries)
        titles = [entry.record["title"] for entry in entries]
        if not own <= known:
            return RequestReader(known | own, [*(record["title"] for record in self.records), *titles])
        for title in titles:
            self.read.add_title(title)  # that an older catalogue knows it too does no harm
        return self.read


def log_popularity(corpus: Corpus) -> FloatVector:
    """Log of one plus each item's training interactions, shape (I,)."""
    return np.log1p(np.bincount(corpus.part(TRAIN).item, minlength=corpus.num_items)).astype(np.float32)


def all_of(categories: Iterable[Iterable[str]]) -> set[str]:
    """Every category that some item has."""
    return {name for own in categories for name in own}


def _record(row: Mapping[str, Any]) -> Record:
    numbers = {name: value for name, value in (row[NUMBERS] or {}).items() if value is not None}
    return {"title": row[TITLE], "text": row[TEXT] or "", "categories": row[CATEGORIES] or [], "numbers": numbers}


def _with(values: Sequence[Any], codes: Sequence[int], own: Sequence[Any]) -> list[Any]:
    """A list with values of some codes, of which the next free ones follow each other."""
    changed = list(values)
    for code, value in zip(codes, own, strict=True):
        changed[code : code + 1] = [value]
    return changed
