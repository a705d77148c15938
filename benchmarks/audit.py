"""Reasons taken apart into claims that are looked up in the log and the catalogue.

Written apart from the product's own check and evidence, so that a fault of those shows: sentences are split into
clauses, and each clause says of whom and of what it speaks.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from llm4rec.explain.clean import clean_title
from llm4rec.index.config import IndexConfig
from llm4rec.index.facts import display_titles, item_categories
from llm4rec.schema import TRAIN, Corpus, History

QUOTED = re.compile(r'"([^"]*)"')
CLAUSES = re.compile(r"(?::|,|\.)\s+(?![^\"]*\"(?:[^\"]*\"[^\"]*\")*[^\"]*$)")
RATED = re.compile(r"(?:rated|chosen) by (\d+) (?:people|person)(?:, (\d\.\d) on average)?")
OTHERS, TOGETHER, DEEDS = ("people", "liked by"), ("both", "share", "in common"), ("you watched", "having watched")
_LITTLE = """
    a about also among an and are be because both by category categories chosen close common enjoyed film filed find for
    genre genres have having here in is it its liked like may next of on or people person rated share similar that the
    their them these they this to too try under was watched which who with worth look you average
"""
SAYS_NOTHING = frozenset(_LITTLE.split())
"""Words that say nothing by themselves: any other word outside quotations is a claim of its own, and a false one."""


@dataclass(frozen=True)
class Claim:
    """One thing that a reason says, and whether it is so."""

    kind: str
    what: str
    true: bool


class Audit:
    """What is true of items and users, straight from a corpus."""

    def __init__(self, corpus: Corpus, config: IndexConfig) -> None:
        train = corpus.part(TRAIN)
        self._titles = [clean_title(title) for title in display_titles(corpus.items)]
        self._codes: dict[str, set[int]] = {}
        for code, title in enumerate(self._titles):
            self._codes.setdefault(title, set()).add(code)
        self._own = [{name.lower() for name in own} for own in item_categories(corpus.items)]
        self._vocabulary = sorted({name for own in self._own for name in own}, key=len, reverse=True)
        self._counts = np.bincount(train.item, minlength=corpus.num_items)
        sums = np.bincount(train.item, weights=train.value, minlength=corpus.num_items)
        self._means = sums / np.maximum(self._counts, 1)
        liked = train.value >= train.value.mean(dtype=np.float64)
        pairs = (np.ones(liked.sum()), (train.user[liked], train.item[liked]))
        likers = sp.csc_matrix(pairs, (corpus.num_users, corpus.num_items))
        likers.data[:] = 1
        shared = (likers.T @ likers).toarray()
        norms = np.sqrt(np.maximum(shared.diagonal(), 1))
        self._together = (shared >= config.min_support) & (shared / norms / norms[:, None] >= config.min_cosine)
        self._frequency = self._shares(range(corpus.num_items))

    def titles_in(self, text: str) -> list[tuple[str, bool]]:
        """What a text quotes, and whether it is a title of the catalogue."""
        return [(title, title in self._codes) for title in QUOTED.findall(text)]

    def claims(self, text: str, item: int, history: History) -> Iterator[Claim]:
        """What a reason says of an item to a user with a history."""
        watched = {self._titles[code] for code in history.item.tolist()}
        anchors = {code for title in QUOTED.findall(text) if title in watched for code in self._codes[title]}
        yield from self._of_other_words(text)
        for clause in CLAUSES.split(text):
            yield from self._of_titles(clause, item, watched)
            yield from self._of_categories(clause, item, anchors)
        yield from self._of_counts(text, item)

    def categories_in(self, text: str) -> set[str]:
        """The categories that a text names outside quotations."""
        rest, found = QUOTED.sub(" ", text).lower(), set()
        for name in self._vocabulary:  # the longest first, so that "film-noir" is not taken for another
            pattern = rf"(?<![\w-]){re.escape(name)}(?![\w-])"
            if re.search(pattern, rest):
                found.add(name)
                rest = re.sub(pattern, " ", rest)
        return found

    def feature(self, history: History, item: int) -> str | None:
        """The item's category that the user's liked items have most often relative to the catalogue."""
        liked = history.item[history.value >= history.value.mean()].tolist() if len(history) else []
        share = self._shares(liked)
        return max(sorted(self._own[item]), key=lambda name: share.get(name, 0) / self._frequency[name], default=None)

    def _of_titles(self, clause: str, item: int, watched: set[str]) -> Iterator[Claim]:
        said = QUOTED.sub(" ", clause).lower()
        for title in QUOTED.findall(clause):
            deed = any(said.lstrip(" ,").removeprefix("because ").startswith(deed) for deed in DEEDS)
            if title == self._titles[item] and not deed:
                continue
            if any(word in said for word in OTHERS):
                codes = self._codes.get(title, set())
                yield Claim("liked together", title, any(self._together[item, code] for code in codes))
            else:
                yield Claim("history", title, title in watched)

    def _of_categories(self, clause: str, item: int, anchors: set[int]) -> Iterator[Claim]:
        together = any(word in QUOTED.sub(" ", clause).lower() for word in TOGETHER)
        for name in self.categories_in(clause):
            shared = not together or any(name in self._own[code] for code in anchors)
            yield Claim("category", name, name in self._own[item] and shared)

    def _of_other_words(self, text: str) -> Iterator[Claim]:
        rest = RATED.sub(" ", QUOTED.sub(" ", text)).lower()
        for name in self.categories_in(text):
            rest = re.sub(rf"(?<![\w-]){re.escape(name)}(?![\w-])", " ", rest)
        for word in re.findall(r"[^\W_]+", rest):
            if word not in SAYS_NOTHING:
                yield Claim("another word", word, False)

    def _of_counts(self, text: str, item: int) -> Iterator[Claim]:
        for count, mean in RATED.findall(text):
            true = int(count) == self._counts[item] and (not mean or mean == f"{self._means[item]:.1f}")
            yield Claim("count", f"{count}, {mean}", bool(true))

    def _shares(self, items: "range | list[int]") -> dict[str, float]:
        names = [name for code in items for name in self._own[code]]
        return {name: names.count(name) / max(1, len(items)) for name in set(names)}
