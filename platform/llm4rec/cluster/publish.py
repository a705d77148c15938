"""Publishing a model: open all of it, try it on known choices beside the one that answers, and only then release it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llm4rec.artifacts import RunStore
from llm4rec.cluster.run_config import RunConfig
from llm4rec.cluster.snapshot import Snapshot, answering_version
from llm4rec.errors import ArtifactError, Llm4RecError
from llm4rec.evaluate.metrics import ndcg
from llm4rec.evaluate.protocol import EvaluationSet
from llm4rec.online.log import EventLog
from llm4rec.online.releases import Release, Routing, routing_after
from llm4rec.schema import TEST, FloatMatrix, FloatVector, History, user_hash

log = logging.getLogger("llm4rec")

TOP_N = 10


@dataclass(frozen=True)
class Canary:
    """How a model and another foresee choices that the other, at least, was not trained on.

    Attributes:
        users: how many choices, one of each user.
        ndcg: mean NDCG@10 of the new model.
        before: of the other.
    """

    users: int
    ndcg: float
    before: float


def publish(config: RunConfig, events: EventLog, path: str, share: float = 1.0) -> Canary:
    """Release the model of a run folder to a share of the users, if it is sound and no worse.

    Args:
        config: of the service.
        events: its log, from which replicas learn of the release.
        path: location of the run.
        share: of the users; below 1 the model is tried beside the one before.

    Raises:
        ArtifactError: a file is missing, damaged, of other dimensions or holds NaN, or the model foresees known choices
            worse than `serve.canary_loss` allows, or its refit does. Nothing has changed.
    """
    new = _opened(config, path)
    first, routing = current(config, events)
    if new.version == routing.main.version:
        raise ArtifactError(f"{path} holds model {new.version}, which answers already")
    if forgotten := known_forgotten(new.corpus.user_ids, events):
        log.warning(
            "publish: %s was made with the interactions of %d users whom the log has forgotten; preprocess leaves out "
            "those forgotten before it where its online.url is that of this log",
            path,
            forgotten,
        )
    # A refit has learnt the choices that the canary asks for: it has to foresee them no worse than the model before it
    # had, and how good a run is those before the refits tell.
    old = Snapshot.open(RunStore(routing.main.path), _at(config, routing.main.path), measured=True, with_near=False)
    _require_alike(new, old, path)
    alone = _opened(config, path, measured=True) if config.run.refit else new
    if alone is not new:
        _require_alike(alone, old, path)
        _require_no_worse(canary(new, alone, config.serve.canary_users), new.version, "before its refit", config)
    found = canary(alone, old, config.serve.canary_users)
    log.info(
        "publish: NDCG@10 %.4f of %d known choices, %.4f of the model before, without refits",
        *(found.ndcg, found.users, found.before),
    )
    _require_no_worse(found, new.version, f"{routing.main.version}, both without refits", config)
    events.publish(new.version, path, share)
    return found


def _require_no_worse(found: Canary, version: str, before: str, config: RunConfig) -> None:
    if found.ndcg < (1 - config.serve.canary_loss) * found.before:
        raise ArtifactError(
            f"model {version} is worse than {before}: NDCG@10 {found.ndcg:.4f}, not {found.before:.4f}, on "
            f"{found.users} known choices; serve.canary_loss allows a loss of {100 * config.serve.canary_loss:g} %"
        )


def known_forgotten(user_ids: Sequence[str], events: EventLog) -> int:
    """How many of some users were deleted."""
    forgotten = {change.key for change in events.changes_after(0) if change.kind == "forgotten"}
    return sum(user_hash(user_id) in forgotten for user_id in user_ids) if forgotten else 0


def _opened(config: RunConfig, path: str, *, measured: bool = False) -> Snapshot:
    """The new model, whatever whoever made its files had in mind."""
    try:
        return Snapshot.open(RunStore(path), _at(config, path), measured=measured, with_near=not measured)
    except Llm4RecError:
        raise
    except Exception as error:
        raise ArtifactError(
            f"{path} cannot be opened ({type(error).__name__}: {error}); publish a run whose artifacts jobs/ have made"
        ) from error


def current(config: RunConfig, events: EventLog) -> tuple[Release, Routing]:
    """The model that a service starts with, and who gets which model now.

    Raises:
        ArtifactError: the service's own run has no index.
    """
    own = answering_version(RunStore(config.run.path), config)
    first = Release(0, "publish", own, config.run.path, 1.0, 0)
    return first, routing_after(first, events.releases())


def canary(new: Snapshot, old: Snapshot, num_users: int) -> Canary:
    """NDCG@10 of both on what users of the new model's test split chose, where both know user's items and choice.

    Raises:
        ArtifactError: there is no such choice.
    """
    rows = EvaluationSet.build(new.corpus, TEST).at_most(num_users)
    to_old = np.array([old.corpus.item_codes.get(item_id, -1) for item_id in new.corpus.item_ids], np.int32)
    targets = to_old[rows.targets]
    both = np.flatnonzero((targets >= 0) & (targets < old.corpus.num_warm_items))
    if not len(both):
        raise ArtifactError("no choice of the new model's test split is known to the model before: nothing to compare")
    users = [new.corpus.user_ids[rows.users[row]] for row in both]
    histories = [rows.histories[int(row)] for row in both]
    return Canary(
        users=len(both),
        ndcg=_ndcg(new, users, histories, rows.targets[both]),
        before=_ndcg(old, users, [_translated(history, to_old) for history in histories], targets[both]),
    )


def _ndcg(snapshot: Snapshot, users: Sequence[str], histories: Sequence[History], targets: np.ndarray) -> float:
    codes = [snapshot.corpus.user_codes.get(user_id, -1) for user_id in users]
    table = snapshot.scorer.attributes
    attributes = np.stack([table[code] if code >= 0 else np.zeros_like(table[0]) for code in codes])
    states = snapshot.scorer.states(list(histories), attributes)
    vectors: FloatMatrix = snapshot.index.vectors[: snapshot.corpus.num_warm_items]
    ranks = []
    for logits, history, target in zip(snapshot.logits(states, vectors, histories), histories, targets, strict=True):
        if not np.isfinite(logits).all():
            raise ArtifactError(f"model {snapshot.version} gives scores that are NaN or infinite")
        ranks.append(_rank(logits.astype(np.float32), history, int(target)))
    return float(ndcg(np.array(ranks), TOP_N).mean())


def _rank(logits: FloatVector, history: History, target: int) -> int:
    """Of a target among the items that are not in the history; the last among equals."""
    wanted = logits[target]
    logits = logits.copy()
    logits[history.item[history.item < len(logits)]] = -np.inf
    logits[target] = wanted
    return int((logits >= wanted).sum()) - 1


def _translated(history: History, codes: np.ndarray) -> History:
    item = codes[history.item]
    known = item >= 0
    return History(item[known], history.timestamp[known], history.value[known], history.event[known])


def _require_alike(new: Snapshot, old: Snapshot, path: str) -> None:
    widths = [snapshot.features["text"].vectors.shape[1] for snapshot in (new, old)]
    if widths[0] != widths[1]:
        raise ArtifactError(
            f"{path} was made with texts of width {widths[0]}; the service encodes requests in width {widths[1]}"
        )
    checked = {
        "item vectors": new.index.vectors,
        "states of users": new.states,
        "prices": new.prices.price,
        "effects on users": new.effects.user_weight,
    }
    for name, values in checked.items():
        if not np.isfinite(values).all():
            raise ArtifactError(f"{path}: {name} hold NaN or infinity")
    if len(new.states) and new.states.shape[1] != new.index.vectors.shape[1]:
        raise ArtifactError(f"{path}: states of users and item vectors have different widths")


def _at(config: RunConfig, path: str) -> RunConfig:
    return config.model_copy(update={"run": config.run.model_copy(update={"path": path})})
