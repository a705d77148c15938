"""How well each item answers a request in words. Shapes: I items, T width of text vectors, D width of item vectors."""

from collections.abc import Callable, Sequence

import numpy as np

from llm4rec.recommend.config import QueryConfig
from llm4rec.recommend.request import Understood
from llm4rec.recommend.rerank import standardise
from llm4rec.recommend.words import WordIndex
from llm4rec.schema import FloatMatrix, FloatVector

Encode = Callable[[Sequence[str]], FloatMatrix]
"""Texts to unit vectors."""


def relevance(
    understood: Understood,
    encode: Encode,
    text_vectors: FloatMatrix,
    words: WordIndex,
    item_vectors: FloatMatrix,
    config: QueryConfig,
) -> FloatVector | None:
    """Nearness of meaning, words in common and nearness to the best finds, standardised and added up, shape (I,).

    The last is pseudo-relevance feedback (Rocchio 1971) in the space of item vectors: what users who liked the best
    finds liked too, which words alone cannot tell. What is not wanted counts as much against an item as what is wanted
    counts for it.

    Args:
        understood: the request.
        encode: of texts, as items' texts were encoded.
        text_vectors: of items, shape (I, T).
        words: of items' texts.
        item_vectors: shape (I, D).
        config: what each part counts.

    Returns:
        None where the request has no words.
    """
    asked = [*understood.wanted, *([(understood.unwanted, -1.0)] if understood.unwanted else [])]
    if not asked:
        return None
    every = np.ones(len(text_vectors), np.bool_)
    found = np.zeros(len(text_vectors), np.float32)
    for (text, weight), vector in zip(asked, encode([text for text, _ in asked]), strict=True):
        nearness = standardise(text_vectors @ vector, every)
        in_common = standardise(words.cosine(text), every)
        found += np.float32(weight) * (nearness + np.float32(config.lexical) * in_common)
    if config.expansion and understood.wanted:
        best = np.argsort(-found, kind="stable")[: config.expansion_items]
        share = np.exp(standardise(found, every)[best])
        centre = (share / share.sum()) @ item_vectors[best]
        found = standardise(found, every) + np.float32(config.expansion) * standardise(item_vectors @ centre, every)
    return found
