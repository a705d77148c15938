"""Which model answers whom: what was published, tried on a part of the users, and rolled back, in order.

The log keeps one row for each step, so all replicas follow the same steps, and a step is one transaction.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from llm4rec.online.errors import ConflictError

Step = Literal["publish", "roll_back"]


@dataclass(frozen=True)
class Release:
    """One step.

    Attributes:
        sequence: its place among the steps; 0 for the model that a service starts with.
        step: publish, or roll_back of the newest publish that still counts.
        version: of the model that is published; empty for roll_back.
        path: where its artifacts are.
        share: of the users who get it; below 1 it is tried beside the model before it.
        published: seconds since 1970.
    """

    sequence: int
    step: Step
    version: str
    path: str
    share: float
    published: int


@dataclass(frozen=True)
class Routing:
    """Who gets which model.

    Attributes:
        main: for everybody else.
        candidate: tried on `candidate.share` of the users; None where nothing is tried.
        before: what a roll-back returns to.
    """

    main: Release
    candidate: Release | None = None
    before: tuple[Release, ...] = ()

    def of(self, user_id: str | None) -> Release:
        """The release for a user: the same at each request, and another draw for each candidate."""
        if self.candidate is None or user_id is None:
            return self.main
        drawn = hashlib.sha256(f"{self.candidate.sequence} {user_id}".encode()).digest()[:8]
        return self.candidate if int.from_bytes(drawn, "big") < self.candidate.share * 2**64 else self.main

    def kept(self, roll_backs: int) -> list[Release]:
        """Those that must be at hand: what answers, and what so many roll-backs return to, the next one first."""
        before = reversed(self.before[-roll_backs:])
        found = [self.main, *([self.candidate] if self.candidate else []), *before]
        return list({release.version: release for release in found}.values())


def routing_after(first: Release, steps: Sequence[Release]) -> Routing:
    """Who gets which model after all steps.

    A publish to everybody replaces model and candidate; one to a share puts a candidate beside the model; a roll-back
    takes the candidate away, or else returns to the model before.
    """
    routing = Routing(first)
    for step in steps:
        if step.step == "roll_back":
            routing = rolled_back(routing)
        elif step.share < 1:
            routing = Routing(routing.main, step, routing.before)
        else:
            routing = Routing(step, None, (*routing.before, routing.main))
    return routing


def rolled_back(routing: Routing) -> Routing:
    """One step back.

    Raises:
        ConflictError: there is nothing to return to.
    """
    if routing.candidate is not None:
        return Routing(routing.main, None, routing.before)
    if not routing.before:
        raise ConflictError("nothing was published since the service's first model, so there is nothing to roll back")
    return Routing(routing.before[-1], None, routing.before[:-1])
