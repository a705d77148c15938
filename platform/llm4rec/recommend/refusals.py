"""What a request does not want."""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from llm4rec.recommend.categories import Mention, Names
from llm4rec.recommend.tokens import ENDS, Reading, word_set

Phrases = Mapping[str, Sequence[list[str]]]
"""By their first word, the longest first."""


def _phrases(*listed: str) -> Phrases:
    found: dict[str, list[list[str]]] = defaultdict(list)
    for phrase in sorted(
        (text.strip().split() for texts in listed for text in texts.split(";")), key=len, reverse=True
    ):
        found[phrase[0]].append(phrase)
    return found


_EXCEPTIONS = "anything but; everything but; all but; any genre but; every genre but; anything else than; other than; "
_EXCEPTIONS += "apart from; aside from; all genres but; all categories but; "
_EXCEPTIONS += "but not; except for; except; excluding; exclude; without; w / o; neither"
_VERBS = ("want", "like", "need", "show", "give", "recommend", "include", "have", "watch", "play", "read", "enjoy")
_REFUSALS = _phrases(
    _EXCEPTIONS,
    "instead of; rather than; avoid; avoiding; leave out; not a fan of; not a big fan of; tired of; sick of",
    "bored of; fed up with; done with; had enough of; i hate; hate; i dislike; cant stand; can not stand",
    "cannot stand; skip; minus; nothing; not; no; isnt; arent; wasnt; non; stop showing me; stop showing",
    "stop recommending; free of; devoid of; not interested in; no interest in; not in the mood for",
    "not looking for; not keen on; not up for; not into; dont really like; dont feel like; do not feel like",
    "never liked; never like; dont care for; do not care for; cannot bear; cant bear; can not bear",
    "never show me; never show; too much; less; fewer",
    *(f"{negator} {verb}" for negator in ("do not", "dont", "does not", "doesnt", "didnt") for verb in _VERBS),
)
_LISTING = {tuple(phrase.split()) for phrase in _EXCEPTIONS.split("; ")}
"""After these commas and "and" make lists too, of which everything is refused."""
_SOFT = (["less"], ["fewer"])
"""What these come before is not wanted much, which shuts nothing out."""
_HARMLESS = _phrases(
    "not only; not just; not sure; not necessarily; not bad; not that; not yet; not long; no matter; no idea",
    "no problem; no longer; no one; no other than; none other than; nothing but; nothing beats",
    "nothing except; nothing other than; no genre except; not enough",
    "nothing better than; why not; no doubt; without a doubt; no rush; no preference; no worries; say no to",
    "is there no; are there no; arent there; isnt there; do you not; dont you have; never seen; never heard",
    "never read; never gets old; never tired of; not tired of; never get tired of; never tire of",
    "dont get tired of; do not get tired of; cant get enough of; no thanks; no thank you; no more than",
    "not more than; no less than; not less than; less than; fewer than; doesnt have to be; dont have to be",
    "does not have to be; doesnt need to be; does not need to be; dont you; why dont; why do not; cant you; cant find",
    "can not find; cannot find",
)
"""Looks like a refusal and is none."""
_FILLERS = word_set(
    "a an any the too very so overly really much more of to that is are it be too me my suitable meant intended "
    "appropriate aimed want watch see"
)
THINGS = word_set(
    "film films movie movies book books show shows song songs item items product products thing things stuff one ones "
    "something anything"
)
PREPOSITIONS = word_set(
    "with from in under over between before after about set made since for like where who on at by below above"
)
_NEW_CLAUSE = word_set("but please though although just rather i want instead maybe perhaps only")
_NEW_WISH = word_set("a an the for with something maybe i only more some rather just perhaps ideally preferably either")
"""After "and" or a comma these begin something that is wanted again."""
LONGEST_PART, LONGEST_NAME = 3, 4
"""Words that a part of a list may have, and tokens that a category may begin with like a refusal."""


def read_refusals(reading: Reading, names: Names) -> list[str]:
    """Categories that are not wanted are noted; what is not wanted besides is returned, in words."""
    words: list[str] = []
    refused: list[Mention] = []
    place = 0
    while place < len(reading.tokens):
        phrase, begin = _refusal_at(reading, names, place)
        stop = _scope(reading, names, phrase, begin) if phrase else begin
        if not phrase or stop == begin or not reading.is_free(place, begin):
            place += max(1, len(_phrase_at(reading, _HARMLESS, place)))
            continue
        mentions = [] if phrase in _SOFT else names.mentions(reading, begin, stop)
        refused += mentions
        named = {spot for mention in mentions for spot in range(mention.start, mention.stop)}
        if rest := _content(reading, [spot for spot in range(begin, stop) if spot not in named]):
            words.append(rest)
        reading.use(place, stop)
        place = stop
    wanted = {mention.category for mention in names.mentions(reading, 0, len(reading.tokens))}
    # "shoes, no black shoes": what is asked for is not shut out
    words += [" ".join(reading.words(m.start, m.stop)) for m in refused if m.category in wanted]
    reading.found["no_categories"] = tuple(dict.fromkeys(m.category for m in refused if m.category not in wanted))
    return words


def is_harmless(reading: Reading, place: int, stop: int) -> bool:
    """Whether what looks like a refusal at a place is none, by a phrase around it that ends before another place."""
    starts = range(max(0, place - 2), place + 1)
    found = ((start, _phrase_at(reading, _HARMLESS, start)) for start in starts)
    return any(phrase and place < start + len(phrase) <= stop for start, phrase in found)


