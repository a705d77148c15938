"""Reasons with their titles taken out, so that nothing in a title is taken for what the sentence says."""

import re
from collections.abc import Iterable, Sequence

from llm4rec.explain.phrases import without_year
from llm4rec.explain.words import NEUTRAL

WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
SLOTS = re.compile("\ue000(\\d+)\ue001")  # private-use characters, which cleaning keeps out of all catalogue text
ITEM = "0"
"""The slot of the item itself, the first of all titles."""


def masked(text: str, titles: Sequence[str]) -> str:
    """The text with every mention of a title replaced by a slot that holds the title's number.

    A title of marks and neutral words alone, such as "..." or "and", is mentioned in quotes only: elsewhere they are
    the sentence's.
    """
    numbers = {name: number for number, title in reversed(list(enumerate(titles))) for name in _names_of(title)}
    if not numbers:
        return text
    longest_first = "|".join(_mention(name) for name in sorted(numbers, key=len, reverse=True))
    return re.sub(longest_first, lambda found: f"\ue000{numbers[found[0]]}\ue001", text)


def words_of(text: str) -> list[str]:
    """The words of a text, in lower case."""
    return [word.lower() for word in WORD.findall(text)]


def category_words(categories: Iterable[str]) -> set[str]:
    """The words of categories, in singular and plural."""
    words = set(words_of(" ".join(categories)))
    plurals = {f"{word}s" for word in words} | {f"{word[:-1]}ies" for word in words if word.endswith("y")}
    return words | plurals


def _mention(name: str) -> str:
    """The pattern of a title where it is one: "sci" is none in "sci-fi"."""
    telling = NUMBER.search(name) or any(word not in NEUTRAL for word in words_of(name))
    before, after = ("(?<![\\w-])", "(?![\\w-])") if telling else ('(?<=["“])', '(?=["”])')
    return before + re.escape(name) + after


def _names_of(title: str) -> set[str]:
    """Ways to write a title: with and without its year, its subtitle and its leading article."""
    name = without_year(title)
    names = {title, name, name.split(":")[0], re.sub(r"^(The|A|An) ", "", name)}
    return {name.strip() for name in names if name.strip()}
