"""Evidence passages: short true sentences about items, made from the training part of a corpus and its catalogue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np

from llm4rec.index.config import IndexConfig
from llm4rec.index.facts import display_titles, item_categories
from llm4rec.index.neighbours import liked_together
from llm4rec.schema import TRAIN, Corpus, Interactions, IntVector

Source = Literal["facts", "popularity", "similar_users", "reviews"]


@dataclass(frozen=True)
class Passage:
    """One sentence of evidence.

    Attributes:
        passage_id: "source:item_id", with a number behind where an item has several; unique within a corpus.
        item: code of the item it is about.
        source: where the sentence comes from.
        text: the sentence.
        subjects: titles of the other items it names.
    """

    passage_id: str
    item: int
    source: Source
    text: str
    subjects: tuple[str, ...] = ()


def build_passages(
    corpus: Corpus, config: IndexConfig, reviews: Mapping[int, Sequence[str]] = MappingProxyType({})
) -> list[Passage]:
    """All passages of a catalogue, sorted by item code; nothing of the validation or test part enters them.

    Every item has its facts; popularity and similar users only where training interactions carry them.

    Args:
        corpus: the corpus.
        config: of the index stage.
        reviews: sentences of reviews by item code, see `review_sentences`.
    """
    train = corpus.part(TRAIN)
    titles = display_titles(corpus.items)
    neighbours = liked_together(train, corpus.num_users, titles, config)
    popularity = _popularity(train, corpus.num_items)
    passages = []
    for code, categories in enumerate(item_categories(corpus.items)):
        passages.append(_passage(corpus, code, "facts", _facts(titles[code], categories)))
        if popularity[code]:
            passages.append(_passage(corpus, code, "popularity", f"{quoted(titles[code])}: {popularity[code]}"))
        if len(neighbours[code]):
            passages.append(_similar_users(corpus, code, titles, neighbours[code]))
        passages += [
            Passage(f"reviews:{corpus.item_ids[code]}:{number}", code, "reviews", sentence)
            for number, sentence in enumerate(reviews.get(code, ()))
        ]
    return passages


def quoted(title: str) -> str:
    """A title in double quotes; its own double quotes become single ones, so that its end stays clear."""
    return '"{}"'.format(title.replace('"', "'"))


def listed(parts: Sequence[str]) -> str:
    """Parts as English lists them: "A", "A and B", "A, B and C"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def _passage(corpus: Corpus, code: int, source: Source, text: str, subjects: tuple[str, ...] = ()) -> Passage:
    return Passage(f"{source}:{corpus.item_ids[code]}", code, source, text, subjects)


def _facts(title: str, categories: tuple[str, ...]) -> str:
    return f"{quoted(title)} is filed under {listed(categories)}." if categories else f"The title is {quoted(title)}."


def _similar_users(corpus: Corpus, code: int, titles: list[str], others: IntVector) -> Passage:
    subjects = tuple(titles[other] for other in others)
    names = listed([quoted(subject) for subject in subjects])
    text = f"People who liked {quoted(titles[code])} also liked {names}."
    return _passage(corpus, code, "similar_users", text, subjects)


def _popularity(train: Interactions, num_items: int) -> list[str]:
    """A sentence for each item, empty for items without a training interaction."""
    people = np.unique(np.stack([train.item, train.user]), axis=1)[0]  # who came back is one person
    counts, times = (np.bincount(items, minlength=num_items) for items in (people, train.item))
    means = np.bincount(train.item, weights=train.value, minlength=num_items) / np.maximum(times, 1)
    varies = len(train) > 0 and bool(np.ptp(train.value) > 0)
    sentences = []
    for count, mean in zip(counts.tolist(), means.tolist(), strict=True):
        persons = "1 person" if count == 1 else f"{count} people"
        rated = f"rated by {persons}, {mean:.1f} on average." if varies else f"chosen by {persons}."
        sentences.append(rated if count else "")
    return sentences