def _content(reading: Reading, spots: Sequence[int]) -> str:
    """Words that say what is not wanted, without those that join and those that lead up to it."""
    tokens = [reading.tokens[spot] for spot in spots if not reading.used[spot]]
    telling = [t.text for t in tokens if t.kind != "mark" and t.text not in THINGS | {"or", "nor", "and"}]
    while telling and telling[0] in _FILLERS | PREPOSITIONS:
        telling = telling[1:]
    while telling and telling[-1] in _FILLERS:
        telling = telling[:-1]
    return " ".join(telling)


def _phrase_at(reading: Reading, phrases: Phrases, place: int) -> list[str]:
    """The longest of some phrases that begins at a place, empty without one."""
    for phrase in phrases.get(reading.tokens[place].text, ()):
        if reading.words(place, place + len(phrase)) == phrase:
            return phrase
    return []


def _refusal_at(reading: Reading, names: Names, place: int) -> tuple[list[str], int]:
    """The refusal that begins at a place, and where what is refused begins; no words without one."""
    phrase = _phrase_at(reading, _REFUSALS, place)
    stop = place + len(phrase)
    if not phrase or stop >= len(reading.tokens) or _phrase_at(reading, _HARMLESS, place):
        return [], place
    own = names.mentions(reading, place, place + LONGEST_NAME)
    if (own and own[0].start == place) or (phrase == ["nothing"] and reading.words(place - 1, place) == ["about"]):
        return [], place  # a category may begin so: "Non-Fiction"
    following = reading.tokens[stop]
    if following.text == ":":
        return phrase, stop + 1
    if following.kind == "mark" and phrase[-1] in {"no", "non", "not"}:
        # "no-nonsense" refuses nothing, "no, a comedy" answers; but "non-romantic" refuses
        after = names.mentions(reading, stop + 1, stop + 1 + LONGEST_NAME) if following.text == "-" else []
        return (phrase, stop + 1) if after and after[0].start == stop + 1 else ([], place)
    return phrase, stop


def _scope(reading: Reading, names: Names, phrase: list[str], begin: int) -> int:
    """Where what is refused ends: at the end of the clause, or where something else begins; `begin` if nothing is."""
    if phrase == ["non"]:
        return max((m.stop for m in names.mentions(reading, begin, begin + LONGEST_NAME)[:1]), default=begin)
    has_content = False
    for place in range(begin, len(reading.tokens)):
        token = reading.tokens[place]
        if token.text == "," and has_content:
            return _end_of_list(reading, names, phrase, begin, place)
        if token.text == "," or _ends_scope(reading, place, has_content):
            return place if has_content else begin
        leads_up = token.text in _FILLERS | THINGS | PREPOSITIONS or token.kind == "mark"
        has_content = has_content or not (leads_up or reading.used[place])
    return len(reading.tokens) if has_content else begin


def _ends_scope(reading: Reading, place: int, has_content: bool) -> bool:
    """Whether something else begins at a place, or the clause ends."""
    text = reading.tokens[place].text
    if text in ENDS or text in {"but", "please"} or _phrase_at(reading, _REFUSALS, place):
        return True
    if text == "and" and _NEW_WISH.intersection(reading.words(place + 1, place + 2)):
        return True
    return has_content and (text in _NEW_CLAUSE | PREPOSITIONS or reading.used[place])


def _end_of_list(reading: Reading, names: Names, phrase: list[str], begin: int, comma: int) -> int:
    """Where "X, Y or Z" ends whose first comma this is: at the comma if what follows is no such list.

    Names of categories do not go on a list of other words ("nothing heavy, comedy or drama"). Where "and" or nothing
    joins the last, it cannot be told whether the rest is refused or wanted; its categories are then left unread, but
    for lists of exceptions.
    """
    stop, parts, has_or = comma, [], False
    start = comma + 1
    for place in range(comma + 1, len(reading.tokens) + 1):
        text = reading.tokens[place].text if place < len(reading.tokens) else ";"
        if text in {",", "or", "nor", "and"} or text in _NEW_CLAUSE or _is_end(reading, place):
            if place > start:
                parts.append((start, place))
                stop = place
            has_or = has_or or text in {"or", "nor"}
            start = place + 1
            if text in _NEW_CLAUSE or _is_end(reading, place):
                break
    first_kind = _is_named(reading, names, begin, comma)
    alike = bool(parts) and all(
        stop - start <= LONGEST_PART
        and not _NEW_WISH.intersection(reading.words(start, start + 1))
        and not THINGS.intersection(reading.words(start, stop))
        and (first_kind or not _is_named(reading, names, start, stop))
        for start, stop in parts
    )
    ended_by_wish = stop < len(reading.tokens) and reading.tokens[stop].text in _NEW_CLAUSE - {"please"}
    if alike and not ended_by_wish and (has_or or tuple(phrase) in _LISTING):
        return stop
    if alike and first_kind and not ended_by_wish and "and" in reading.words(comma, stop):
        reading.kept[comma:stop] = [True] * (stop - comma)
    return comma


def _is_end(reading: Reading, place: int) -> bool:
    """Whether a list cannot go on at a place."""
    if place >= len(reading.tokens) or reading.used[place]:
        return True
    token = reading.tokens[place]
    is_mark = token.kind == "mark" and token.text not in {",", "-", "&"}
    return is_mark or token.text in PREPOSITIONS or bool(_phrase_at(reading, _REFUSALS, place))


def _is_named(reading: Reading, names: Names, start: int, stop: int) -> bool:
    """Whether some tokens, but for fillers, are the name of a category."""
    mentions = names.mentions(reading, start, stop)
    covered = {spot for mention in mentions for spot in range(mention.start, mention.stop)}
    left = [reading.tokens[spot].text for spot in range(start, stop) if spot not in covered]
    return bool(mentions) and all(word in _FILLERS | THINGS | PREPOSITIONS | {"or", "nor", "and"} for word in left)
