"""The grounds of a recommendation: everything true that its reason may say."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Protocol

import numpy as np

from llm4rec.explain.clean import PASSAGE_LIMIT, clean, clean_title
from llm4rec.schema import FloatMatrix, History


class PassageLike(Protocol):
    """What a passage of any evidence store offers."""

    @property
    def source(self) -> str:
        """Where it comes from: "facts", "popularity", "similar_users", "reviews"."""

    @property
    def text(self) -> str:
        """The sentence."""

    @property
    def subjects(self) -> tuple[str, ...]:
        """Titles of the other items it names."""


@dataclass(frozen=True)
class Support:
    """One cleaned passage of evidence."""

    source: str
    text: str
    subjects: tuple[str, ...] = ()


@dataclass(frozen=True)
class Grounds:
    """What supports one item for one user, all text cleaned.

    Attributes:
        item_id: external id, which also decides the template's wording.
        title: title of the item.
        categories: its categories, those first that the user's state is nearest to.
        anchors: titles of the history items it resembles.
        shared: those of its categories that every anchor has too.
        passages: evidence about the item.
        verb: what the user did to the anchors, in the past.
    """

    item_id: str
    title: str
    categories: tuple[str, ...] = ()
    anchors: tuple[str, ...] = ()
    shared: tuple[str, ...] = ()
    passages: tuple[Support, ...] = ()
    verb: str = "watched"

    @property
    def titles(self) -> tuple[str, ...]:
        """Every title a reason may name."""
        named = (self.title, *self.anchors, *(subject for passage in self.passages for subject in passage.subjects))
        return tuple(dict.fromkeys(named))

    def from_source(self, source: str) -> list[Support]:
        """The passages of one source."""
        return [passage for passage in self.passages if passage.source == source]


def choose_anchors(item: int, history: History, vectors: FloatMatrix, titles: Sequence[str], count: int) -> list[int]:
    """The history items most like a candidate, by cosine of item vectors, most similar first.

    Items that the user valued below his own mean are left out: "you watched X" is no reason if he disliked X. So are
    namesakes of the candidate, which a catalogue may hold twice: "you watched X, so you may like X".

    Args:
        item: code of the candidate.
        history: the user's history; may be empty.
        vectors: item vectors of the catalogue, shape (I, D).
        titles: display titles by item code.
        count: anchors at most.
    """
    liked = np.unique(history.item[history.value >= history.value.mean()]) if len(history) else history.item
    norms = np.linalg.norm(vectors[liked], axis=1) * np.linalg.norm(vectors[item])
    cosine = vectors[liked] @ vectors[item] / np.where(norms > 0, norms, 1)
    nearest = liked[np.argsort(-cosine, kind="stable")].tolist()
    return list(islice((code for code in nearest if titles[code] != titles[item]), count))


def ground(
    item: int,
    anchors: Sequence[int],
    passages: Iterable[PassageLike],
    *,
    item_ids: Sequence[str],
    titles: Sequence[str],
    categories: Sequence[Sequence[str]],
    taste: Mapping[str, float] = MappingProxyType({}),
    verb: str = "watched",
) -> Grounds:
    """The grounds of one candidate.

    Args:
        item: code of the candidate.
        anchors: codes of the history items chosen for it.
        passages: retrieved evidence about the candidate.
        item_ids: external ids by item code.
        titles: display titles by item code.
        categories: categories by item code.
        taste: how near the user's state is to each category.
        verb: what users do to items, in the past.
    """
    of_anchors = [set(categories[anchor]) for anchor in anchors]
    known = set.intersection(*of_anchors) if of_anchors else set()
    own = sorted(categories[item], key=lambda category: -taste.get(category, 0.0))
    return Grounds(
        item_id=item_ids[item],
        title=clean_title(titles[item]),
        categories=tuple(clean_title(category) for category in own),
        anchors=tuple(clean_title(titles[anchor]) for anchor in anchors),
        shared=tuple(clean_title(category) for category in own if category in known),
        passages=tuple(_support(passage) for passage in passages),
        verb=verb,
    )


def _support(passage: PassageLike) -> Support:
    subjects = tuple(clean_title(subject) for subject in passage.subjects)
    text = clean(passage.text, PASSAGE_LIMIT)
    # A review is quoted as it is, so no double quote of its own may end the quotation.
    return Support(passage.source, text.replace('"', "'") if passage.source == "reviews" else text, subjects)
