"""The check, claim by claim, that a written reason says nothing which its grounds do not.

The check is strict rather than clever. Known titles are taken out first; what remains may hold only the closed list
of neutral words, supported categories and the evidence's own words and numbers. A reason that fails costs little
(the template answers instead), a false one that passes would cost trust.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from llm4rec.explain.grounds import Grounds
from llm4rec.explain.masked import SLOTS, WORD, category_words, masked, words_of
from llm4rec.explain.statements import counts, deeds_of_nobody, misplaced, others_statements, user_statements
from llm4rec.explain.words import NEUTRAL, NUMBER_WORDS, PEOPLE, POPULARITY, SHARING

MAX_WORDS = 60
_QUOTED = re.compile(r"\"([^\"]*)\"|“([^”]*)”|(?<!\w)'([^']*)'(?!\w)")
_MARKUP = re.compile(r"<[^>\s][^>]*>|<\||\|>|https?://|www\.|[{}\[\]`*#_\\|]")
_ENDED = re.compile(r"[.!?][\"”']?$")


def unsupported_claims(text: str, grounds: Grounds, vocabulary: Iterable[str] = ()) -> list[str]:
    """What a reason says without support, kind by kind; empty where the reason may be shown.

    Args:
        text: the reason.
        grounds: all it may say.
        vocabulary: every category of the catalogue; their words need support even where they are everyday words.
    """
    text = _without_reviews(text, grounds)
    slotted = masked(text, grounds.titles)
    if problem := _form(text, slotted):
        return [problem]
    rest = SLOTS.sub(" ", slotted)
    told = [passage.text for passage in grounds.passages if passage.source != "reviews"]
    evidence = SLOTS.sub(" ", " ".join(masked(passage, grounds.titles) for passage in told))
    claims = [
        *_quotes(slotted),
        *counts(slotted, evidence, grounds),
        *_spelled(rest, evidence),
        *_names(rest, grounds),
        *_words(rest, evidence, grounds, vocabulary),
        *_relations(rest, grounds),
        *user_statements(slotted, grounds),
        *others_statements(slotted, grounds),
        *deeds_of_nobody(slotted, grounds),
        *misplaced(slotted, grounds),
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


def _form(text: str, slotted: str) -> str:
    """What is wrong with the form of a reason, empty if nothing is; titles may hold any mark, they are data."""
    if not text.strip():
        return "empty text"
    if found := _MARKUP.search(slotted):
        return f"markup or prompt text {found[0]!r}"
    if any(ord(char) < 32 or "\ue000" <= char <= "\uf8ff" for char in text):
        return "control characters or more than one line"
    if text.count('"') % 2:
        return "a quotation without an end"
    if len(SLOTS.sub("title", slotted).split()) > MAX_WORDS:
        return f"longer than {MAX_WORDS} words"
    return "" if _ENDED.search(text.strip()) else "unfinished sentence"


def _quotes(slotted: str) -> Iterator[str]:
    for found in _QUOTED.finditer(slotted):
        content = "".join(part or "" for part in found.groups())
        if SLOTS.sub("", content).strip(" ,.!?"):
            yield f"quotation {SLOTS.sub('...', content)!r}"


def _spelled(rest: str, evidence: str) -> list[str]:
    known = set(words_of(evidence))
    return [f"number {word}" for word in words_of(rest) if word in NUMBER_WORDS and word not in known]


def _names(rest: str, grounds: Grounds) -> Iterator[str]:
    """Capitalised words inside a sentence; the first word of a sentence is left to the check of words."""
    allowed = {"i"} | category_words(grounds.categories)
    for found in WORD.finditer(rest):
        before = rest[: found.start()].rstrip(" \"“'")
        inside = bool(before) and before[-1] not in ".!?:"
        if inside and found[0][0].isupper() and found[0].lower() not in allowed:
            yield f"name {found[0]!r}"


def _words(rest: str, evidence: str, grounds: Grounds, vocabulary: Iterable[str]) -> list[str]:
    """Words that are neither neutral nor backed by the evidence; a shared category must really be shared."""
    guarded = {category.lower() for category in vocabulary}
    used = words_of(rest)
    shares = bool(SHARING.intersection(used))
    backed = words_of(evidence)
    allowed = (NEUTRAL - guarded) | {grounds.verb} | category_words(grounds.shared if shares else grounds.categories)
    allowed |= {word for word in backed if not shares or word not in category_words(grounds.categories)}
    return [f"word {word!r}" for word in used if word not in allowed and word not in NUMBER_WORDS]


def _relations(rest: str, grounds: Grounds) -> Iterator[str]:
    """Kinds of statement that need a kind of evidence."""
    used = set(words_of(rest))
    if used & SHARING and not grounds.shared:
        yield "shared categories, of which there are none"
    if used & POPULARITY and not grounds.from_source("popularity"):
        yield "popularity, of which there is no evidence"
    if used & PEOPLE and not grounds.from_source("similar_users") and not grounds.from_source("popularity"):
        yield "other people, of whom there is no evidence"


def _repetitions(rest: str, grounds: Grounds) -> Iterator[str]:
    """Categories named more than once: the model lost its thread."""
    categories = category_words(grounds.categories)
    counts = Counter(word for word in words_of(rest) if word in categories)
    yield from (f"repeated {word!r}" for word, count in counts.items() if count > 1)
