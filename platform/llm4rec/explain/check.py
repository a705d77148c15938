"""The check, claim by claim, that a written reason says nothing which its grounds do not.

The check is strict rather than clever. Known titles are taken out first; what remains may hold only the closed list
of neutral words, supported categories and the evidence's own words and numbers. A reason that fails costs little
(the template answers instead), a false one that passes would cost trust.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from llm4rec.explain.grounds import Grounds
from llm4rec.explain.phrases import without_year
from llm4rec.explain.words import NEUTRAL, NUMBER_WORDS, PEOPLE, POPULARITY, SHARING

MAX_WORDS = 60
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_QUOTED = re.compile(r"\"([^\"]*)\"|“([^”]*)”|(?<!\w)'([^']*)'(?!\w)")
_MARKUP = re.compile(r"<[^>\s][^>]*>|<\||\|>|https?://|www\.|[{}\[\]`*#_\\|]")
_ENDED = re.compile(r"[.!?][\"”']?$")
_SLOT = "\ue000{}\ue001"  # private-use characters, which cleaning keeps out of all catalogue text
_SLOTS = re.compile("\ue000(\\d+)\ue001")
_ITEM = "0"  # the slot of the item itself, the first of all titles
_YOU_DID = re.compile(
    r"\byou(?:'ve|\s+have|\s+both|\s+also|\s+already|\s+recently)*\s+(\w+)([^.,;:!?]*)", re.IGNORECASE
)
_WHICH = re.compile('\ue000(\\d+)\ue001"?,? (?:which|that) $')
_OTHERS_DID = re.compile(rf"\b(?:{'|'.join(sorted(PEOPLE))})\b[^.,;:!?]*", re.IGNORECASE)
_DONE = frozenset(
    ("liked", "loved", "enjoyed", "saw", "seen", "rated", "watched", "found", "picked", "chosen", "wanted")
)


def unsupported_claims(text: str, grounds: Grounds, vocabulary: Iterable[str] = ()) -> list[str]:
    """What a reason says without support, kind by kind; empty where the reason may be shown.

    Args:
        text: the reason.
        grounds: all it may say.
        vocabulary: every category of the catalogue; their words need support even where they are everyday words.
    """
    text = _without_reviews(text, grounds)
    masked = _mask(text, grounds.titles)
    if problem := _form(text, masked):
        return [problem]
    rest = _SLOTS.sub(" ", masked)
    told = [passage.text for passage in grounds.passages if passage.source != "reviews"]
    evidence = _SLOTS.sub(" ", " ".join(_mask(passage, grounds.titles) for passage in told))
    claims = [
        *_quotes(masked),
        *_numbers(rest, evidence),
        *_names(rest, grounds),
        *_words(rest, evidence, grounds, vocabulary),
        *_relations(rest, grounds),
        *_you_statements(masked, grounds),
        *_others_statements(masked, grounds),
        *_repetitions(rest, grounds),
    ]
    return list(dict.fromkeys(claims))


def _without_reviews(text: str, grounds: Grounds) -> str:
    """The text without reviews that it quotes word for word; "review" has no place in what is left."""
    for passage in grounds.from_source("reviews"):
        quotation = f' A review says: "{passage.text}"'
        if not _MARKUP.search(passage.text) and text.count(quotation) == 1:
            text = text.replace(quotation, "")
    return text


def _form(text: str, masked: str) -> str:
    """What is wrong with the form of a reason, empty if nothing is; titles may hold any mark, they are data."""
    if not text.strip():
        return "empty text"
    if found := _MARKUP.search(masked):
        return f"markup or prompt text {found[0]!r}"
    if any(ord(char) < 32 or "\ue000" <= char <= "\uf8ff" for char in text):
        return "control characters or more than one line"
    if text.count('"') % 2:
        return "a quotation without an end"
    if len(_SLOTS.sub("title", masked).split()) > MAX_WORDS:
        return f"longer than {MAX_WORDS} words"
    return "" if _ENDED.search(text.strip()) else "unfinished sentence"


def _mask(text: str, titles: Sequence[str]) -> str:
    """The text with every mention of a title replaced by a slot that holds the title's number.

    A title of marks and neutral words alone, such as "..." or "and", is mentioned in quotes only: elsewhere they are
    the sentence's.
    """
    numbers = {name: number for number, title in reversed(list(enumerate(titles))) for name in _names_of(title)}
    if not numbers:
        return text
    longest_first = "|".join(_mention(name) for name in sorted(numbers, key=len, reverse=True))
    return re.sub(longest_first, lambda found: _SLOT.format(numbers[found[0]]), text)


def _mention(name: str) -> str:
    """The pattern of a title where it is one: "sci" is none in "sci-fi"."""
    telling = _NUMBER.search(name) or any(word not in NEUTRAL for word in _WORD.findall(name))
    before, after = ("(?<![\\w-])", "(?![\\w-])") if telling else ('(?<=["“])', '(?=["”])')
    return before + re.escape(name) + after


def _names_of(title: str) -> set[str]:
    """Ways to write a title: with and without its year, its subtitle and its leading article."""
    name = without_year(title)
    names = {title, name, name.split(":")[0], re.sub(r"^(The|A|An) ", "", name)}
    return {name.strip() for name in names if name.strip()}


def _quotes(masked: str) -> Iterator[str]:
    for found in _QUOTED.finditer(masked):
        content = "".join(part or "" for part in found.groups())
        if _SLOTS.sub("", content).strip(" ,.!?"):
            yield f"quotation {_SLOTS.sub('...', content)!r}"


def _numbers(rest: str, evidence: str) -> list[str]:
    known = set(_NUMBER.findall(evidence))
    spelled = [word for word in _words_of(rest) if word in NUMBER_WORDS]
    return [f"number {number}" for number in [*_NUMBER.findall(rest), *spelled] if number not in known]


def _names(rest: str, grounds: Grounds) -> Iterator[str]:
    """Capitalised words inside a sentence; the first word of a sentence is left to the check of words."""
    allowed = {"i"} | _category_words(grounds.categories)
    for found in _WORD.finditer(rest):
        before = rest[: found.start()].rstrip(" \"“'")
        inside = bool(before) and before[-1] not in ".!?:"
        if inside and found[0][0].isupper() and found[0].lower() not in allowed:
            yield f"name {found[0]!r}"


def _words(rest: str, evidence: str, grounds: Grounds, vocabulary: Iterable[str]) -> list[str]:
    """Words that are neither neutral nor backed by the evidence; a shared category must really be shared."""
    guarded = {category.lower() for category in vocabulary}
    used = _words_of(rest)
    shares = bool(SHARING.intersection(used))
    backed = _words_of(evidence)
    allowed = (NEUTRAL - guarded) | {grounds.verb} | _category_words(grounds.shared if shares else grounds.categories)
    allowed |= {word for word in backed if not shares or word not in _category_words(grounds.categories)}
    return [f"word {word!r}" for word in used if word not in allowed and word not in NUMBER_WORDS]


def _relations(rest: str, grounds: Grounds) -> Iterator[str]:
    """Kinds of statement that need a kind of evidence."""
    used = set(_words_of(rest))
    if used & SHARING and not grounds.shared:
        yield "shared categories, of which there are none"
    if used & POPULARITY and not grounds.from_source("popularity"):
        yield "popularity, of which there is no evidence"
    if used & PEOPLE and not grounds.from_source("similar_users") and not grounds.from_source("popularity"):
        yield "other people, of whom there is no evidence"


def _you_statements(masked: str, grounds: Grounds) -> Iterator[str]:
    """Past deeds of the user, each of which must name history items only."""
    anchors = {str(number) for number, title in enumerate(grounds.titles) if title in grounds.anchors}
    for found in _YOU_DID.finditer(masked):
        if found[1].lower() not in _DONE | {grounds.verb}:
            continue
        named = _SLOTS.findall(found[2]) or _WHICH.findall(masked[: found.start()])
        if not named or not anchors.issuperset(named):
            yield f"statement about the user {_SLOTS.sub('...', found[0]).strip()!r}"


def _others_statements(masked: str, grounds: Grounds) -> Iterator[str]:
    """What other people liked, which must be the item and the titles that the similar users' passages name."""
    liked = {grounds.title, *(title for passage in grounds.from_source("similar_users") for title in passage.subjects)}
    numbers = {str(number) for number, title in enumerate(grounds.titles) if title in liked}
    for found in _OTHERS_DID.finditer(masked):
        before, _, after = (set(_SLOTS.findall(part)) for part in found[0].partition(" also "))
        circular = after == {_ITEM} and not before - {_ITEM}  # who liked it liked it
        if circular or not numbers.issuperset(before | after):
            yield f"statement about other people {_SLOTS.sub('...', found[0]).strip()!r}"


def _repetitions(rest: str, grounds: Grounds) -> Iterator[str]:
    """Categories named more than once: the model lost its thread."""
    categories = _category_words(grounds.categories)
    counts = Counter(word for word in _words_of(rest) if word in categories)
    yield from (f"repeated {word!r}" for word, count in counts.items() if count > 1)


def _category_words(categories: Iterable[str]) -> set[str]:
    """The words of categories, in singular and plural."""
    words = set(_words_of(" ".join(categories)))
    plurals = {f"{word}s" for word in words} | {f"{word[:-1]}ies" for word in words if word.endswith("y")}
    return words | plurals


def _words_of(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]
