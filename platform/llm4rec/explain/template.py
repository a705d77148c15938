"""The reason that always works: a plain sentence built from the grounds alone, the same for the same grounds."""

import hashlib
from collections.abc import Callable, Sequence

from llm4rec.explain.grounds import Grounds
from llm4rec.explain.phrases import capitalised, listed, lowered, quoted

_ANCHORED = (
    "you {verb} {anchors}, and {item} is similar",
    "because you {verb} {anchors}, {item} may be for you",
    "{item} is close to {anchors}, which you {verb}",
    "having {verb} {anchors}, you may like {item} next",
)
_UNANCHORED = ("{item} may be for you", "{item} is worth a look", "you may like {item}", "here is {item} to try")
_SHARED = ("{both} are filed under {categories}", "they have {categories} in common", "they share {categories}")
_OWN = ("it is filed under {categories}", "you find it under {categories}", "among its categories {are} {categories}")
_LIKED_TOO = (
    "people who liked it also liked {others}",
    "people who enjoyed {others} liked it too",
    "it was liked by people who liked {others}",
)
_NUM_CATEGORIES = 3

Pick = Callable[[Sequence[str], Grounds], str]


def pick_by_hash(wordings: Sequence[str], grounds: Grounds) -> str:
    """The wording that this item and these anchors always get."""
    key = "\0".join([wordings[0], grounds.item_id, *grounds.anchors])
    return wordings[int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) % len(wordings)]


def template_reason(grounds: Grounds, pick: Pick = pick_by_hash) -> str:
    """A sentence or two, for example: You watched "Alien", and "Aliens" is similar: they share horror.

    Args:
        grounds: all they may say.
        pick: chooses among wordings.
    """
    found = _clauses(grounds, pick)
    return opening(grounds, pick) + (f": {found}." if found else ".") + _further(grounds)


def opening(grounds: Grounds, pick: Pick = pick_by_hash) -> str:
    """How it begins: the item, and the history items that speak for it."""
    anchors = listed([quoted(anchor) for anchor in grounds.anchors])
    wording = pick(_ANCHORED if grounds.anchors else _UNANCHORED, grounds)
    return capitalised(wording.format(verb=grounds.verb, item=quoted(grounds.title), anchors=anchors))


def details(grounds: Grounds, pick: Pick = pick_by_hash) -> str:
    """What comes behind the colon, to the end; empty where there is no colon."""
    found = _clauses(grounds, pick)
    return f"{found}.{_further(grounds)}" if found else ""


def _clauses(grounds: Grounds, pick: Pick) -> str:
    shown = (grounds.shared or grounds.categories)[:_NUM_CATEGORIES]
    categories = lowered(shown)
    others = listed([quoted(title) for title in liked_too(grounds)])
    found = []
    if categories:
        wording = pick(_SHARED if grounds.shared else _OWN, grounds)
        both, are = ("both" if len(grounds.anchors) == 1 else "all"), ("are" if len(shown) > 1 else "is")
        found.append(wording.format(categories=categories, both=both, are=are))
    if others:
        found.append(pick(_LIKED_TOO, grounds).format(others=others))
    return ", and ".join(found)


def _further(grounds: Grounds) -> str:
    """Sentences of their own behind the first."""
    return _popularity(grounds) + _review(grounds)


def liked_too(grounds: Grounds) -> list[str]:
    """Titles that similar users liked, at most two, the user's own history items first."""
    others = [title for passage in grounds.from_source("similar_users") for title in passage.subjects]
    return sorted(others, key=lambda title: title not in grounds.anchors)[:2]


def _popularity(grounds: Grounds) -> str:
    """The popularity passage as a sentence of its own, where nothing more personal is known."""
    passages = grounds.from_source("popularity")
    return f" {passages[0].text}" if passages and not grounds.anchors else ""


def _review(grounds: Grounds) -> str:
    """A sentence of a review as a sentence of its own, word for word; empty where there is none."""
    written = grounds.from_source("reviews")
    return f" A review says: {quoted(written[0].text)}" if written else ""
