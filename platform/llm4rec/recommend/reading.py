"""A text of which parts have been understood."""

import re
from collections.abc import Iterator
from typing import Any


class Reading:
    """A text, and what was found in it; what has been understood is blotted out, so that it is understood once.

    Attributes:
        text: as it came.
        found: fields of `Filters` by name.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.found: dict[str, Any] = {}
        self._open = [True] * len(text)

    def take(self, pattern: str) -> Iterator[re.Match[str]]:
        """Every match of which nothing was understood before; from now on it is."""
        for match in re.finditer(pattern, self.text, re.IGNORECASE):
            if all(self._open[match.start() : match.end()]):
                self.mark(match.span(), is_open=False)
                yield match

    def mark(self, span: tuple[int, int], *, is_open: bool) -> None:
        """Say whether a part still counts among the words of the text."""
        self._open[slice(*span)] = [is_open] * (span[1] - span[0])

    def rest(self) -> str:
        """What has not been understood, spaces evened out."""
        left = "".join(char if kept else " " for char, kept in zip(self.text, self._open, strict=True))
        return re.sub(r"\s+([,.;:!?])", r"\1", " ".join(left.split())).strip(" ,;:-")

    def bound(self, name: str, low: float | None, high: float | None) -> None:
        """Narrow the range of `name`; one that would be left empty is replaced by the newer bounds."""
        old_low, old_high = self.found.get(f"{name}_min"), self.found.get(f"{name}_max")
        lows = [bound for bound in (old_low, low) if bound is not None]
        highs = [bound for bound in (old_high, high) if bound is not None]
        if lows and highs and max(lows) > min(highs):
            lows, highs = ([bound] if bound is not None else [] for bound in (low, high))
        self.found |= {f"{name}_min": max(lows, default=None), f"{name}_max": min(highs, default=None)}
