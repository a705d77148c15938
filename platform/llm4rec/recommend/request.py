"""What a request in plain words asks for: constraints that can be checked, and words to search with.

Rules of English, without a language model: the same words give the same constraints at every time and on every machine,
in about a millisecond, and nothing that a text says can make them mean anything else.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from llm4rec.recommend.categories import Names, read_categories
from llm4rec.recommend.constraints import read_prices, read_years
from llm4rec.recommend.filters import Filters
from llm4rec.recommend.refusals import read_refusals
from llm4rec.recommend.tokens import ENDS, Reading, word_set

_QUOTES = {'"': '"', "“": "”", "„": "“", "«": "»"}
_WISHING = word_set("i id we wed would you youd they feel really also just to dont not didnt doesnt do much")
"""Before "like" these make it a verb, and what follows no example."""
_EXAMPLE_ENDS = word_set(
    "but under without from before after since between with that which year price costing only except no not"
)
_LIFTS = [
    (kind, phrase.split())
    for kind, phrases in {
        "categories": (
            "any genre",
            "any category",
            "any kind",
            "whatever genre",
            "genre does not matter",
            "genre doesnt matter",
        ),
        "year": ("any year", "any decade", "any era", "any time", "year does not matter", "year doesnt matter"),
        "price": ("any price", "price does not matter", "price doesnt matter"),
        "all": ("start over", "forget all that", "forget that", "forget it", "forget everything"),
    }.items()
    for phrase in phrases
]
"""Phrases that lift constraints of earlier turns, and which."""
_BEFORE_LIFTS = ENDS | word_set(", from of for with in at but and or ok okay the actually")
_AFTER_LIFTS = ENDS | word_set(", is will would please now then")
FADING, FADED = 0.5, 0.05
"""What words of one turn of a dialogue count in the next, and below what they are forgotten."""


@dataclass(frozen=True)
class Understood:
    """What a request was taken to ask for.

    Attributes:
        filters: what every item must meet.
        wanted: texts to be near to, with what each counts; the newest last.
        unwanted: words to be far from, likewise.
        lifted: which constraints of earlier turns no longer hold: categories, year, price, or all.
    """

    filters: Filters = Filters()
    wanted: tuple[tuple[str, float], ...] = ()
    unwanted: tuple[tuple[str, float], ...] = ()
    lifted: frozenset[str] = frozenset()


class RequestReader:
    """Reads requests against the categories and titles of one catalogue."""

    def __init__(self, categories: Iterable[str], titles: Iterable[str] = ()) -> None:
        """Prepare for these."""
        self._names = Names(categories, titles)

    def add_title(self, title: str) -> None:
        """Know one more title."""
        self._names.add_title(title)

    def __call__(self, query: str) -> Understood:
        """Read one request, in English; of other languages nothing but words is understood.

        Years and decades, prices and names of categories become constraints, and so do categories that are not wanted;
        what else is not wanted becomes words to be far from. Titles of the catalogue, examples ("like Heat") and what
        stands in quotation marks are names, in which nothing is read.

        >>> read = RequestReader(["Comedy", "Romance"])("a romantic comedy from the late 90s, not too sad")
        >>> read.filters.describe()
        'category Romance and Comedy, year 1997 or later, year 1999 or earlier'
        >>> read.wanted, read.unwanted
        ((('a romantic comedy', 1.0),), (('sad', 1.0),))
        """
        reading = Reading(query)
        self._names.keep_titles(reading)
        _keep_quoted(reading)
        _keep_examples(reading)
        for mention in self._names.mentions(reading, 0, len(reading.tokens)):
            reading.named[mention.start : mention.stop] = [True] * (mention.stop - mention.start)
        lifted = _read_lifts(reading)
        read_prices(reading)
        read_years(reading)
        unwanted = read_refusals(reading, self._names)
        read_categories(reading, self._names)
        wanted = reading.rest()
        return Understood(
            _filters(reading),
            ((wanted, 1.0),) if wanted else (),
            tuple((words, 1.0) for words in unwanted),
            lifted,
        )


def as_words(query: str) -> Understood:
    """A request of which nothing is read: all of it is words to be near to."""
    return Understood(wanted=((query, 1.0),))


def follow(turns: Sequence[Understood]) -> Understood:
    """Several requests of one dialogue as one, oldest first.

    A later bound on years or prices narrows the earlier range, or takes its place where nothing would be left; later
    categories take the place of earlier ones; those not wanted add up, but for one that is asked for later. Earlier
    words count less with every turn.
    """
    whole = Understood()
    for turn in turns:
        if "all" in turn.lifted:
            whole = Understood()
        old, new = whole.filters.model_dump(), turn.filters.model_dump()
        for kind, names in _KINDS.items():
            if kind in turn.lifted:
                old |= {name: new[name] for name in names}
            elif any(new[name] not in (None, ()) for name in names):
                old |= _later(names, old, new)
        if "categories" in turn.lifted:
            old["no_categories"] = ()
        asked = _folded((*new["categories"], *new["all_categories"]))
        refused = _folded(new["no_categories"])
        old["no_categories"] = _without((*old["no_categories"], *new["no_categories"]), asked)
        for name in _KINDS["categories"]:
            old[name] = _without(old[name], refused)
        said = {word for text, _ in turn.wanted for word in text.casefold().split()}
        refused_now = {word for text, _ in turn.unwanted for word in text.casefold().split()}
        wanted = (*_faded(whole.wanted, refused | refused_now), *turn.wanted)
        whole = Understood(Filters(**old), wanted, (*_faded(whole.unwanted, said), *turn.unwanted))
    return whole


def _later(names: Sequence[str], old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of one kind after a turn: one bound narrows the range there was, where that leaves anything."""
    low, high = names
    if low.endswith("_min") and None in (new[low], new[high]):
        lows = [bound for bound in (old[low], new[low]) if bound is not None]
        highs = [bound for bound in (old[high], new[high]) if bound is not None]
        if not lows or not highs or max(lows) <= min(highs):
            return {low: max(lows, default=None), high: min(highs, default=None)}
    return {name: new[name] for name in names}


