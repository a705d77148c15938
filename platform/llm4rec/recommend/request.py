"""What a request in plain words asks for: constraints that can be checked, and words to search with.

Rules of English, without a language model: the same words give the same constraints at every time and on every machine,
in microseconds, and nothing that a text says can make them mean anything else.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from llm4rec.recommend.constraints import CategoryNames, read_categories, read_prices, read_years
from llm4rec.recommend.filters import Filters
from llm4rec.recommend.reading import Reading

_NO = (
    r"\b(?:anything but|other than|but not|except(?: for)?|excluding|without|avoid|neither|"
    r"(?:do not|don['’]?t) (?:want|like|need)|nothing|not|no|never|non)\b"
    r"(?!\s+(?:only|just|matter|sure|idea|necessarily|(?:later|earlier|more|less) than)\b)[\s-]*"
)
_FILLERS = r"(?:(?:a|an|any|too|very|so|overly|really|the|much|more|of)\s+)*"
_ENDS_NO = r"[,.;:!?()]|\bbut\b|\bplease\b|\bwith\b|\bfrom\b|\bin\b|$"
_THINGS = r"\b(?:films?|movies?|books?|shows?|songs?|items?|products?|things?|stuff|ones?)\b"
"""Says nothing about what is not wanted."""
_LIKE = r"(?<!n['’]t )(?<!not )(?<!['’]d )(?<!would )(?<!\bi )(?<!we )like"
_LIKENESS = rf"\b(?:{_LIKE}|similar to|such as|reminds? me of|as in)\s+.+?(?=[,;]|\bbut\b|$)|\"[^\"]*\"|“[^”]*”"
"""What a request wants more of: names in it are titles."""
FADING = 0.5
"""What words of one turn of a dialogue count in the next."""


@dataclass(frozen=True)
class Understood:
    """What a request was taken to ask for.

    Attributes:
        filters: what every item must meet.
        wanted: texts to be near to, with what each counts; the newest last.
        unwanted: words to be far from.
    """

    filters: Filters = Filters()
    wanted: tuple[tuple[str, float], ...] = ()
    unwanted: str = ""


class RequestReader:
    """Reads requests against the categories of one catalogue."""

    def __init__(self, categories: Iterable[str]) -> None:
        """Prepare for these categories."""
        self._names = CategoryNames(categories)

    def __call__(self, query: str) -> Understood:
        """Read one request, in English; of other languages nothing but words is understood.

        Years and decades, prices and names of categories become constraints, and so do categories that are not wanted;
        what else is not wanted becomes words to be far from. What a request wants to be like, or quotes, stays words.

        >>> read = RequestReader(["Comedy", "Romance"])("a romantic comedy from the late 90s, not too sad")
        >>> read.filters.describe()
        'category Romance and Comedy, year 1997 or later, year 1999 or earlier'
        >>> read.wanted, read.unwanted
        ((('a romantic comedy', 1.0),), 'sad')
        """
        reading, names = Reading(query), self._names.named(query)
        quoted = [match.span() for match in reading.take(_LIKENESS)]
        unwanted = _read_unwanted(reading, names)
        read_years(reading)
        read_prices(reading)
        read_categories(reading, names)
        for span in quoted:
            reading.mark(span, is_open=True)
        wanted = reading.rest()
        return Understood(_filters(reading), ((wanted, 1.0),) if re.search(r"\w", wanted) else (), unwanted)


def follow(turns: Sequence[Understood]) -> Understood:
    """Several requests of one dialogue as one, oldest first.

    A later bound on years or prices takes the place of an earlier one, and so do later categories; those not wanted
    add up, but for one that is asked for later. Earlier words count less with every turn.
    """
    whole = Understood()
    for turn in turns:
        old, new = whole.filters.model_dump(), turn.filters.model_dump()
        for names in (("year_min", "year_max"), ("price_min", "price_max"), ("categories", "all_categories")):
            if any(new[name] not in (None, ()) for name in names):
                old |= {name: new[name] for name in names}
        asked = {name.casefold() for name in (*new["categories"], *new["all_categories"])}
        refused = dict.fromkeys((*old["no_categories"], *new["no_categories"]))
        old["no_categories"] = tuple(name for name in refused if name.casefold() not in asked)
        for name in ("categories", "all_categories"):  # what was asked for earlier and is refused now
            old[name] = tuple(category for category in old[name] if category not in new["no_categories"])
        faded = tuple((text, weight * FADING) for text, weight in whole.wanted)
        unwanted = ", ".join(filter(None, [whole.unwanted, turn.unwanted]))
        whole = Understood(Filters(**old), (*faded, *turn.wanted), unwanted)
    return whole


def narrowed(understood: Understood, filters: Filters) -> Understood:
    """With constraints that were given as such, which hold where the words say otherwise."""
    given = {name: value for name, value in filters.model_dump().items() if value not in (None, ())}
    read = understood.filters.model_dump()
    for name in ("year", "price"):
        if f"{name}_min" in given or f"{name}_max" in given:
            read |= {f"{name}_min": None, f"{name}_max": None}
    return replace(understood, filters=Filters(**{**read, **given}))


def _read_unwanted(reading: Reading, names: Mapping[str, str]) -> str:
    """Categories that are not wanted are noted; what is not wanted besides is returned, in words."""
    words: list[str] = []
    refused: list[str] = []
    for match in reading.take(rf"{_NO}{_FILLERS}(?P<what>.+?)(?={_ENDS_NO})"):
        what = Reading(match["what"])
        refused += [category for category, pattern in names.items() if list(what.take(pattern))]
        rest = re.sub(rf"\b(?:or|nor|and)\b\s*{_FILLERS}|{_THINGS}", " ", what.rest(), flags=re.IGNORECASE)
        if re.search(r"\w", rest):
            words.append(" ".join(rest.split()))
    reading.found["no_categories"] = tuple(dict.fromkeys(refused))
    return ", ".join(words)


def _filters(reading: Reading) -> Filters:
    """What was found; a category both wanted and not is not."""
    refused = reading.found["no_categories"]
    wanted = ("categories", "all_categories")
    kept = {name: tuple(category for category in reading.found[name] if category not in refused) for name in wanted}
    return Filters(**{**reading.found, **kept})
