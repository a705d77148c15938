"""Prices and years that a request names."""

import re

from llm4rec.recommend.refusals import PREPOSITIONS, THINGS, is_harmless
from llm4rec.recommend.tokens import ENDS, Reading, number_of, word_set

CURRENCIES = word_set("$ € £ dollar dollars buck bucks euro euros pound pounds usd eur gbp")
_BELOW = ("under", "below", "less than", "cheaper than", "at most", "up to", "max", "maximum", "maximum of", "within")
_ABOVE = ("over", "above", "more than", "at least", "min", "minimum", "minimum of")
_OR_LESS = ("or less", "or under", "or cheaper", "max", "maximum", "at most", "tops")
_OR_MORE = ("or more", "or over", "and up", "and above", "minimum", "at least")
_BEFORE = ("before", "pre", "pre -", "older than", "earlier than", "prior to")
_AFTER = ("after", "post", "post -", "newer than", "later than", "more recent than")
_UNTIL = ("until", "up until")
_FROM_ON = ("since",)
_IN = ("from", "in", "made in", "released in", "published in", "of the", "from the", "in the")
_LATER = (
    "on",
    "onwards",
    "onward",
    "or later",
    "and later",
    "or newer",
    "and newer",
    "or after",
    "to now",
    "to today",
    "+",
    "and up",
)
_EARLIER = ("or earlier", "and earlier", "or older", "and older", "or before")
_TO = frozenset(["till", "thru", "to", "and", "-", "–", "—", "until", "through", "or"])
_LISTING = (["between"], ["from"], ["in"])
_DECADES = ("twenties", "thirties", "forties", "fifties", "sixties", "seventies", "eighties", "nineties")
_PART_OF_DECADE = {"early": (0, 3), "mid": (4, 6), "late": (7, 9)}
NEGATORS = word_set(
    "no not nothing never without dont doesnt cant isnt arent wont neither none avoid skip exclude excluding except "
    "hate"
)
_BETWEEN = word_set(
    "a an any anything something film films movie movies book books one ones item items want to spend pay cost costs "
    "costing priced be is are was were made released from that which do like songs music shows show stuff products "
    "those thing things came come out filmed me us see watch recommend suggest give need buy"
)
"""Words that may stand between a negator and the bound that it turns round: "don't want to spend more than"."""
_WITHOUT = word_set("without except exclude excluding")
_REFUSING = word_set("no not never dont doesnt avoid skip hate")
_ASKING = word_set("want need show recommend suggest give see watch like to me us have do")
_ARTICLES = word_set("a an any the another more")
_TOPIC = word_set(
    "born died won history style reminiscent about set during her his my their our your my its story happening takes"
)
"""After these a time is what an item is about, not when it was made."""
_COUNTED = CURRENCIES | word_set(
    "pieces piece watt watts w kw km m cm mm kg g ml l rpm mah gb mb tb pages words people players steps calories hp "
    "points feet ft inch inches miles hours minutes lumens"
)
"""A number before these counts something and is no year."""


def read_prices(reading: Reading) -> None:
    """Amounts of money as bounds and as ranges; whatever the currency is, numbers are compared as they are."""
    place = 0
    while place < len(reading.tokens):
        found = _amount_at(reading, place)
        place = place + 1 if found is None else _use_amount(reading, place, *found)


def _use_amount(reading: Reading, start: int, value: float, stop: int, has_currency: bool) -> int:
    """Note the bounds that an amount makes with the words around it; where reading goes on."""
    joins = stop < len(reading.tokens) and reading.tokens[stop].text in _TO - {"or"}
    other = _amount_at(reading, stop + 1) if joins else None
    if other and (has_currency or other[2]):
        first = start - 1 if reading.words(start - 1, start) in (["between"], ["from"]) else start
        if _negated(reading, first) is not None:  # all but some prices, which filters cannot say
            return other[1]
        reading.bound("price", *sorted((value, other[0])))
        reading.use(first, other[1])
        return other[1]
    before, after = _ends_with(reading, start, _BELOW + _ABOVE), _begins_with(reading, stop, _OR_LESS + _OR_MORE)
    if not has_currency or (before is None and after is None):
        return stop
    is_low = (before or after or (0, ""))[1] in _ABOVE + _OR_MORE
    first = before[0] if before else start
    if (negator := _negated(reading, first)) is not None:
        is_low = not is_low
        _use_negator(reading, negator, first)
    elif (is_low and _refuses_before(reading, first)) or _refuses_things(reading, first):
        return stop  # "no accessories over $50", "no plastic ones under $20" ask for no price
    reading.bound("price", value if is_low else None, None if is_low else value)
    stop = after[0] if after and not before else stop
    reading.use(first, stop)
    return stop


