"""Who is said to have done what, and of which title something is said.

Each rule names the few forms a statement may have and refuses every other, so that a wording nobody thought of costs
a template and not the truth.
"""

import re
from collections.abc import Iterator

from llm4rec.explain.grounds import Grounds
from llm4rec.explain.masked import ITEM, NUMBER, SLOTS, WORD, category_words, words_of
from llm4rec.explain.words import ADVERBS, DEEDS, DONE, GERUNDS, MODALS, PAST, PEOPLE, TO_YOU, TRY

_CLAUSE = re.compile(r"[^.,;:!?]+")
_SENTENCE = re.compile(r"(?<=[.!?])[\"”']?\s+")
_YOU = re.compile(r"\byou(?:['’](?:ve|re|ll|d))?(?![\w'’-])", re.IGNORECASE)
_PEOPLE = re.compile(rf"\b(?:{'|'.join(sorted(PEOPLE))})(?![\w'’-])", re.IGNORECASE)
_HAVING = re.compile(r"\bhaving\b", re.IGNORECASE)
_DOING = re.compile(rf"\b(?<!worth )(?:{'|'.join(sorted(GERUNDS))})\b", re.IGNORECASE)
_WHICH = re.compile('\ue000(\\d+)\ue001"?,? (?:which|that) $')
_ALL = re.compile(r"\ball\b(?! (?:are|have|share)\b)", re.IGNORECASE)
_ENUMERATED = re.compile(
    rf',(?= (?:and |or )?["“]?{SLOTS.pattern}["”]?(?: (?:and|or|too)(?![\w\'’-])|[,.;:!?]|$))', re.IGNORECASE
)
"""A comma between titles of one list: "Alien", "Heat" and "Fargo"; none before ", and "Fargo" is similar"."""
_TRY = re.compile(rf'\b(?:{"|".join(sorted(TRY))}) ["“]?{SLOTS.pattern}', re.IGNORECASE)
_IDENTITY = re.compile(
    rf'\b(?:is|are|was|be) ["“]?{SLOTS.pattern}|\bsame (?:film|movie|title|item|one)s?\b', re.IGNORECASE
)
_COUNT = re.compile(rf"\bby ({NUMBER.pattern}) (?:people|person)\b|({NUMBER.pattern}) on average")
_CLAUSE_WORDS = re.compile(f"{WORD.pattern}|{NUMBER.pattern}")
_IT = frozenset(("it", "it's", "its"))
_LIKED = DEEDS - {"rated", "chosen"}
"""Deeds that a count of people does not tell of."""


def user_statements(text: str, grounds: Grounds) -> Iterator[str]:
    """Statements about the user other than that he watched, or liked, the history items.

    Args:
        text: a reason whose titles are masked.
        grounds: what it may say.
    """
    anchors = {str(number) for number, title in enumerate(grounds.titles) if title in grounds.anchors}
    may_be_said = DONE | {grounds.verb}
    no_more = (PAST - may_be_said) | category_words(grounds.categories)  # "and loved it", "for the action"

    def is_true(did: str, named: list[str], rest: str) -> bool:
        known = did in may_be_said and no_more.isdisjoint(words_of(rest))
        return known and bool(named) and anchors.issuperset(named)

    text = _ENUMERATED.sub(" ", text)
    for found in _YOU.finditer(text):
        rest = _clause_from(text, found.end())
        named = SLOTS.findall(rest) or _WHICH.findall(text[: found.start()])
        words = _with_verb(found[0], rest)
        if words[:1] and words[0] in MODALS and named and named[0] != ITEM and words[1:2] != ["have"]:
            yield f"recommendation of another title {_shown(found[0] + rest)!r}"
        did = next((word for word in words if word != "have"), "")
        if _says_of_user(_before(text, found.start()), words, grounds.verb) and not is_true(did, named, rest):
            yield f"statement about the user {_shown(found[0] + rest)!r}"
    for found in _HAVING.finditer(text):
        rest = _clause_from(text, found.end())
        did = next((word for word in words_of(rest) if word not in ADVERBS), "")
        if did in DEEDS | {grounds.verb} and not is_true(did, SLOTS.findall(rest), rest):
            yield f"statement about the user {_shown(found[0] + rest)!r}"
    for found in _DOING.finditer(text):
        rest = _clause_from(text, found.end())
        if not is_true(grounds.verb, SLOTS.findall(rest), rest):
            yield f"statement about the user {_shown(found[0] + rest)!r}"


def _with_verb(you: str, rest: str) -> list[str]:
    """The words behind "you" from its verb on, a contracted one included."""
    contracted = {"ve": ["have"], "re": ["are"], "ll": ["will"], "d": ["would"]}.get(re.split("['’]", you)[-1].lower())
    return (contracted or []) + [word for word in words_of(SLOTS.sub(" ", rest)) if word not in ADVERBS]


def _says_of_user(before: str, did: list[str], verb: str) -> bool:
    """Whether words behind "you" are about what he did, is or wants; not where he may do something, or is given it."""
    if did[:1] and did[0] in MODALS:
        return did[1:2] == ["have"]
    if did[:3] == ["find", "it", "under"]:
        return False
    return before not in TO_YOU or bool(did[:1] and did[0] in DEEDS | {"have", "are", verb})


