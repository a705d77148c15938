"""Charts: ids that come from what can be seen."""

import re

import numpy as np
from matplotlib.figure import Figure

from llm4rec.page import draw, grid


def line(figure: Figure, heights: np.ndarray, label: str = "shown") -> None:
    axes = figure.subplots()
    axes.plot(heights, marker="o", label=label)
    axes.legend()
    grid(axes)


def the_same(figure: Figure, heights: np.ndarray) -> None:
    line(figure, heights)


def test_charts_that_look_the_same_are_the_same_bytes():
    """Matplotlib hashes the two names into its ids, as it does the last digits of what it draws."""
    heights = np.array([0.3, 0.7, 0.2])
    assert draw(line, heights) == draw(the_same, heights)
    assert draw(line, heights) == draw(line, heights * (1 + 1e-15))


def test_ids_lead_to_their_own_chart():
    charts = [str(draw(line, heights)) for heights in (np.array([1.0, 2.0]), np.array([10.0, 20.0, 0.5]))]
    own = [set(re.findall(r' id="(c[^"]+)"', chart)) for chart in charts]
    used = [set(re.findall(r'(?:url\(|href=")#([^")]+)', chart)) for chart in charts]
    assert all(used)
    assert all(used_here <= own_here for used_here, own_here in zip(used, own, strict=True))
    assert not own[0] & own[1]


def test_words_that_look_like_ids_stay():
    assert "p0123456789" in draw(line, np.array([1.0, 2.0]), "p0123456789")
