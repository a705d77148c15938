"""What a request does not want."""

from llm4rec.recommend.categories import Names
from llm4rec.recommend.tokens import ENDS, Reading, word_set

_REFUSALS = tuple(
    phrase.split()
    for phrase in (
        "anything but",
        "everything but",
        "all but",
        "other than",
        "instead of",
        "rather than",
        "but not",
        "except for",
        "except",
        "excluding",
        "without",
        "w / o",
        "avoid",
        "avoiding",
        "neither",
        "not a fan of",
        "not a big fan of",
        "tired of",
        "sick of",
        "i hate",
        "hate",
        "i dislike",
        "cant stand",
        "can not stand",
        "cannot stand",
        "skip",
        "minus",
        "nothing",
        "not",
        "no",
        "isnt",
        "arent",
        "wasnt",
        "non",
        "stop showing me",
        "stop showing",
        "stop recommending",
        "free of",
        "devoid of",
        "anything else than",
    )
) + tuple(
    [*negator, verb]
    for negator in (["do", "not"], ["dont"], ["does", "not"], ["doesnt"], ["didnt"])
    for verb in ("want", "like", "need", "show", "give", "recommend", "include", "have", "watch", "play", "read")
)
_SOFT = (["less"], ["fewer"])
"""What these come before is not wanted much, which shuts nothing out."""
_HARMLESS = tuple(
    phrase.split()
    for phrase in (
        "not only",
        "not just",
        "not sure",
        "not necessarily",
        "not bad",
        "not that",
        "not yet",
        "not long",
        "no matter",
        "no idea",
        "no problem",
        "no longer",
        "no one",
        "no other than",
        "none other than",
        "nothing but",
        "nothing beats",
        "nothing better than",
        "why not",
        "never seen",
        "never heard",
        "never read",
        "never gets old",
        "never get tired of",
        "never tire of",
        "do not get tired of",
        "dont get tired of",
        "cant get enough of",
        "never tired of",
        "not tired of",
        "no thanks",
        "no thank you",
        "no more than",
        "not more than",
        "no less than",
        "not less than",
        "less than",
    )
)
"""Looks like a refusal and is none."""
_FILLERS = word_set(
    "a an any the too very so overly really much more of to that is are it be too me my suitable meant intended "
    "appropriate aimed want watch see"
)
_THINGS = word_set(
    "film films movie movies book books show shows song songs item items product products thing things stuff one ones "
    "something anything"
)
_PREPOSITIONS = word_set(
    "with from in under over between before after about set made since for like where who on at by below above"
)
_STOPS = word_set("but please though although just rather i want")
_ARTICLES = frozenset(["a", "an", "the", "for", "with", "something", "maybe", "i"])
LONGEST_NAME = 4
"""Tokens of a category that begins like a refusal."""
LONGEST_PART = 3
"""Words that a part of a list may have."""


def read_refusals(reading: Reading, names: Names) -> str:
    """Categories that are not wanted are noted; what is not wanted besides is returned, in words."""
    words: list[str] = []
    refused: list[str] = []
    place = 0
    while place < len(reading.tokens):
        begin = _refusal_at(reading, names, place)
        if begin is None or not reading.is_free(place, begin):
            place += max(1, _harmless_at(reading, place))
            continue
        stop = _scope(reading, begin)
        if stop == begin:
            place = begin
            continue
        is_soft = reading.words(place, begin) in _SOFT
        mentions = [] if is_soft else names.mentions(reading, begin, stop)
        refused += [mention.category for mention in mentions]
        named = {spot for mention in mentions for spot in range(mention.start, mention.stop)}
        left = [
            token.text
            for spot, token in enumerate(reading.tokens[begin:stop], start=begin)
            if spot not in named and reading.is_free(spot, spot + 1) and token.kind != "mark"
        ]
        if rest := _content(left):
            words.append(" ".join(rest))
        for spot in range(place, stop):
            reading.use(spot, spot + 1)
        place = stop
    reading.found["no_categories"] = tuple(dict.fromkeys(refused))
    return ", ".join(words)


def _content(words: list[str]) -> list[str]:
    """Words that say what is not wanted: without those that join, and without what leads up to it."""
    telling = [word for word in words if word not in _THINGS and word not in {"or", "nor", "and"}]
    while telling and (telling[0] in _FILLERS or telling[0] in _PREPOSITIONS):
        telling = telling[1:]
    return [word for place, word in enumerate(telling) if word not in _FILLERS or place + 1 < len(telling)]


def _refusal_at(reading: Reading, names: Names, place: int) -> int | None:
    """Where what is refused begins, if a refusal begins at a place."""
    own = names.mentions(reading, place, place + LONGEST_NAME)
    if _harmless_at(reading, place) or (own and own[0].start == place):  # a category may begin so: "Non-Fiction"
        return None
    for phrase in sorted((*_REFUSALS, *_SOFT), key=len, reverse=True):
        stop = place + len(phrase)
        if reading.words(place, stop) != phrase or stop >= len(reading.tokens):
            continue
        following = reading.tokens[stop]
        if phrase[-1] in {"no", "non", "not"} and following.kind == "mark":
            # "no-nonsense" refuses nothing, "no, a comedy" answers; but "non-fiction" may
            if following.text != "-" or not names.mentions(reading, stop + 1, stop + 2):
                return None
            return stop + 1
        if phrase == ["nothing"] and reading.words(place - 1, place) == ["about"]:
            return None
        return stop
    return None


def _harmless_at(reading: Reading, place: int) -> int:
    """How many tokens a phrase takes that only looks like a refusal, 0 without one."""
    lengths = (len(phrase) for phrase in _HARMLESS if reading.words(place, place + len(phrase)) == phrase)
    return max(lengths, default=0)


def _scope(reading: Reading, begin: int) -> int:
    """Where what is refused ends: at the end of the clause, or where something else begins."""
    has_content = False
    place = begin
    while place < len(reading.tokens):
        token = reading.tokens[place]
        if token.text in ENDS or _begins_refusal(reading, place):
            break
        if token.text == ",":
            end = _end_of_list(reading, place)
            return end if has_content and end else place
        if token.text in _STOPS and (has_content or token.text in {"but", "please"}):
            break
        if has_content and (token.text in _PREPOSITIONS or reading.used[place]):
            break
        if token.text == "and" and _ARTICLES.intersection(reading.words(place + 1, place + 2)):
            break
        is_filler = token.text in _FILLERS or token.text in _THINGS or token.text in _PREPOSITIONS
        has_content = has_content or not (is_filler or token.kind == "mark" or reading.used[place])
        place += 1
    return place if has_content else begin


def _begins_refusal(reading: Reading, place: int) -> bool:
    return any(
        reading.words(place, place + len(phrase)) == phrase for phrase in _REFUSALS if phrase[0] not in {"non", "hate"}
    )


def _end_of_list(reading: Reading, comma: int) -> int | None:
    """Where "X, Y or Z" ends after its first comma; None if what follows is no list with "or"."""
    parts, has_or, place = 0, False, comma + 1
    while place < len(reading.tokens):
        token = reading.tokens[place]
        if token.text in {"or", "nor", ","}:
            has_or, parts = has_or or token.text != ",", 0
        elif (token.kind == "mark" and token.text != "-") or (
            token.text in _STOPS | _THINGS | _PREPOSITIONS | {"and"}
            or reading.used[place]
            or _begins_refusal(reading, place)
        ):
            break
        else:
            parts += 1
            if parts > LONGEST_PART:
                return None
        place += 1
    return place if has_or else None
