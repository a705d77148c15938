"""What supports one item for one user: nearest history items and retrieved evidence."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from llm4rec.explain.config import ExplainConfig
from llm4rec.explain.grounds import Grounds, choose_anchors, ground
from llm4rec.index.evidence import Evidence, EvidenceStore, unit_rows
from llm4rec.index.facts import display_titles, item_categories
from llm4rec.index.passages import Passage
from llm4rec.schema import Corpus, FloatMatrix, FloatVector, History

MOST = 100
"""Passages of one item that are looked through."""


@dataclass(frozen=True)
class Described:
    """What grounds say of items, by code.

    Attributes:
        item_ids: external ids.
        titles: display titles.
        categories: of each item.
        vectors: item vectors, shape (I, D).
        text_vectors: of items' texts, shape (I, T).
    """

    item_ids: Sequence[str]
    titles: Sequence[str]
    categories: Sequence[Sequence[str]]
    vectors: FloatMatrix
    text_vectors: FloatMatrix

    @classmethod
    def of(cls, corpus: Corpus, vectors: FloatMatrix, text_vectors: FloatMatrix) -> Self:
        """The catalogue of a corpus."""
        items = corpus.items
        return cls(corpus.item_ids, display_titles(items), item_categories(items), vectors, text_vectors)


class Grounding:
    """Finds the grounds of recommendations in the evidence store."""

    def __init__(self, evidence: EvidenceStore, items: Described, config: ExplainConfig) -> None:
        """Look at the catalogue once.

        Args:
            evidence: passages about items.
            items: of the corpus; what users think of a category is told by them.
            config: of the explanations.
        """
        self._evidence = evidence
        self._config = config
        self._directions = _directions(items)

    def of(self, items: Described, item: int, history: History, state: FloatVector) -> Grounds:
        """The grounds of one item for a user: evidence near to the item and to what of his history speaks for it.

        Args:
            items: the catalogue as it is now.
            item: code of the item.
            history: the user's.
            state: h_u, shape (D,); the categories it is nearest to are named first.
        """
        anchors = choose_anchors(item, history, items.vectors, items.titles, self._config.num_anchors)
        passages = []
        if self._config.num_passages:
            near = [items.text_vectors[item], items.text_vectors[anchors].sum(axis=0)]
            query = unit_rows(np.stack(near)).sum(axis=0)
            passages = _best(self._evidence.retrieve(query, [item], MOST), self._config.num_passages)
        return ground(
            item,
            anchors,
            passages,
            item_ids=items.item_ids,
            titles=items.titles,
            categories=items.categories,
            taste=self._taste(items.categories[item], state),
            verb=self._config.history_verb,
        )

    def _taste(self, categories: Sequence[str], state: FloatVector) -> Mapping[str, float]:
        known = [name for name in categories if name in self._directions]
        return {name: float(self._directions[name] @ state) for name in known}


def _best(found: Sequence[Evidence], count: int) -> list[Passage]:
    """The best of each source first, since each lets a reason say something else, then the best of the rest."""
    firsts = {evidence.passage.source: evidence.passage for evidence in reversed(found)}
    rest = [evidence.passage for evidence in found if evidence.passage is not firsts[evidence.passage.source]]
    ahead = [evidence.passage for evidence in found if evidence.passage is firsts[evidence.passage.source]]
    return [*ahead, *rest][:count]


def _directions(items: Described) -> dict[str, FloatVector]:
    """Where each category lies from the middle of the catalogue: means of item vectors, each of shape (D,)."""
    names = sorted({name for own in items.categories for name in own})
    columns = {name: column for column, name in enumerate(names)}
    sums = np.zeros((len(names), items.vectors.shape[1]), np.float32)
    counts = np.zeros(len(names), np.float32)
    for vector, own in zip(items.vectors, items.categories, strict=True):
        places = [columns[name] for name in set(own)]
        sums[places] += vector
        counts[places] += 1
    middle = items.vectors.mean(axis=0) if len(items.vectors) else 0
    return dict(zip(names, sums / np.maximum(counts, 1)[:, None] - middle, strict=True))
