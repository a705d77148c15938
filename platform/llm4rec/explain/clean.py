"""Catalogue text made safe to stand in a prompt or a sentence: it is data, and must stay data."""

import re
import unicodedata

TITLE_LIMIT = 120
PASSAGE_LIMIT = 500
# Markers that chat templates give a meaning: <|im_start|>, <|eot_id|>, [INST], <<SYS>>, <s>.
_ROLE_MARKER = re.compile(r"<\|[^<>|]{0,40}\|>|\[/?INST\]|<</?SYS>>|</?s>", re.IGNORECASE)


def clean(text: str, limit: int) -> str:
    """Text in NFKC on one line, without invisible characters and role markers, cut to `limit` characters."""
    # Twice the limit is plenty to cut from, and keeps hostile lengths out of the steps below.
    text = unicodedata.normalize("NFKC", text[: 2 * limit])
    text = "".join(" " if char.isspace() else char for char in text if char.isspace() or _visible(char))
    while (without := _ROLE_MARKER.sub("", text)) != text:  # removing one marker may join the halves of another
        text = without
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."


def clean_title(title: str) -> str:
    """A cleaned title without double quotes, which the sentences around it use to mark its ends."""
    return clean(title.replace('"', "'"), TITLE_LIMIT)


def _visible(char: str) -> bool:
    """Neither a control, format (zero-width, direction), private-use nor unassigned character."""
    return not unicodedata.category(char).startswith("C")
