"""The chat that asks a small instruction-tuned model for one reason."""

from dataclasses import dataclass

from llm4rec.explain.grounds import Grounds
from llm4rec.explain.phrases import listed, lowered, quoted, without_year

_SYSTEM = "Explain a recommendation in one short sentence from the facts alone."
# The titles of the example are invented: a model that copies them names an item the grounds do not hold.
_EXAMPLE_FACTS = (
    'Item: "Glass Orchard"\nLiked before: "Red Harbour"\nBoth filed under: western and romance\n'
    'Same people liked: "Low Tide"'
)
_EXAMPLE_REASON = (
    'Because you watched "Red Harbour", you may like "Glass Orchard": both are filed under western and romance, '
    'and people who liked it also liked "Low Tide".'
)
_NUM_CATEGORIES = 2


@dataclass(frozen=True)
class Prompt:
    """A chat, and the words its answer must begin with.

    Attributes:
        messages: role and content by turn, the last one the user's.
        opening: beginning of the answer; the model only continues it.
    """

    messages: tuple[dict[str, str], ...]
    opening: str


def build_prompt(grounds: Grounds) -> Prompt:
    """The prompt for one item; its catalogue text was cleaned when the grounds were made."""
    return Prompt(
        messages=(
            {"role": "system", "content": _SYSTEM},
            {"role": "user", "content": _EXAMPLE_FACTS},
            {"role": "assistant", "content": _EXAMPLE_REASON},
            {"role": "user", "content": facts(grounds)},
        ),
        opening=_opening(grounds),
    )


def facts(grounds: Grounds) -> str:
    """The grounds as short labelled lines; few tokens, because reading a prompt takes most of the time."""
    lines = [f"Item: {quoted(grounds.title)}"]
    if grounds.anchors:
        lines.append(f"Liked before: {listed([quoted(anchor) for anchor in grounds.anchors])}")
    if grounds.shared:
        lines.append(f"Both filed under: {lowered(grounds.shared[:_NUM_CATEGORIES])}")
    elif grounds.categories:
        lines.append(f"Filed under: {lowered(grounds.categories[:_NUM_CATEGORIES])}")
    others = [title for passage in grounds.from_source("similar_users") for title in passage.subjects]
    others = [title for title in others if title not in grounds.anchors] or others
    if others:
        lines.append(f"Same people liked: {quoted(without_year(others[0]))}")
    return "\n".join(lines)


def _opening(grounds: Grounds) -> str:
    """Everything up to where the wording is left to the model."""
    item = quoted(grounds.title)
    anchored = f"Because you {grounds.verb} {quoted(grounds.anchors[0])}, you" if grounds.anchors else "You"
    return f"{anchored} may like {item}: {'both are' if grounds.shared else 'it is'} filed under"
