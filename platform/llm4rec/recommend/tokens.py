"""A request as words, numbers and marks, of which some have been understood."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

_TOKEN = re.compile(
    r"(?P<decade>(?:1[89]|20)?\d0['’]?[sS]\b)"
    r"|(?P<number>\d{1,3}(?:[.,]\d{3})+(?:[.,]\d{1,2})?(?!\d)|\d+(?:[.,]\d{1,2}(?!\d))?)"
    r"|(?P<word>[^\W\d_]+(?:['’][^\W\d_]+)*)"
    r"|(?P<mark>[^\w\s]|_)"
)
MAX_DIGITS = 9
"""Longer numbers are no amounts."""
ENDS = frozenset(".;:!?()")
"""Marks that end a clause; commas may stand in lists."""


_LEFTOVERS = ENGLISH_STOP_WORDS | {
    "im",
    "ive",
    "id",
    "thats",
    "dont",
    "please",
    "film",
    "movie",
    "thing",
    "want",
    "like",
}
"""Say nothing by themselves once the rest of a request has been understood."""


@dataclass(frozen=True)
class Token:
    """A word, number, decade or mark.

    Attributes:
        kind: one of these.
        text: in lower case, apostrophes left out.
        start: where it begins in the request,
        end: and where it ends.
    """

    kind: str
    text: str
    start: int
    end: int


@dataclass
class Reading:
    """A request that is being read.

    Attributes:
        text: as it came.
        tokens: of it.
        used: which of them have been understood and no longer stand for themselves.
        kept: which are names and are never read.
        named: which are part of the name of a category.
        found: fields of `Filters` by name.
    """

    text: str
    tokens: list[Token] = field(init=False)
    used: list[bool] = field(init=False)
    kept: list[bool] = field(init=False)
    named: list[bool] = field(init=False)
    found: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.tokens = tokenised(self.text)
        self.used = [False] * len(self.tokens)
        self.kept = [False] * len(self.tokens)
        self.named = [False] * len(self.tokens)

    def is_free(self, start: int, stop: int) -> bool:
        """Whether none of some tokens has been understood or is part of a name."""
        return not any(self.used[start:stop]) and not any(self.kept[start:stop])

    def use(self, start: int, stop: int) -> None:
        """Note that some tokens have been understood."""
        self.used[start:stop] = [True] * (stop - start)

    def words(self, start: int, stop: int) -> list[str]:
        """The tokens from one place to another, which may lie outside."""
        return [token.text for token in self.tokens[max(start, 0) : stop]]

    def rest(self) -> str:
        """What has not been understood, as it was written, spaces evened out; nothing of leftovers that say nothing."""
        pieces, end = [], 0
        for token, used in zip(self.tokens, self.used, strict=True):
            if not used:
                pieces.append((" " if token.start > end else "") + self.text[token.start : token.end])
            end = token.end if not used else -1
        text = re.sub(r"\s+([,.;:!?])", r"\1", " ".join("".join(pieces).split()))
        text = re.sub(r"(?<!\w)['’](?!\w)|\(\s*\)", "", text)
        text = re.sub(r"([,;:])(?:\s*[,;:])+", r"\1", " ".join(text.split())).strip(" ,;:-–—")
        telling = {token.text for token, used in zip(self.tokens, self.used, strict=True) if not used}
        says = any(word.isalnum() for word in telling - (_LEFTOVERS if any(self.used) else frozenset()))
        return text if says else ""

    def bound(self, name: str, low: float | None, high: float | None) -> None:
        """Narrow the range of `name`; one that would be left empty is replaced by the newer bounds."""
        lows = [bound for bound in (self.found.get(f"{name}_min"), low) if bound is not None]
        highs = [bound for bound in (self.found.get(f"{name}_max"), high) if bound is not None]
        if lows and highs and max(lows) > min(highs):
            lows, highs = ([bound] if bound is not None else [] for bound in (low, high))
        self.found |= {f"{name}_min": max(lows, default=None), f"{name}_max": min(highs, default=None)}


def word_set(text: str) -> frozenset[str]:
    """The words of a text."""
    return frozenset(text.split())


def tokenised(text: str) -> list[Token]:
    """The tokens of a text."""
    found = []
    for match in _TOKEN.finditer(text):
        shown = re.sub(r"['’]", "", match[0]).casefold()
        around = text[: match.start()], text[match.end() :]
        if (
            shown in {"-", "–", "—"}
            and around[0].endswith(" ")
            and around[1].startswith(" ")
            and not _between_digits(*around)
        ):
            shown = ";"  # a dash between spaces ends a clause
        found.append(Token(match.lastgroup or "mark", shown, match.start(), match.end()))
    return found


def _between_digits(before: str, after: str) -> bool:
    return before.rstrip()[-1:].isdigit() and after.lstrip()[:1].isdigit()


def number_of(text: str) -> float | None:
    """The value of a number: groups of three digits are thousands, one or two after a mark are decimals."""
    match = re.fullmatch(r"(\d{1,3}(?:[.,]\d{3})+|\d+)(?:[.,](\d{1,2}))?", text)
    if match is None or len(digits := re.sub(r"\D", "", match[1])) > MAX_DIGITS:
        return None
    return float(f"{digits}.{match[2] or 0}")


def singular(word: str) -> str:
    """A word without its plural, by rule, so that the same word is always cut alike."""
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    if len(word) > 4 and word.endswith(("sses", "shes", "ches", "xes")):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) and word != "news":
        return word[:-1]
    return word


class PhraseBook:
    """Phrases of several words, found in a text by looking up its words: as fast for thousands as for ten."""

    def __init__(self, phrases: Iterable[tuple[Sequence[str], str]]) -> None:
        """Take phrases as words, with what each stands for."""
        self._known: dict[tuple[str, ...], str] = {}
        self._longest = 0
        for words, name in phrases:
            self.add(words, name)

    def add(self, words: Sequence[str], name: str) -> None:
        """One more phrase; an earlier one of the same words stays."""
        if words:
            self._known.setdefault(tuple(words), name)
            self._longest = max(self._longest, len(words))

    def at(self, words: Sequence[str], joined: Sequence[bool]) -> tuple[int, str] | None:
        """The longest phrase that a series begins with: how many entries of the series it takes, and its name.

        Args:
            words: of a text from some place on.
            joined: of each, whether it only joins words ("-", "&", "and") and may be left out within a phrase.
        """
        found: tuple[int, str] | None = None
        taken: list[str] = []
        for place, (word, joins) in enumerate(zip(words, joined, strict=True)):
            if joins and taken:
                continue
            taken.append(word)
            if len(taken) > self._longest:
                break
            if (name := self._known.get(tuple(taken))) is not None:
                found = place + 1, name
        return found