def _amount_at(reading: Reading, place: int) -> tuple[float, int, bool] | None:
    """A number from a place on, with its currency before or after it: value, end, whether it has one."""
    tokens = reading.tokens
    marked = place < len(tokens) and tokens[place].text in {"$", "€", "£"}
    number = place + marked
    if number >= len(tokens) or tokens[number].kind != "number" or reading.used[number] or reading.kept[number]:
        return None
    value = number_of(tokens[number].text)
    grouped = number > 0 and tokens[number - 1].kind == "number" and tokens[number - 1].end + 1 == tokens[number].start
    following = tokens[number + 1].text if number + 1 < len(tokens) else ""
    if value is None or grouped or following in {"k", "m", "thousand", "million", "billion"}:
        return None
    named = number + 1 < len(tokens) and tokens[number + 1].text in CURRENCIES
    named = named and not (marked and tokens[number + 1].kind == "mark")
    return value, number + 1 + named, marked or named


def read_years(reading: Reading) -> None:
    """Years and decades as bounds and as ranges; a bare year, which may be part of a title, is none."""
    place = 0
    while place < len(reading.tokens):
        found = _span_at(reading, place)
        if found is None or _is_topic(reading, place):
            place += 1
            continue
        (low, high, is_decade), stop = found
        is_range = False
        while (other := _joined_at(reading, place, stop, is_decade)) is not None:
            low, high, stop, is_range = min(low, other[0][0]), max(high, other[0][1]), other[1], True
        place = max(place + 1, _use_span(reading, place, stop, (low, high), is_decade or is_range))


def _joined_at(reading: Reading, first: int, place: int, is_decade: bool) -> tuple[tuple[int, int, bool], int] | None:
    """A year or decade that goes on a range or list which began at `first`."""
    joint = reading.words(place, place + 1)
    if joint in ([","], ["/"]):
        place += reading.words(place + 1, place + 2) in (["or"], ["and"])
    elif not joint or joint[0] not in _TO:
        return None
    found = _span_at(reading, place + 1)
    # "after 1990 and before 2000" is no list, nor is "2001 and 2010" without a word before it
    listed = joint[0] in {"or", "and", ",", "/"}
    return found if found and (not listed or is_decade or reading.words(first - 1, first) in _LISTING) else None


def _use_span(reading: Reading, start: int, stop: int, years: tuple[int, int], stands_alone: bool) -> int:
    """Note the bounds that a year, decade or range makes with the words around it; where reading goes on."""
    first = start
    before = _ends_with(reading, start, _BEFORE + _AFTER + _UNTIL + _FROM_ON + _IN + ("between",))
    after = _begins_with(reading, stop, _LATER + _EARLIER)
    how, follows = before[1] if before else "", after[1] if after else ""
    if not (how or follows or stands_alone):
        return stop
    bounds = _bounds(*years, how, follows)
    if before:
        first = before[0]
        while leading := _ends_with(reading, first, _IN):  # "from before 1990"
            first = leading[0]
    if (negator := _negated(reading, first)) is not None:
        bounds = _turned(*bounds)
        if bounds == (None, None):
            return stop
        _use_negator(reading, negator, first)
    elif _refuses_things(reading, first):  # "no scary films from the 80s" asks for no year
        return stop
    reading.bound("year", *bounds)
    stop = after[0] if after else stop
    reading.use(first, stop)
    return stop


def _bounds(low: int, high: int, before: str, after: str) -> tuple[int | None, int | None]:
    """The years that a year or range, and the words on its sides, ask for."""
    if before in _BEFORE:
        return None, low - 1
    if before in _AFTER:
        return high + 1, None
    if before in _UNTIL or after in _EARLIER:
        return None, high
    return (low, None) if before in _FROM_ON or after in _LATER else (low, high)


def _turned(low: int | None, high: int | None) -> tuple[int | None, int | None]:
    """The years that a bound leaves out; of a range, whose rest filters cannot say, no bounds."""
    if low is None and high is not None:
        return high + 1, None
    return (None, low - 1) if low is not None and high is None else (None, None)


def _span_at(reading: Reading, place: int) -> tuple[tuple[int, int, bool], int] | None:
    """A year or decade from a place on: first and last year and whether it is a decade; where it ends."""
    tokens = reading.tokens
    stop = place
    if stop < len(tokens) and tokens[stop].text == "the":
        stop += 1
    part = tokens[stop].text if stop < len(tokens) else ""
    if part in _PART_OF_DECADE:
        stop += 1
        if stop < len(tokens) and tokens[stop].text == "-":
            stop += 1
    if stop < len(tokens) and tokens[stop].text == "the":
        stop += 1
    if stop >= len(tokens) or not reading.is_free(place, stop + 1):
        return None
    token = tokens[stop]
    if token.kind == "decade" or token.text in _DECADES:
        start = _decade(token.text)
        whole = 99 if token.text in {"1800s", "1900s"} else 9
        first, last = _PART_OF_DECADE.get(part, (0, whole))
        return (start + first, start + last, True), stop + 1
    if token.kind == "number" and stop == place and re.fullmatch(r"1[89]\d\d|20\d\d", token.text):
        following = tokens[stop + 1] if stop + 1 < len(tokens) else None
        counts = following is not None and following.kind == "word" and following.text in _COUNTED
        return None if counts else ((int(token.text), int(token.text), False), stop + 1)
    return None