def _faded(texts: Iterable[tuple[str, float]], taken_back: set[str]) -> tuple[tuple[str, float], ...]:
    """What texts of earlier turns count now; those with words that have been taken back, and old ones, are gone."""
    return tuple(
        (text, weight * FADING)
        for text, weight in texts
        if weight * FADING >= FADED and taken_back.isdisjoint(text.casefold().split())
    )


def narrowed(understood: Understood, filters: Filters) -> Understood:
    """With constraints that were given as such, which hold where the words say otherwise; refusals of both hold."""
    read, given = understood.filters.model_dump(), filters.model_dump()
    for names in _KINDS.values():
        if any(given[name] not in (None, ()) for name in names):
            read |= {name: given[name] for name in names}
    asked = _folded((*given["categories"], *given["all_categories"]))
    refused = _folded(given["no_categories"])
    for name in _KINDS["categories"]:
        read[name] = _without(read[name], refused)
    read["no_categories"] = (*_without(read["no_categories"], asked | refused), *given["no_categories"])
    return replace(understood, filters=Filters(**read))


_KINDS = {
    "year": ("year_min", "year_max"),
    "price": ("price_min", "price_max"),
    "categories": ("categories", "all_categories"),
}
"""Fields that take each other's place."""


def _folded(categories: Iterable[str]) -> set[str]:
    return {category.casefold() for category in categories}


def _without(categories: Iterable[str], others: set[str]) -> tuple[str, ...]:
    return tuple(name for name in dict.fromkeys(categories) if name.casefold() not in others)


def _keep_quoted(reading: Reading) -> None:
    """What stands in quotation marks is a name; a mark right behind a number means inches."""
    tokens = reading.tokens
    place = 0
    while place < len(tokens):
        closing = _QUOTES.get(tokens[place].text)
        is_unit = place > 0 and tokens[place - 1].kind == "number" and tokens[place - 1].end == tokens[place].start
        ends = [] if is_unit else [spot for spot in range(place + 1, len(tokens)) if tokens[spot].text == closing]
        if ends:
            reading.kept[place : ends[0] + 1] = [True] * (ends[0] + 1 - place)
        place = ends[0] + 1 if ends else place + 1


def _keep_examples(reading: Reading) -> None:
    """What follows "like", up to where something else begins, is a name."""
    tokens = reading.tokens
    place = 0
    while place < len(tokens):
        is_example = not reading.kept[place] and _is_example(reading, place)
        place += 1
        while is_example and place < len(tokens) and (reading.kept[place] or not _ends_example(tokens[place].text)):
            reading.kept[place] = True
            place += 1


def _ends_example(text: str) -> bool:
    return text in ENDS or text in _EXAMPLE_ENDS or text in {",", ";"}


def _is_example(reading: Reading, place: int) -> bool:
    """Whether an example follows a token."""
    before = reading.words(place - 1, place)
    if reading.tokens[place].text == "like":
        return not (before and before[0] in _WISHING)
    return [*before, reading.tokens[place].text] in (["similar", "to"], ["such", "as"], ["reminds", "of"], ["as", "in"])


def _read_lifts(reading: Reading) -> frozenset[str]:
    """Which earlier constraints a request lifts: only phrases that fill their clause do."""
    lifted = set()
    for place in range(len(reading.tokens)):
        for kind, words in _LIFTS:
            stop = place + len(words)
            if reading.words(place, stop) != words or not reading.is_free(place, stop):
                continue
            leads, follows = reading.words(place - 1, place), reading.words(stop, stop + 1)
            if (not leads or leads[0] in _BEFORE_LIFTS) and (not follows or follows[0] in _AFTER_LIFTS):
                reading.use(place, stop)
                lifted.add(kind)
    return frozenset(lifted)


def _filters(reading: Reading) -> Filters:
    """What was found; a category both wanted and not is not."""
    refused = _folded(reading.found["no_categories"])
    kept = {name: _without(reading.found[name], refused) for name in _KINDS["categories"]}
    return Filters(**{**reading.found, **kept})