def others_statements(text: str, grounds: Grounds) -> Iterator[str]:
    """Statements about other people that no passage makes: of whom, of which items, or of what they like."""
    similar, counted = grounds.from_source("similar_users"), grounds.from_source("popularity")
    liked = {grounds.title, *(title for passage in similar for title in passage.subjects)}
    numbers = {str(number) for number, title in enumerate(grounds.titles) if title in liked}
    categories = category_words(grounds.categories)
    for clause in _CLAUSE.findall(_ENUMERATED.sub(" ", text)):
        if not (found := _PEOPLE.search(clause)):
            continue
        passive = "by" in words_of(clause[: found.start()])  # "it was liked by people who ..."
        said = clause if passive else clause[found.start() :]
        words = set(words_of(SLOTS.sub(" ", said)))
        before, _, after = (set(SLOTS.findall(part)) for part in said.partition(" also "))
        likes = bool(words & _LIKED) or "of" in words
        of_item = ITEM in SLOTS.findall(clause) or "it" in words_of(clause)
        wrong = (
            not (similar if likes else similar or counted)
            or (likes and not of_item)
            or (likes and NUMBER.search(SLOTS.sub(" ", clause)) is not None)  # a count is of those who rated
            or (after == {ITEM} and not before - {ITEM})  # who liked it liked it
            or not numbers.issuperset(before | after)
            or not words.isdisjoint(categories)
        )
        if wrong:
            yield f"statement about other people {_shown(said)!r}"
    yield from (f"statement about other people {found[0]!r}" for found in _ALL.finditer(text))


def deeds_of_nobody(text: str, grounds: Grounds) -> Iterator[str]:
    """Past deeds in a clause that names neither the user nor other people: "a much liked film"."""
    past = PAST | ({grounds.verb} - {"rated"})  # of what was rated there is a count, and no people need be named
    for clause in _CLAUSE.findall(text):
        if not (_YOU.search(clause) or _PEOPLE.search(clause) or _HAVING.search(clause)):
            words = words_of(SLOTS.sub(" ", clause))
            yield from (f"deed of nobody {word!r}" for word in words if word in past)


def misplaced(text: str, grounds: Grounds) -> Iterator[str]:
    """What is said of another title than the item, but for what history items share with it.

    Other titles stand in what other people liked, and nowhere else. Where a sentence names a history item, what it does
    not share, and counts, are said in a clause that names the item, or "it", and no other title.
    """
    own, shared = category_words(grounds.categories), category_words(grounds.shared)
    anchors = {str(number) for number, title in enumerate(grounds.titles) if title in grounds.anchors}
    for found in (*_TRY.finditer(text), *_IDENTITY.finditer(text)):
        if found[1] != ITEM:
            yield f"statement about another title {_shown(found[0])!r}"
    for sentence in _SENTENCE.split(_lists_joined(text, grounds)):
        names_anchor = not anchors.isdisjoint(SLOTS.findall(sentence))
        for clause in _CLAUSE.findall(sentence):
            named = set(SLOTS.findall(clause))
            people = _PEOPLE.search(clause)
            before_people = clause if people is None else clause[: people.start()]
            if not anchors.union([ITEM]).issuperset(SLOTS.findall(before_people)):
                yield f"statement about another title {_shown(clause)!r}"
            said = _CLAUSE_WORDS.findall(SLOTS.sub(" ", clause).lower())
            of_item = named <= {ITEM} and (ITEM in named or not _IT.isdisjoint(said))
            if names_anchor and not of_item:
                yield from (
                    f"{word!r} said of another title"
                    for word in said
                    if NUMBER.fullmatch(word) or (word in own and word not in shared)
                )


def _lists_joined(text: str, grounds: Grounds) -> str:
    """The text without commas in lists of titles and of categories, which end no clause."""
    text = _ENUMERATED.sub(" ", text)
    if not grounds.categories:
        return text
    names = "|".join(re.escape(category) for category in sorted(grounds.categories, key=len, reverse=True))
    return re.sub(rf",(?= (?:{names})(?: and | or |[,.;:!?]|$))", " ", text, flags=re.IGNORECASE)


def counts(text: str, evidence: str, grounds: Grounds) -> Iterator[str]:
    """Numbers that do not stand as the evidence has them: "by 284 people", "3.9 on average"."""
    for category in grounds.categories:  # a name may hold a number
        text = re.sub(re.escape(category), " ", text, flags=re.IGNORECASE)
    bare = SLOTS.sub(" ", text)
    known = {found[0] for found in _COUNT.finditer(evidence)}
    told = [found for found in _COUNT.finditer(bare) if found[0] in known]
    covered = {place for found in told for place in range(*found.span())}
    for found in NUMBER.finditer(bare):
        if found.start() not in covered:
            yield f"number {found[0]}"


def _clause_from(text: str, start: int) -> str:
    found = _CLAUSE.match(text, start)
    return found[0] if found else ""


def _before(text: str, start: int) -> str:
    """The word before a place, in lower case; empty at the beginning."""
    return next(reversed(words_of(SLOTS.sub(" ", text[:start]))), "")


def _shown(statement: str) -> str:
    return SLOTS.sub("...", statement).strip()
