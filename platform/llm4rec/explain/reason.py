"""Reasons for a slate: written by a language model where that works and is true, else by the template."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from llm4rec.explain.check import unsupported_claims
from llm4rec.explain.grounds import Grounds
from llm4rec.explain.prompt import Prompt, build_prompt
from llm4rec.explain.template import template_reason

logger = logging.getLogger(__name__)

# A generator notices its deadline between two tokens; this is about one token of a full batch on a slow machine.
TOKEN_SECONDS = 0.1


class Writer(Protocol):
    """What `explain` needs of a generator."""

    def write(self, prompts: Sequence[Prompt], deadline: float) -> list[str | None]:
        """One reason a prompt, None where there is none by the `time.monotonic()` deadline."""


@dataclass(frozen=True)
class Reason:
    """Why an item is in a slate.

    Attributes:
        text: the sentence to show; plain text, to be escaped like any other.
        source: who wrote it.
        evidence: the passages it may rest on.
    """

    text: str
    source: Literal["llm", "template"]
    evidence: tuple[str, ...]


def explain(
    items: Sequence[Grounds],
    generator: Writer | None,
    deadline: float,
    vocabulary: Sequence[str] = (),
    prompt: Callable[[Grounds], Prompt] = build_prompt,
) -> list[Reason]:
    """A reason for each item, by the deadline whatever the generator does.

    Args:
        items: the grounds of each item of a slate.
        generator: writes reasons; None for templates only.
        deadline: a `time.monotonic()` moment.
        vocabulary: all categories of the catalogue, for the check.
        prompt: what the generator is asked about an item.
    """
    written: list[str | None] = [None] * len(items)
    if generator and items:
        written = _write([prompt(grounds) for grounds in items], generator, deadline)
    return [_reason(grounds, text, vocabulary) for grounds, text in zip(items, written, strict=True)]


def _reason(grounds: Grounds, text: object, vocabulary: Sequence[str]) -> Reason:
    evidence = tuple(passage.text for passage in grounds.passages)
    for version in _versions(text) if isinstance(text, str) else ():
        claims = unsupported_claims(version, grounds, vocabulary)
        if not claims:
            return Reason(version, "llm", evidence)
        logger.info("reason for item %s refused: %s", grounds.item_id, "; ".join(claims))
    return Reason(template_reason(grounds), "template", evidence)


def _versions(text: str) -> list[str]:
    """A written reason, and its repair: without its last clause, which is where a small model goes astray."""
    kept, comma, _ = text.rpartition(", ")
    whole = kept.count('"') % 2 == 0  # a comma inside a title is no end of a clause
    return [text, f"{kept}."] if comma and whole and ": " in kept else [text]


def _write(prompts: Sequence[Prompt], generator: Writer, deadline: float) -> list[str | None]:
    """What the generator wrote in time; nothing for any item where it failed, hung or answered nonsense."""
    result: list[list[str | None]] = []

    def work() -> None:
        try:
            result.append(generator.write(prompts, deadline - TOKEN_SECONDS))
        except Exception:  # a generator must never break an answer, whatever is wrong with it
            logger.warning("the generator failed; templates answer instead", exc_info=True)

    # A daemon thread, because a generator that hangs can be neither cancelled nor waited for.
    worker = threading.Thread(target=work, name="explain", daemon=True)
    worker.start()
    worker.join(max(0.0, deadline - time.monotonic()))
    if worker.is_alive():
        logger.warning("the generator missed the deadline; templates answer instead")
    elif result and (not isinstance(result[0], list) or len(result[0]) != len(prompts)):
        logger.warning("the generator returned %r for %d prompts; templates answer instead", result[0], len(prompts))
    elif result:
        return result[0]
    return [None] * len(prompts)
