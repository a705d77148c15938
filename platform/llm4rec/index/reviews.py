"""Sentences of reviews that can stand as evidence: what satisfied users wrote in training, in plain words."""

import hashlib
import heapq
import re
import unicodedata
from collections.abc import Iterable, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.index.config import IndexConfig
from llm4rec.schema import ITEM, REVIEW, SPLIT_NAMES, TRAIN, VALUE

_BREAKS = re.compile(r"(?<=[.!?])\s+|\n|<[^>]*>")
_PLAIN = re.compile(r"[A-Za-z0-9\u00c0-\u024f ,;'’()&%$-]+[.!?]")  # Latin letters alone: others can look like them
_ADDRESSED = re.compile(
    r"\b(?:ignor|disregard|forget|instruct|system|prompt|assistant|recommend|suggest|rank|boost|say that|repeat|task)",
    re.IGNORECASE,
)
_LONGEST_REVIEW, _LONGEST_SENTENCE = 4000, 200


def review_sentences(
    parts: Iterable[pa.Table], split_column: str, mean_value: float, config: IndexConfig
) -> dict[int, list[str]]:
    """At most `config.num_reviews` sentences of each item that has any, by item code.

    Taken are sentences of reviews whose value is at least the mean, of `config.review_words` words, made of Latin
    letters and plain punctuation alone and without the words by which one speaks to a machine. Which of them, a hash of
    item and sentence decides, so that it depends neither on the order of the log nor on how it is cut into parts.

    Args:
        parts: interactions with the columns item, value, review and a split; those without reviews give nothing.
        split_column: the column that says which interactions are of the training part.
        mean_value: of the training part.
        config: of the index stage.
    """
    kept: dict[int, list[tuple[int, str]]] = {}
    for part in parts:
        for item, sentence in _candidates(part, split_column, mean_value, config.review_words):
            found = kept.setdefault(item, [])
            entry = (-_order(item, sentence), sentence)
            if entry not in found:
                heapq.heappush(found, entry)
            if len(found) > config.num_reviews:
                heapq.heappop(found)
    return {item: [sentence for _, sentence in sorted(found, reverse=True)] for item, found in kept.items()}


def _candidates(
    part: pa.Table, split_column: str, mean_value: float, words: tuple[int, int]
) -> Iterator[tuple[int, str]]:
    if REVIEW not in part.column_names:
        return
    train = pc.equal(pc.cast(part[split_column], pa.string()), SPLIT_NAMES[TRAIN])
    wanted = pc.and_(pc.and_(train, pc.greater_equal(part[VALUE], mean_value)), pc.is_valid(part[REVIEW]))
    chosen = part.select([ITEM, REVIEW]).filter(wanted)
    for item, review in zip(chosen[ITEM].to_pylist(), chosen[REVIEW].to_pylist(), strict=True):
        # Normalised first: what looks like other letters must not become them later.
        for found in _BREAKS.split(unicodedata.normalize("NFKC", review[:_LONGEST_REVIEW])):
            sentence = " ".join(found.split())
            if words[0] <= len(sentence.split()) <= words[1] and _is_plain(sentence):
                yield item, sentence


def _is_plain(sentence: str) -> bool:
    short = len(sentence) <= _LONGEST_SENTENCE
    return short and _PLAIN.fullmatch(sentence) is not None and _ADDRESSED.search(sentence) is None


def _order(item: int, sentence: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{item}\0{sentence}".encode()).digest()[:8])
