"""The chat that asks a small instruction-tuned model for one reason."""

from dataclasses import dataclass

from llm4rec.explain.grounds import Grounds
from llm4rec.explain.phrases import listed, lowered, quoted, without_year
from llm4rec.explain.template import Pick, liked_too, opening, pick_by_hash

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
_NUM_TUNED = 3


@dataclass(frozen=True)
class Prompt:
    """A chat, and the words its answer must begin with.

    Attributes:
        messages: role and content by turn, the last one the user's.
        opening: beginning of the answer; the model only continues it.
        ends_itself: whether the model knows where to end; of others the first sentence is taken.
    """

    messages: tuple[dict[str, str], ...]
    opening: str
    ends_itself: bool = False


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


def build_tuned_prompt(grounds: Grounds, pick: Pick = pick_by_hash) -> Prompt:
    """The prompt for one item, to a model that has learnt what is wanted: no example.

    Its facts are all that the template may say, from which the model was taught. The opening is the template's, since
    copying titles takes a model long and adds nothing.

    Args:
        grounds: of the item.
        pick: chooses among openings.
    """
    lines = [
        *_lines(grounds, _NUM_TUNED),
        *_line("Same people liked", listed([quoted(title) for title in liked_too(grounds)])),
        *_line("A review says", quoted(written[0].text) if (written := grounds.from_source("reviews")) else ""),
        *_line("Known", "" if grounds.anchors else " ".join(p.text for p in grounds.from_source("popularity")[:1])),
    ]
    system = {"role": "system", "content": _SYSTEM}
    user = {"role": "user", "content": "\n".join(lines)}
    return Prompt((system, user), opening=f"{opening(grounds, pick)}:", ends_itself=True)


def facts(grounds: Grounds) -> str:
    """The grounds as short labelled lines; few tokens, because reading a prompt takes most of the time."""
    others = [title for passage in grounds.from_source("similar_users") for title in passage.subjects]
    others = [title for title in others if title not in grounds.anchors] or others
    lines = [
        *_lines(grounds, _NUM_CATEGORIES),
        *_line("Same people liked", quoted(without_year(others[0])) if others else ""),
    ]
    return "\n".join(lines)


def _lines(grounds: Grounds, num_categories: int) -> list[str]:
    """The item, what of the user's history is like it, and what it is filed under."""
    label = "Both filed under" if grounds.shared else "Filed under"
    return [
        *_line("Item", quoted(grounds.title)),
        *_line("Liked before", listed([quoted(anchor) for anchor in grounds.anchors])),
        *_line(label, lowered((grounds.shared or grounds.categories)[:num_categories])),
    ]


def _line(label: str, value: str) -> list[str]:
    return [f"{label}: {value}"] if value else []


def _opening(grounds: Grounds) -> str:
    """Everything up to where the wording is left to the model."""
    item = quoted(grounds.title)
    anchored = f"Because you {grounds.verb} {quoted(grounds.anchors[0])}, you" if grounds.anchors else "You"
    return f"{anchored} may like {item}: {'both are' if grounds.shared else 'it is'} filed under"
