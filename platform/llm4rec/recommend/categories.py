"""Names of categories and titles in a request."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from llm4rec.recommend.tokens import PhraseBook, Reading, singular, tokenised

_JOINING = frozenset(["-", "/", "&", "and"])
_ALIASES = {
    ("sci", "fi"): (("science", "fiction"), ("scifi",), ("sf",)),
    ("science", "fiction"): (("sci", "fi"), ("scifi",), ("sf",)),
    ("romance",): (("romantic",),),
    ("animation",): (("animated",), ("cartoon",)),
    ("children",): (("kid",), ("child",)),
    ("comedy",): (("comedic",),),
}
"""Other words for categories, in singular."""
_SEPARATORS = frozenset([",", "/", "&", "-", "or", "and", "a", "an", "some"])


@dataclass(frozen=True)
class Mention:
    """A category that a request names: which, from which token to which."""

    start: int
    stop: int
    category: str


class Names:
    """The categories and titles of a catalogue."""

    def __init__(self, categories: Iterable[str], titles: Iterable[str] = ()) -> None:
        """Prepare; a category of which nothing but stop words or digits is left cannot be named."""
        own = {name: words for name in sorted(categories) if (words := _words(name))}
        self._categories = PhraseBook((words, name) for name, words in own.items())
        for name, words in own.items():  # other words for one are never those of another
            for alias in _ALIASES.get(words, ()):
                self._categories.add(alias, name)
        self._titles = PhraseBook([])
        for title in titles:
            self.add_title(title)

    def add_title(self, title: str) -> None:
        """A title of at least two words, not all of which are categories or stop words, is a name in requests."""
        words = _title_words(title)
        telling = [word for word in words if word not in ENGLISH_STOP_WORDS]
        if len(words) > 1 and any(self._categories.at([singular(word)], [False]) is None for word in telling):
            self._titles.add(words, title)

    def keep_titles(self, reading: Reading) -> None:
        """Note which words of a request are titles of the catalogue, the longest first."""
        series = [token.text for token in reading.tokens]
        joined = [token.kind == "mark" for token in reading.tokens]
        place = 0
        while place < len(series):
            found = self._titles.at(series[place:], joined[place:]) if not joined[place] else None
            if found:
                reading.kept[place : place + found[0]] = [True] * found[0]
            place += found[0] if found else 1

    def mentions(self, reading: Reading, start: int, stop: int) -> list[Mention]:
        """The categories that some tokens of a request name, singular or plural, and that are no part of a name."""
        series = [singular(token.text) for token in reading.tokens[start:stop]]
        joined = [token.text in _JOINING for token in reading.tokens[start:stop]]
        found: list[Mention] = []
        place = 0
        while place < len(series):
            at = None if joined[place] else self._categories.at(series[place:], joined[place:])
            if at and reading.is_free(start + place, start + place + at[0]):
                found.append(Mention(start + place, start + place + at[0], at[1]))
            place += at[0] if at else 1
        return found


def _words(category: str) -> tuple[str, ...]:
    """The words of a category's name in singular; none where nothing but stop words or digits is left."""
    words = tuple(singular(token.text) for token in tokenised(category) if token.kind != "mark" and token.text != "and")
    return () if all(word in ENGLISH_STOP_WORDS or word.isdigit() for word in words) else words


def _title_words(title: str) -> tuple[str, ...]:
    """The words of a title, without a year at its end; an article after a comma goes to the front."""
    bare = re.sub(r"\s*\(\d{4}\)\s*$", "", title)
    bare = re.sub(r"^(.*), (The|A|An)$", r"\2 \1", bare)
    return tuple(token.text for token in tokenised(bare) if token.kind != "mark")


def read_categories(reading: Reading, names: Names) -> None:
    """Categories that stand side by side are all wanted; of a list with "or" or commas, or of plurals, any is."""
    some: list[str] = []
    every: list[str] = []
    for run in _runs(reading, names.mentions(reading, 0, len(reading.tokens))):
        between = [
            token.text
            for one, other in zip(run, run[1:], strict=False)
            for token in reading.tokens[one.stop : other.start]
        ]
        plural = all(reading.tokens[mention.stop - 1].text.endswith("s") for mention in run)
        is_choice = "or" in between or "," in between or (plural and bool({"and", "&"} & set(between)))
        (some if is_choice else every).extend(mention.category for mention in run)
    reading.found |= {"categories": tuple(dict.fromkeys(some)), "all_categories": tuple(dict.fromkeys(every))}


def _runs(reading: Reading, mentions: Sequence[Mention]) -> list[list[Mention]]:
    """Mentions with nothing but separators between them, together."""
    runs: list[list[Mention]] = []
    for mention in mentions:
        between = reading.tokens[runs[-1][-1].stop : mention.start] if runs else []
        if runs and all(token.text in _SEPARATORS for token in between):
            runs[-1].append(mention)
        else:
            runs.append([mention])
    return runs
