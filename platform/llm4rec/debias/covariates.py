"""What is known about users, items and the moment of each train interaction, built from the train split alone.

The causal graph behind it: an item's quality and kind drive both its popularity and the outcome, a user's
disposition and the calendar do too; popularity at a moment is the count of the item's strictly earlier
interactions, so nothing here looks into the future of the row it describes.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from llm4rec.debias.attributes import Attribute, user_attributes
from llm4rec.debias.config import DebiasConfig
from llm4rec.errors import DataError
from llm4rec.schema import (
    TRAIN,
    BoolVector,
    Corpus,
    Features,
    FloatMatrix,
    FloatVector,
    Interactions,
    IntVector,
    Modality,
)

Float64Vector = npt.NDArray[np.float64]
PAST = ("user's mean so far", "item's mean so far", "user's past", "calendar")
PRIOR_COUNT = 5.0  # pseudo-interactions at the overall mean that steady the mean of a short past


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of log(1 + train popularity) over the items with train interactions."""

    mean: float
    deviation: float

    def apply(self, count: npt.NDArray[np.number]) -> FloatVector:
        """Standardise counts: (log(1 + count) - mean) / deviation."""
        return ((np.log1p(count) - self.mean) / self.deviation).astype(np.float32)


@dataclass(frozen=True)
class Covariates:
    """The train interactions (N rows) with everything the models may adjust for.

    Attributes:
        train: the train interactions.
        attributes: the user attributes that form groups.
        activity: shape (U,), standardised log number of train interactions.
        popularity: shape (I,), log number of train interactions on `scale`.
        scale: the unit of popularity, the same for `popularity` and `treatment`.
        users: shape (U, P), attribute indicators.
        items: shape (I, Q), principal components of the item features, each of unit variance.
        spread: shape (Q,), what each component's deviation was, as a share of the largest of its modality.
        modifiers: shape (U, M), what the effect may vary with: activity and those indicators that differ among users.
        treatment: shape (N,), popularity of the item when the interaction happened, on `scale`.
        random: shape (N,), whether the item was drawn at random.
        exposed: shape (N,), whether the item was exposed.
        exposure: what that means, in words.
        by_event: whether an event says it.
        modifier_names: of the M modifiers, in words.
        item_names: of the Q components.
        past: shape (N, 4), user's and item's mean value so far, log length of the user's past, calendar rank.
    """

    train: Interactions
    attributes: list[Attribute]
    activity: FloatVector
    popularity: FloatVector
    scale: Scale
    users: FloatMatrix
    items: FloatMatrix
    spread: FloatVector
    modifiers: FloatMatrix
    treatment: FloatVector
    random: BoolVector
    exposed: BoolVector
    exposure: str
    by_event: bool
    modifier_names: tuple[str, ...]
    item_names: tuple[str, ...]
    past: FloatMatrix

    def pairs(self, user: IntVector, item: IntVector) -> FloatMatrix:
        """Features of (user, item) pairs for the propensity model, shape (pairs, 5 + P + Q)."""
        activity, popularity = self.activity[user], self.popularity[item]
        products = np.column_stack([activity, popularity, activity * popularity, activity**2, popularity**2])
        return np.hstack([products, self.users[user], self.items[item]])

    def confounders(self, rows: npt.NDArray[np.integer]) -> FloatMatrix:
        """What drives both popularity and outcome, for train rows: the past and what the item is."""
        return np.hstack([self.past[rows], self.items[self.train.item[rows]]])


def build_covariates(corpus: Corpus, features: Features, config: DebiasConfig) -> Covariates:
    """Covariates of the train split.

    Raises:
        DataError: there are no train interactions, a train value is not finite, a modality has another number of
            items than the corpus, or a configured group column or event cannot be used.
    """
    train = corpus.part(TRAIN)
    _check(train, corpus, features)
    attributes = user_attributes(corpus.users, config)
    user_count = np.bincount(train.user, minlength=corpus.num_users)
    item_count = np.bincount(train.item, minlength=corpus.num_items)
    scale = _scale(item_count)
    earlier, _ = totals_before(train.item, train.timestamp, train.value)
    activity = _scale(user_count).apply(user_count)
    users = np.hstack([np.empty((corpus.num_users, 0), np.float32)] + [a.indicators() for a in attributes])
    trained = user_count > 0
    # A user without train interactions counts as the least active one: theta is not extrapolated beyond the log.
    modifiers = np.column_stack([np.maximum(activity, activity[trained].min()), users])
    treatment = scale.apply(earlier)
    exposed, exposure = _exposure(corpus, train, treatment, config)
    varies = np.ptp(modifiers[trained], axis=0) > 0
    names = ["activity", *(f"{a.name} {level}" for a in attributes for level in a.levels[1:])]
    components = [principal_components(features[name], config.components) for name in sorted(features)]
    spreads = [np.empty(0, np.float32), *(spread for _, spread in components)]
    return Covariates(
        train=train,
        attributes=attributes,
        activity=activity,
        popularity=scale.apply(item_count),
        scale=scale,
        users=users,
        items=np.hstack([np.empty((corpus.num_items, 0), np.float32), *(vectors for vectors, _ in components)]),
        spread=np.concatenate(spreads),
        modifiers=modifiers[:, varies],
        modifier_names=tuple(name for name, kept in zip(names, varies, strict=True) if kept),
        item_names=tuple(
            f"{name} {place + 1}"
            for name, (_, spread) in zip(sorted(features), components, strict=True)
            for place in range(len(spread))
        ),
        treatment=treatment,
        random=_has_event(corpus, train, config.random_event, "random_event"),
        exposed=exposed,
        exposure=exposure,
        by_event=config.exposure_event is not None,
        past=_past(train),
    )


