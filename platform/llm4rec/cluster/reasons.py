"""Who writes reasons for the service: a deployment with a language model, watched by a deadline."""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Protocol

from llm4rec.explain.budget import TokenBudget
from llm4rec.explain.config import ExplainConfig
from llm4rec.explain.engine import load_generator
from llm4rec.explain.grounds import Grounds
from llm4rec.explain.prompt import build_prompt, build_tuned_prompt
from llm4rec.explain.reason import Reason, explain
from llm4rec.explain.tune import Adapter

log = logging.getLogger("llm4rec")

MARGIN_S = 0.15
"""What the way back to the service may take: a writer is given this much less than the deadline."""
ANSWER_S = 0.05
"""What templates and the way to the client may take: a writer is waited for until so long before the deadline."""


WARM_UP = Grounds(item_id="", title="Glass Orchard", categories=("western",))
WARM_UP_S = 30.0


class ReasonWriter(Protocol):
    """Writes reasons, perhaps in another process."""

    async def write(self, items: Sequence[Grounds], seconds: float) -> list[Reason]:
        """A checked reason for each item."""

    def stream(self, grounds: Grounds, seconds: float) -> AsyncIterator[str]:
        """Unchecked pieces of one reason."""


class LanguageModelWriter:
    """The writer itself: one generator, loaded once."""

    def __init__(
        self, config: ExplainConfig, vocabulary: Sequence[str], adapter: Adapter | None = None, threads: int = 1
    ) -> None:
        """Load the generator.

        Args:
            config: of the explanations.
            vocabulary: all categories of the catalogue, for the check.
            adapter: what fine-tuning learnt; None where the model writes as it is.
            threads: how many compute.

        Raises:
            ConfigError: there is no such model here and none can be fetched.
        """
        self._generator = load_generator(config, adapter, threads)
        self._prompt = build_prompt if adapter is None else build_tuned_prompt
        self._budget = TokenBudget(config)
        self._vocabulary = list(vocabulary)
        self.write([WARM_UP], WARM_UP_S)  # the first pass is several times slower than the next

    @property
    def healthy(self) -> bool:
        """Whether reasons can be written."""
        return self._generator.healthy

    def write(self, items: Sequence[Grounds], seconds: float) -> list[Reason]:
        """A checked reason for each item, the template's where the model was late or wrong or has no tokens left."""
        deadline = time.monotonic() + seconds
        granted = self._budget.reasons(len(items))
        written = explain(items[:granted], self._generator, deadline, self._vocabulary, self._prompt)
        return [*written, *explain(items[granted:], None, deadline, self._vocabulary)]

    def pieces(self, grounds: Grounds, seconds: float) -> Iterator[str]:
        """Unchecked pieces of one reason, as they are written; none where no tokens are left."""
        if self._budget.reasons(1):
            yield from self._generator.stream(self._prompt(grounds), time.monotonic() + seconds)


class DeadlineReasons:
    """Asks a writer and, when it is late or fails, answers with templates: an answer never waits longer.

    What the writer wrote is kept and not asked for again. The grounds of a reason hold all of the user's state that it
    depends on, so an item has the same reason until the history that speaks for it, or what is known of it, changes.
    """

    def __init__(
        self, writer: ReasonWriter | None, seconds: float, vocabulary: Sequence[str], num_kept: int = 10_000
    ) -> None:
        self._writer = writer
        self._seconds = seconds
        self._vocabulary = list(vocabulary)
        self._num_kept = num_kept
        self._kept: OrderedDict[Grounds, Reason] = OrderedDict()

    async def write(self, items: Sequence[Grounds], since: float | None = None) -> list[Reason]:
        """A reason for each item within the deadline.

        Args:
            items: the grounds of each.
            since: the `time.monotonic()` moment at which the request came, from which the deadline counts; now if None.
        """
        seconds = self._seconds - (0.0 if since is None else time.monotonic() - since)
        new = list(dict.fromkeys(grounds for grounds in items if self._recall(grounds) is None))
        known = {grounds: reason for grounds in items if (reason := self._recall(grounds)) is not None}
        known |= dict(zip(new, await self._write(new, seconds), strict=True))
        for grounds in new:
            self._keep(grounds, known[grounds])
        return [known[grounds] for grounds in items]

    async def _write(self, items: Sequence[Grounds], seconds: float) -> list[Reason]:
        if self._writer is not None and items and seconds > MARGIN_S:
            try:
                request = self._writer.write(items, seconds - MARGIN_S)
                reasons = await asyncio.wait_for(request, seconds - ANSWER_S)
                if _answers(reasons, len(items)):
                    return reasons
                log.warning(
                    "reasons come from the template: the writer answered %.80r for %d items", reasons, len(items)
                )
            except Exception as error:  # whatever is wrong with the writer must not break the slate
                log.warning("reasons come from the template: %s: %s", type(error).__name__, error)
        return self.templates(items)

    async def stream(self, grounds: Grounds, since: float | None = None) -> AsyncIterator[str | Reason]:
        """Pieces as they are written, then the checked reason that replaces them; `since` as above."""
        if (kept := self._recall(grounds)) is not None:
            yield kept.text
            yield kept
            return
        seconds = self._seconds - (0.0 if since is None else time.monotonic() - since)
        deadline = time.monotonic() + seconds - ANSWER_S
        pieces: list[str] = []
        if self._writer is not None and seconds > MARGIN_S:
            try:
                stream = self._writer.stream(grounds, seconds - MARGIN_S)
                while True:
                    piece = await asyncio.wait_for(anext(stream), max(0.0, deadline - time.monotonic()))
                    if not isinstance(piece, str):
                        raise TypeError(f"the writer streamed {type(piece).__name__}, not text")
                    pieces.append(piece)
                    yield piece
            except StopAsyncIteration:
                pass
            except Exception as error:  # as above
                log.warning("the explanation comes from the template: %s: %s", type(error).__name__, error)
                pieces = []
        reason = explain([grounds], _Written("".join(pieces)), time.monotonic() + 1, self._vocabulary)[0]
        self._keep(grounds, reason)
        yield reason

    def templates(self, items: Sequence[Grounds]) -> list[Reason]:
        """The template's reason for each item."""
        return explain(items, None, time.monotonic(), self._vocabulary)

    def _recall(self, grounds: Grounds) -> Reason | None:
        reason = self._kept.get(grounds)
        if reason is not None:
            self._kept.move_to_end(grounds)
        return reason

    def _keep(self, grounds: Grounds, reason: Reason) -> None:
        """Keep what the writer wrote; where the template stands in, the writer is asked again."""
        if reason.source == "llm":
            self._kept[grounds] = reason
        while len(self._kept) > self._num_kept:
            self._kept.popitem(last=False)


def _answers(reasons: object, count: int) -> bool:
    """Whether a writer's answer is one reason for each item."""
    return isinstance(reasons, list) and len(reasons) == count and all(isinstance(r, Reason) for r in reasons)


class _Written:
    """A generator that has written already: puts streamed text through the same check as all other reasons."""

    def __init__(self, text: str) -> None:
        self._text = text

    def write(self, prompts: Sequence[object], deadline: float) -> list[str | None]:
        return [self._text or None] * len(prompts)
