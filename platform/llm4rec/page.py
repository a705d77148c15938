"""The look that all reports share: one self-contained page, with plots as inline SVG in its colours, light or dark."""

import hashlib
import io
import re
from typing import Any

import jinja2
from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK = "#010203"  # stands for the text colour of the page until the SVG is written
ACCENT, MUTED = "#3b7ddd", "#8a94a6"
SERIES = (ACCENT, "#e08a3c", "#3fa37c", "#b565c4", "#8a94a6", "#c7504a", "#6b7fd7", "#a8963a")
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # real text: sharp, selectable, in the page's own font
    "font.family": "sans-serif",
    "font.size": 10,
    "text.parse_math": False,  # a group called "$50k" is no formula
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
}
HASHED_ID = re.compile(
    r'(?<= id=")[hmp][0-9a-f]{10}(?=")|(?<=url\(#)[hmp][0-9a-f]{10}(?=\))|(?<=href="#)[hmp][0-9a-f]{10}(?=")'
)
"""Matplotlib's own ids of hatches, markers and clip paths, and where they are referred to."""


def render(package: str, template: str, **values: Any) -> str:
    """A template of a package, which extends `page.html`: no script, nothing loaded from elsewhere.

    Args:
        package: the package whose folder `templates` holds the template.
        template: its file name.
        **values: what it shows; text is escaped.
    """
    loader = jinja2.ChoiceLoader([jinja2.PackageLoader(package), jinja2.PackageLoader("llm4rec")])
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.get_template(template).render(**values)


def draw(plot: Any, *args: Any) -> Markup:
    """Call `plot(figure, *args)` on an empty figure and return the SVG: the same bytes for the same data."""
    # Without the salt ids of matplotlib's would be drawn anew each time.
    with rc_context({**STYLE, "svg.hashsalt": plot.__name__}):
        figure = Figure(figsize=(6.4, 3.4), layout="constrained")
        plot(figure, *args)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = with_own_ids(buffer.getvalue())
    return Markup(svg[svg.index("<svg") :].replace(INK, "currentColor"))  # noqa: S704 - matplotlib escapes its text


def with_own_ids(svg: str) -> str:
    """Ids that come from what can be seen, so that those of two charts on a page differ.

    Matplotlib's are hashes of numbers in full, whose last digits differ from one kind of CPU to another.
    """
    seen, names = hashlib.sha256(HASHED_ID.sub("", svg).encode()).hexdigest()[:8], dict[str, str]()
    return HASHED_ID.sub(lambda found: names.setdefault(found[0], f"c{seen}-{len(names)}"), svg)


def grid(axes: Axes, axis: str = "y") -> None:
    """Faint lines behind the plot."""
    axes.grid(axis=axis, color=MUTED, alpha=0.25, linewidth=0.8)  # type: ignore[arg-type]
    axes.set_axisbelow(True)