def totals_before(
    key: IntVector, timestamp: npt.NDArray[np.int64], value: FloatVector
) -> tuple[Float64Vector, Float64Vector]:
    """For each row, the number and the summed value of rows with the same key and a strictly smaller timestamp."""
    order = np.lexsort((timestamp, key))
    sorted_key, sorted_time = key[order], timestamp[order]
    new_key = np.diff(sorted_key, prepend=sorted_key[0] - 1) != 0
    new_moment = new_key | (np.diff(sorted_time, prepend=sorted_time[0] - 1) != 0)
    index = np.arange(len(key))
    key_start = np.maximum.accumulate(np.where(new_key, index, 0))
    moment_start = np.maximum.accumulate(np.where(new_moment, index, 0))
    sums = np.concatenate([[0.0], np.cumsum(value[order], dtype=np.float64)])
    count, total = np.empty(len(key)), np.empty(len(key))
    count[order] = moment_start - key_start
    total[order] = sums[moment_start] - sums[key_start]
    return count, total


def principal_components(modality: Modality, count: int) -> tuple[FloatMatrix, FloatVector]:
    """Leading principal components of the items that have the modality, each of unit variance, shape (I, <= count).

    With them, shape (<= count,), their standard deviations before that, as shares of the largest. Items without it get
    zeros, the mean of the others. Directions without variance are left out.
    """
    known = modality.vectors[modality.present].astype(np.float64)
    if len(known) < 2:
        return np.zeros((len(modality.present), 0), np.float32), np.zeros(0, np.float32)
    centred = known - known.mean(axis=0)
    variances, directions = np.linalg.eigh(centred.T @ centred / len(known))
    kept = np.flatnonzero(variances > 1e-9 * max(variances[-1], 1e-12))[::-1][:count]
    components = np.zeros((len(modality.present), len(kept)), np.float32)
    deviations = np.sqrt(variances[kept])
    components[modality.present] = centred @ directions[:, kept] / deviations
    return components, (deviations / deviations.max(initial=1e-12)).astype(np.float32)


def _exposure(
    corpus: Corpus, train: Interactions, treatment: FloatVector, config: DebiasConfig
) -> tuple[BoolVector, str]:
    if config.exposure_event is None:
        return treatment > np.median(treatment), "popularity at the time above its median"
    exposed = _has_event(corpus, train, config.exposure_event, "exposure_event")
    return exposed, f"event {config.exposure_event!r}"


def _has_event(corpus: Corpus, train: Interactions, event: str | None, setting: str) -> BoolVector:
    """Which train rows have an event, none if it is null."""
    if event is None:
        return np.zeros(len(train), np.bool_)
    if event not in corpus.events:
        raise DataError(f"debias.{setting}: no event {event!r}; the corpus has {', '.join(corpus.events)}")
    return train.event == corpus.events.index(event)


def _past(train: Interactions) -> FloatMatrix:
    mean = float(train.value.mean())
    user_count, user_total = totals_before(train.user, train.timestamp, train.value)
    item_count, item_total = totals_before(train.item, train.timestamp, train.value)
    moments, rank = np.unique(train.timestamp, return_inverse=True)
    columns = [
        (user_total + PRIOR_COUNT * mean) / (user_count + PRIOR_COUNT),
        (item_total + PRIOR_COUNT * mean) / (item_count + PRIOR_COUNT),
        np.log1p(user_count),
        rank / max(len(moments) - 1, 1),
    ]
    return np.column_stack(columns).astype(np.float32)


def _scale(count: npt.NDArray[np.integer]) -> Scale:
    logs = np.log1p(count[count > 0])
    deviation = float(logs.std())
    return Scale(float(logs.mean()), deviation if deviation > 1e-9 else 1.0)


def _check(train: Interactions, corpus: Corpus, features: Features) -> None:
    if len(train) == 0:
        raise DataError("the corpus has no train interactions; choose another split or lower preprocess' k-core")
    bad = int((~np.isfinite(train.value)).sum())
    if bad:
        raise DataError(f"{bad} train interactions have a value that is no finite number; run jobs/preprocess.py again")
    for name, modality in features.items():
        if len(modality.vectors) != corpus.num_items:
            raise DataError(
                f"modality {name!r} describes {len(modality.vectors)} items, the corpus has {corpus.num_items}; "
                "run jobs/encode.py again"
            )
