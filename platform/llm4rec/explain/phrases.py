"""Small pieces of English that templates and prompts share."""

import re
from collections.abc import Sequence

_YEAR = re.compile(r"\s*\(\d{4}\)$")


def quoted(title: str) -> str:
    """A title in double quotes."""
    return f'"{title}"'


def without_year(title: str) -> str:
    """A title without the "(1979)" at its end."""
    return _YEAR.sub("", title)


def listed(parts: Sequence[str]) -> str:
    """Parts as English lists them: "A", "A and B", "A, B and C"."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def lowered(categories: Sequence[str]) -> str:
    """Categories inside a sentence: lower case, but for acronyms."""
    return listed([category if category.isupper() else category.lower() for category in categories])


def capitalised(sentence: str) -> str:
    """A sentence with its first letter in upper case, the rest as it was."""
    return sentence[:1].upper() + sentence[1:]
