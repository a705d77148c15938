"""How well each item answers a request in words. Shapes: I items, T width of text vectors, D width of item vectors."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from llm4rec.recommend.config import QueryConfig
from llm4rec.recommend.request import Understood
from llm4rec.recommend.rerank import standardise
from llm4rec.recommend.words import WordIndex
from llm4rec.schema import BoolVector, FloatMatrix, FloatVector

Encode = Callable[[Sequence[str]], FloatMatrix]
"""Texts to unit vectors."""


@dataclass(frozen=True)
class Searchable:
    """What words are held against.

    Attributes:
        text_vectors: of items' texts, shape (I, T).
        words: of items' texts.
        item_vectors: of the trained model, shape (I, D).
        popularity: log of one plus the number of training interactions, shape (I,).
        shown: which items may be shown, shape (I,); the others are compared with nothing.
    """

    text_vectors: FloatMatrix
    words: WordIndex
    item_vectors: FloatMatrix
    popularity: FloatVector
    shown: BoolVector


def relevance(understood: Understood, encode: Encode, items: Searchable, config: QueryConfig) -> FloatVector | None:
    """Nearness of meaning and words in common, nearness to the best finds, and popularity, added up, shape (I,).

    Nearness to the best finds is pseudo-relevance feedback (Rocchio 1971) in the space of item vectors: what users who
    liked them liked too, which words alone cannot tell. What is not wanted counts as much against an item as what is
    wanted counts for it.

    Args:
        understood: the request.
        encode: of texts, as items' texts were encoded.
        items: what the words are held against.
        config: what each part counts.

    Returns:
        None where the request has no words.
    """
    asked = [*understood.wanted, *((text, -weight) for text, weight in understood.unwanted)]
    if not asked:
        return None
    found = np.zeros(len(items.text_vectors), np.float32)
    for (text, weight), vector in zip(asked, encode([text for text, _ in asked]), strict=True):
        likeness = items.text_vectors @ vector + np.float32(config.lexical) * items.words.score(text)
        found += np.float32(weight) * likeness
    whole = standardise(found, items.shown)
    if understood.wanted:
        best = np.argsort(np.where(items.shown, -found, np.inf), kind="stable")[: config.expansion_items]
        centre = np.maximum(found[best], 0) @ items.item_vectors[best]
        whole += np.float32(config.expansion) * standardise(items.item_vectors @ centre, items.shown)
    return whole + np.float32(config.popularity) * standardise(items.popularity, items.shown)
