"""What a model's slates would earn, from the log of slates that another one drew."""

import logging
from dataclasses import dataclass

import numpy as np

from llm4rec.cluster.engine import Engine
from llm4rec.errors import DataError
from llm4rec.evaluate.off_policy import Decisions, PolicyValue, effective_sample_size, snips_by_user
from llm4rec.online.log import EventLog
from llm4rec.serve.errors import NotFoundError

logger = logging.getLogger(__name__)

SAMPLES = 2000
SHOWN_EVERY = 500


@dataclass(frozen=True)
class LoggedValue:
    """What the log tells of a model.

    Attributes:
        slates: how many were looked at, of plain requests by users still known.
        users: whose.
        logged: share of slates whose first item their user said something good of, as they were drawn.
        value: the same, had this model drawn the first item (SNIPS), with its 95 % interval over users.
        mean_weight: of the slates; 1 but for chance where the log's policy could have drawn whatever the model would.
        effective_slates: slates of equal weight that would tell as much.
    """

    slates: int
    users: int
    logged: float
    value: PolicyValue
    mean_weight: float
    effective_slates: float


def logged_value(engine: Engine, log: EventLog, limit: int, seed: int = 0) -> LoggedValue:
    """Value a model by the first places of the newest slates of a log.

    Later places depend on those above them: for those the weights' product grows and the log tells next to nothing.

    Args:
        engine: the model, with the settings that it would be served with.
        log: of the service.
        limit: slates to look at, at most.
        seed: of the interval.

    Raises:
        DataError: there are none, or the model would have made none of the logged choices.
    """
    rewards: list[float] = []
    logged: list[float] = []
    target: list[float] = []
    owner: list[str] = []
    judged = log.judged(limit)
    for number, one in enumerate(judged, start=1):
        if number % SHOWN_EVERY == 0:
            logger.info("value: %d of %d slates", number, len(judged))
        try:
            chances = engine.chances(one.slate)
        except NotFoundError:  # a user of another model's corpus
            continue
        if not len(chances):
            continue
        first = one.slate.exposures[0]
        target.append(float(chances[0]))
        rewards.append(float(first.item_id in one.good))
        logged.append(first.propensity)
        owner.append(str(one.slate.user_id))
    if not rewards:
        raise DataError(
            "the log holds no slate of a plain request (GET /v1/recommendations/USER, without words, filters or a "
            "history) by a user whom this model knows; let the service run, then try again"
        )
    nothing = np.zeros(len(rewards))
    decisions = Decisions(np.array(rewards), np.array(logged), np.clip(target, 0, 1), nothing, nothing)
    names, users = np.unique(owner, return_inverse=True)
    return LoggedValue(
        slates=len(rewards),
        users=len(names),
        logged=float(np.mean(rewards)),
        value=snips_by_user(decisions, users.astype(np.int64), samples=SAMPLES, seed=seed),
        mean_weight=float(decisions.weight.mean()),
        effective_slates=effective_sample_size(decisions),
    )
