"""Display titles from the way MovieLens writes them."""

import re

_YEAR = re.compile(r"\s*\((\d{4})(?:-\d{0,4})?\)\s*$")
_ARTICLES = "The|A|An|Le|La|Les|L'|Il|Lo|I|El|Los|Las|Der|Die|Das|Det|Den|Un|Une"
_TRAILING_ARTICLE = re.compile(rf"([^()]+), ({_ARTICLES})(?=\s*(?:[()]|$))")


def split_year(title: str) -> tuple[str, int | None]:
    """Take the release year off a title.

    >>> split_year("Net, The (1995)")
    ('Net, The', 1995)
    >>> split_year("Babe")
    ('Babe', None)
    """
    found = _YEAR.search(title)
    return (title[: found.start()].strip(), int(found[1])) if found else (title.strip(), None)


def display_title(title: str, year: int | None) -> str:
    """Move articles back to the front, in alternative titles too, and add the year.

    >>> display_title("Tin Drum, The (Blechtrommel, Die)", 1979)
    'The Tin Drum (Die Blechtrommel) (1979)'
    """
    title = _TRAILING_ARTICLE.sub(_to_front, title)
    return title if year is None else f"{title} ({year})"


def _to_front(found: re.Match[str]) -> str:
    rest, article = found.groups()
    return f"{article}{rest}" if article.endswith("'") else f"{article} {rest}"