def _decade(name: str) -> int:
    """The first year of a decade; two digits are of the last century but for the first two decades of this one."""
    if name in _DECADES:
        return 1920 + 10 * _DECADES.index(name)
    digits = re.sub(r"\D", "", name)
    return int(digits) if len(digits) == 4 else (2000 if int(digits) < 20 else 1900) + int(digits)


def _is_topic(reading: Reading, place: int) -> bool:
    """Whether a time is what an item is about: in the same clause "about", "set" or "her" stands not far before it."""
    for token in reversed(reading.tokens[max(0, place - 6) : place]):
        if token.text in ENDS or token.text in {",", "but"}:
            return False
        if token.text in _TOPIC:
            return True
    return False


def _ends_with(reading: Reading, stop: int, phrases: tuple[str, ...]) -> tuple[int, str] | None:
    """The longest of some phrases that ends right before a place: where it begins, and it."""
    for phrase in sorted(phrases, key=len, reverse=True):
        words = phrase.split()
        if reading.words(stop - len(words), stop) == words and stop >= len(words):
            return stop - len(words), phrase
    return None


def _begins_with(reading: Reading, start: int, phrases: tuple[str, ...]) -> tuple[int, str] | None:
    """The longest of some phrases that begins at a place: where it ends, and it."""
    for phrase in sorted(phrases, key=len, reverse=True):
        words = phrase.split()
        if reading.words(start, start + len(words)) == words:
            return start + len(words), phrase
    return None


def _negated(reading: Reading, first: int) -> int | None:
    """Where a negator stands that turns a bound round, None without one."""
    for place in range(first - 1, -1, -1):
        word = reading.tokens[place].text
        if word in NEGATORS:
            # "a movie without romance under $20": a part is refused, and the bound is of the whole
            of_a_part = word in _WITHOUT or (word == "no" and reading.words(place - 1, place) == ["with"])
            of_a_part = of_a_part and place > 0 and any(reading.named[place:first])
            return None if of_a_part or is_harmless(reading, place, first) else place
        if word == "but" and place and reading.tokens[place - 1].text in {"anything", "everything", "all"}:
            return place - 1
        if word not in _BETWEEN and not reading.named[place]:
            return None
    return None


def _use_negator(reading: Reading, negator: int, first: int) -> None:
    """A negator that has turned a bound round is understood, and what leads from it there; categories still count."""
    for place in range(negator, first):
        if not reading.named[place]:
            reading.use(place, place + 1)


def _refuses_before(reading: Reading, first: int) -> bool:
    """Whether something is refused in the same clause before a bound."""
    for place in range(first - 1, -1, -1):
        if _ends_clause(reading, place):
            return False
        if reading.tokens[place].text in NEGATORS:
            return True
    return False


def _refuses_things(reading: Reading, first: int) -> bool:
    """Whether what a bound is of is refused whole: "no scary films", not so "nothing fancy", "not too long a film"."""
    negator = next((p for p in range(first - 1, -1, -1) if _ends_clause(reading, p) or _refuses(reading, p)), -1)
    if negator < 0 or _ends_clause(reading, negator) or is_harmless(reading, negator, first):
        return False
    begin = negator + 1
    while begin < first and reading.tokens[begin].text in _ASKING:
        begin += 1
    begin += begin < first and reading.tokens[begin].text in _ARTICLES
    things = [p for p in range(begin, first) if reading.tokens[p].text in THINGS or reading.named[p]]
    if not things:
        return False
    described, behind = range(begin, things[-1]), range(things[-1] + 1, first)
    return not any(
        reading.tokens[p].text in _ARTICLES | PREPOSITIONS | _ASKING | {"which", "that"} for p in described
    ) and all(reading.tokens[p].text in _BETWEEN for p in behind)


def _refuses(reading: Reading, place: int) -> bool:
    """Whether a negator stands there that may refuse all of what follows, not a part of what was named before."""
    return reading.tokens[place].text in _REFUSING and not (
        reading.tokens[place].text == "no" and reading.words(place - 1, place) == ["with"]
    )


def _ends_clause(reading: Reading, place: int) -> bool:
    return reading.tokens[place].text in ENDS or reading.tokens[place].text in {",", "but"}
