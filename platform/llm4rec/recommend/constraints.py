"""Years, prices and categories that a text names."""

import re
from collections.abc import Iterable, Mapping

from llm4rec.recommend.reading import Reading

_YEAR = r"(1[89]\d\d|20\d\d)"
_DECADES = ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")
_DECADE = rf"(?:(?:the\s+)?(early|mid|late)[\s-]+)?(?:the\s+)?((?:1[89]|20)?\d0'?s|{'|'.join(_DECADES)})"
_PART_OF_DECADE = {"early": (0, 3), "mid": (4, 6), "late": (7, 9), None: (0, 9)}
_TO = r"\s*(?:and|to|-|–|—|until)\s*"
_YEARS = (
    (rf"\b(?:until|up to|no later than)\s+{_YEAR}\b", None, 0),
    (rf"\bno earlier than\s+{_YEAR}\b", 0, None),
    (rf"\b(?:before|older than|earlier than|prior to)\s+{_YEAR}\b", None, -1),
    (rf"\b(?:after|newer than|later than)\s+{_YEAR}\b", 1, None),
    (rf"\b{_YEAR}\s+or\s+(?:earlier|older|before)\b", None, 0),
    (rf"\b(?:since|from)\s+{_YEAR}\s+on(?:wards?)?\b", 0, None),
    (rf"\bsince\s+{_YEAR}\b", 0, None),
    (rf"\b{_YEAR}\s+or\s+(?:later|newer|after)\b", 0, None),
    (rf"\b(?:from|in|of|made in|released in)\s+{_YEAR}\b", 0, 0),
)
"""Patterns, and what the first and the last year allowed are relative to the year that is named."""
_AMOUNT = (
    r"(?:(?P<mark{0}>[$€£])\s*)?(?P<amount{0}>\d+(?:[.,]\d{{1,2}})?)\s*"
    r"(?P<name{0}>dollars?|bucks|euros?|pounds?|usd|eur|gbp)?(?!\w)"
)
_MONEY = r"(?=.{0,30}?(?:[$€£]|dollar|buck|euro|pound|usd|eur|gbp))"
"""A number is a price only where a currency stands beside it."""
_AT_MOST = r"\b(?:under|below|less than|cheaper than|at most|up to|no more than|not more than|max(?:imum)?(?: of)?)\s+"
_AT_LEAST = r"\b(?:over|above|more than|at least|no less than|not less than|min(?:imum)?(?: of)?)\s+"
_ALIASES = {
    "sci fi": ("science fiction", "scifi", "sf"),
    "science fiction": ("sci fi", "scifi", "sf"),
    "romance": ("romantic",),
    "animation": ("animated", "cartoon"),
    "children": ("kids", "childrens", "child"),
    "childrens": ("kids", "children", "child"),
    "documentary": ("documentaries",),
    "comedy": ("comedies", "comedic"),
}
"""Other words for categories, by the words that a category's name comes down to."""
_ENOUGH = 3
"""Letters that a category's name and a query that names it begin alike with."""


def read_years(reading: Reading) -> None:
    """Years and decades, alone, as bounds and as ranges; a bare number, which may be part of a title, is none."""
    for match in reading.take(rf"\b(?:(?:from|in|of|between)\s+)?{_YEAR}{_TO}{_YEAR}\b"):
        first, last = sorted(map(int, match.groups()))
        reading.bound("year", first, last)
    related = r"(?:(before|after|since|until|from|in|of|older than|newer than)\s+)?"
    for match in reading.take(rf"\b{related}{_DECADE}(?!\w)(?:\s+(on|onwards?|or later))?"):
        related_how, part, name, on = match.groups()
        start = _decade(name.casefold())
        first, last = (start + year for year in _PART_OF_DECADE[part.casefold() if part else None])
        how = (related_how or "").casefold()
        if how in {"before", "older than"}:
            reading.bound("year", None, first - 1)
        elif how in {"after", "newer than"}:
            reading.bound("year", last + 1, None)
        elif how == "until":
            reading.bound("year", None, last)
        else:
            reading.bound("year", first, None if how == "since" or on else last)
    for pattern, low, high in _YEARS:
        for match in reading.take(pattern):
            year = int(match[1])
            reading.bound("year", None if low is None else year + low, None if high is None else year + high)


