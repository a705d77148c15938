"""What catalogues hold beside the truth: HTML in texts, prices as shops print them, words for "not known"."""

import html
import math
import re
from html.entities import html5

# ML-100K and its RecBole copy spell one missing title, year and genre like this.
MISSING_NAMES = frozenset({"", "unknown", "unkonwn", "(no genres listed)"})
"""Titles and categories that mean that there is none."""
_MISSING_NUMBERS = MISSING_NAMES | {"-", "--", "–", "—", "n/a", "na", "nan", "none", "null", "\\n", "?"}

_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_INLINE = "a|abbr|acronym|b|big|cite|code|dfn|em|font|i|ins|del|kbd|mark|q|s|small|span|strike|strong|sub|sup|tt|u|var"
_BLOCK = (
    "address|article|aside|audio|blockquote|body|br|button|caption|center|col|colgroup|dd|div|dl|dt|embed|fieldset|"
    "figcaption|figure|footer|form|h[1-6]|head|header|hr|html|iframe|img|input|label|legend|li|link|main|map|meta|nav|"
    "noscript|object|ol|option|p|param|picture|pre|section|select|source|table|tbody|td|textarea|tfoot|th|thead|title|"
    "tr|ul|video|wbr"
)
_INLINE_TAG = re.compile(rf"</?(?:{_INLINE})(?:\s[^<>]*)?/?>", re.I)
_BLOCK_TAG = re.compile(rf"</?(?:{_BLOCK})(?:\s[^<>]*)?/?>", re.I)
# What stands between an opening and its end is not shown; " " takes its place.
_UNSHOWN = (
    (re.compile("<!--"), re.compile("-->")),
    (
        re.compile(r"<(?:script|style)(?:\s[^<>]*)?>", re.I),
        re.compile(r"</(?:script|style)\s*>", re.I),
    ),
)
_UNPRINTED = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\u200b\ufeff]")
_BLANKS = re.compile(r"[ \t\u00a0]+")
_LINE_ENDS = re.compile(r" ?[\r\n\x0b\x0c\x1c-\x1f\x85\u2028\u2029]\s*")

_MARKS = ".,'’ \u00a0\u202f"
_CURRENCY = r"(?:[A-Z]{1,2}\$|[A-Z]{3}|[$€£¥₹₩₽฿₺₫₴₪]|kr|zł)"
_AMOUNT = rf"[0-9]+(?:[{_MARKS}][0-9]+)*"
_PRICE = re.compile(
    rf"(?:(?i:from|starting at) )?{_CURRENCY}? ?({_AMOUNT}) ?{_CURRENCY}?"
    rf"(?: ?(?:[-–—]|to) ?{_CURRENCY}? ?{_AMOUNT} ?{_CURRENCY}?)?"
)
# 1,299,000 or, in India, 12,99,000.
_GROUPED = re.compile(rf"[0-9]{{1,3}}(?:([{_MARKS}])[0-9]{{2,3}})?(?:\1[0-9]{{2,3}})*(?<=[0-9]{{3}})")


def clean_text(text: str) -> str:
    r"""Text without HTML: entities become letters, block tags line ends, other tags and control characters nothing.

    Only names of HTML count as tags, so "5 < 6", "<3" and "<unnamed>" stay.

    >>> clean_text("Caf&eacute; &amp;amp; <b>Bar</b><br/>Open  daily")
    'Café & Bar\nOpen daily'
    """
    if "&" in text:
        for _ in range(3):  # shops escape what was escaped already
            text, count = _ENTITY.subn(_letter, text)
            if not count:
                break
    if "<" in text:
        for opening, closing in _UNSHOWN:
            text = _without(text, opening, closing)
        text = _BLOCK_TAG.sub("\n", _INLINE_TAG.sub("", text))
    text = _BLANKS.sub(" ", _UNPRINTED.sub("", text))
    return storable(_LINE_ENDS.sub("\n", text).strip())


def storable(text: str) -> str:
    """Text that UTF-8 can hold: half a surrogate pair becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def parse_price(text: str) -> float | None:
    """The number in a price as shops print it, the lower one of a range; None where there is no price.

    The last of the marks between digits is the decimal one, unless it stands more than once, or is a space, an
    apostrophe, or a lone comma with three digits behind it: those separate thousands.

    >>> [parse_price(text) for text in ("$1,299.00", "1.299,00 €", "from 12.99", "CHF 5", "3 - 4", "—", "3 for 2")]
    [1299.0, 1299.0, 12.99, 5.0, 3.0, None, None]
    """
    found = _PRICE.fullmatch(_BLANKS.sub(" ", text.strip()))
    return None if found is None else _amount(found[1])


def is_missing_number(text: str) -> bool:
    """Whether a cell says that a number is not known."""
    return text.strip().casefold() in _MISSING_NUMBERS


def _amount(text: str) -> float | None:
    """The value of digits with marks between them; None where they are in no order that numbers are written in."""
    last = max(text.rfind(mark) for mark in _MARKS)
    if last < 0:
        return _finite(text)
    whole, mark, rest = text[:last], text[last], text[last + 1 :]
    is_lone_comma = mark == "," and len(rest) == 3 and 1 <= len(whole) <= 3
    if mark not in ".," or mark in whole or is_lone_comma:
        whole, rest = text, ""
    is_written_so = whole.isdecimal() or _GROUPED.fullmatch(whole)
    return _finite("".join(filter(str.isdecimal, whole)) + "." + rest) if is_written_so else None


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _without(text: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str:
    """Text without what stands between an opening and the next closing; an opening that is never closed goes alone."""
    first, *rest = opening.split(text)
    ends = (closing.search(part) for part in rest)
    return " ".join([first, *(part[end.end() :] if end else part for part, end in zip(rest, ends, strict=True))])


def _letter(found: re.Match[str]) -> str:
    entity = found[0]
    return html.unescape(entity) if entity[1] == "#" else html5.get(entity[1:], entity)