def _decade(name: str) -> int:
    """The first year of a decade; two digits are of the last century but for the first two decades of this one."""
    if name in _DECADES:
        return 1920 + 10 * _DECADES.index(name)
    digits = re.sub(r"\D", "", name)
    return int(digits) if len(digits) == 4 else (2000 if int(digits) < 20 else 1900) + int(digits)


def read_prices(reading: Reading) -> None:
    """Amounts of money as bounds and as ranges; whatever the currency is, numbers are compared as they are."""
    for match in reading.take(rf"\b(?:between|from)\s+{_MONEY}{_AMOUNT.format(1)}{_TO}{_AMOUNT.format(2)}"):
        reading.bound("price", *sorted((_amount(match["amount1"]), _amount(match["amount2"]))))
    for match in reading.take(rf"{_AT_MOST}{_MONEY}{_AMOUNT.format(1)}"):
        reading.bound("price", None, _amount(match["amount1"]))
    for match in reading.take(rf"{_AT_LEAST}{_MONEY}{_AMOUNT.format(1)}"):
        reading.bound("price", _amount(match["amount1"]), None)


def _amount(digits: str) -> float:
    return float(digits.replace(",", "."))


class CategoryNames:
    """The categories of a catalogue as texts name them: singular or plural, with any marks between words."""

    def __init__(self, categories: Iterable[str]) -> None:
        """Prepare for these categories; of names that begin alike the longest is read first."""
        self._forms = {name: forms for name in sorted(categories, key=len, reverse=True) if (forms := _forms(name))}

    def named(self, text: str) -> dict[str, str]:
        """Patterns of the categories that a text may name; compiling those of thousands would take too long."""
        folded = text.casefold()
        likely = {name: forms for name, forms in self._forms.items() if any(f[:_ENOUGH] in folded for f in forms)}
        return {name: rf"\b(?:{'|'.join(map(_loose, forms))})\b" for name, forms in likely.items()}


def _forms(category: str) -> tuple[str, ...]:
    """The words that a category's name comes down to, and other words for it; nothing of one without letters."""
    words = " ".join(re.findall(r"\w+", re.sub(r"['’]", "", category.casefold())))
    return () if not words or words.isdigit() else (words, *_ALIASES.get(words, ()))


def _loose(words: str) -> str:
    *first, last = words.split()
    stem = re.escape(last)
    if last.endswith("y"):
        stem = f"{re.escape(last[:-1])}(?:y|ies)"
    elif not last.endswith("s"):
        stem = f"{stem}(?:e?s|['’]s)?"
    return r"[\s\-/&]*(?:and\s+)?".join([*map(re.escape, first), stem])


def read_categories(reading: Reading, names: Mapping[str, str]) -> None:
    """Categories side by side are all wanted; joined by "or" or a comma, or as plurals by "and", any of them is."""
    mentions = sorted(
        (match.span(), category) for category, pattern in names.items() for match in reading.take(pattern)
    )
    some: list[str] = []
    every: list[str] = []
    for place, ((start, end), category) in enumerate(mentions):
        reading.mark((start, end), is_open=True)  # the words still say what is wanted
        before = reading.text[mentions[place - 1][0][1] : start] if place else ""
        after = reading.text[end : mentions[place + 1][0][0]] if place + 1 < len(mentions) else ""
        plural = reading.text[start:end].casefold().endswith("s")
        (some if _joined(before, plural) or _joined(after, plural) else every).append(category)
    reading.found |= {"categories": tuple(dict.fromkeys(some)), "all_categories": tuple(dict.fromkeys(every))}


def _joined(between: str, plural: bool) -> bool:
    """Whether what stands between two categories leaves the choice between them."""
    words = r"or|and/or|and" if plural else r"or|and/or"
    return bool(re.fullmatch(rf"\s*(?:,?\s*(?:{words})\s+(?:an?\s+)?|,\s*|/)", between, re.IGNORECASE))
