"""One user's slate from one user's scores."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from llm4rec.errors import ConfigError, DataError
from llm4rec.heaviest import heaviest
from llm4rec.recommend.config import RecommendConfig
from llm4rec.recommend.filters import Filters, ItemsOf, items_by_category
from llm4rec.recommend.policy import draw
from llm4rec.recommend.rerank import chances, charge, diversify, standardise, steer
from llm4rec.schema import BoolVector, FloatMatrix, FloatVector, IntVector


@dataclass(frozen=True)
class Catalogue:
    """What re-ranking must know of the items.

    Attributes:
        vectors: item vectors, shape (I, D), for diversity.
        price: what a place on a slate costs each item at debias 1, in units of the chance of a choice, shape (I,).
        years: shape (I,), NaN where unknown, for filters.
        categories: the categories of each item, for filters.
        sale_price: what each item is sold for, shape (I,), NaN where unknown, for filters.
    """

    vectors: FloatMatrix
    price: FloatVector
    years: FloatVector
    categories: list[tuple[str, ...]]
    sale_price: FloatVector

    @cached_property
    def items_of(self) -> ItemsOf:
        """The items of each category; made once, since filters are asked at every request."""
        return items_by_category(self.categories)


@dataclass(frozen=True)
class Wish:
    """What one request asks for beyond the user's taste.

    Attributes:
        filters: constraints that every item must meet.
        relevance: how well each item answers the request's words, shape (I,); None without words.
        weight: how much the words count against the taste.
        popularity_weight: how much of the prices this user's slate pays, 1 on average.
    """

    filters: Filters = Filters()
    relevance: FloatVector | None = None
    weight: float = 1.0
    popularity_weight: float = 0.0


NO_WISH = Wish()
Narrow = Callable[[BoolVector, int], IntVector]
"""From the items that may be shown, a mask (I,), and how many are wanted, to the codes of those that compete."""


@dataclass(frozen=True)
class Slate:
    """Items in the order shown.

    Attributes:
        codes: item codes, shape (S,).
        scores: final scores, shape (S,), in standard deviations of the user's scores.
        propensity: probability of each choice under the logging policy given the items above it, shape (S,).
        notice: why there are fewer items than asked for; empty if there are not.
    """

    codes: IntVector
    scores: FloatVector
    propensity: FloatVector
    notice: str = ""


@dataclass(frozen=True)
class Contest:
    """Who competes for the places of a slate.

    Attributes:
        codes: of the candidates, best first before diversity, shape (C,).
        scores: what they are drawn by, shape (C,).
        matching: which items of the catalogue meet the request's constraints, seen ones too, shape (I,).
    """

    codes: IntVector
    scores: FloatVector
    matching: BoolVector


def draw_slate(
    scores: FloatVector,
    seen: IntVector,
    config: RecommendConfig,
    catalogue: Catalogue,
    rng: np.random.Generator,
    wish: Wish = NO_WISH,
    *,
    k: int | None = None,
    narrow: Narrow | None = None,
) -> Slate:
    """Draw from those who compete; for the arguments see `compete`, `rng` is the source of the policy's randomness.

    Raises:
        ConfigError: k below 1.
        DataError: scores of another shape, or NaN among them.
    """
    k = config.k if k is None else k
    contest = compete(scores, seen, config, catalogue, wish, k=k, narrow=narrow)
    return draw_from(contest, k, config.temperature, rng, wish.filters)


def draw_from(contest: Contest, k: int, temperature: float, rng: np.random.Generator, filters: Filters) -> Slate:
    """Draw k of those who compete; `filters`, which they meet, are named where there are fewer."""
    order, propensity = draw(contest.scores, k, temperature, rng)
    return Slate(
        codes=contest.codes[order],
        scores=contest.scores[order].astype(np.float32),
        propensity=propensity.astype(np.float32),
        notice=_notice(len(order), k, contest.matching, filters),
    )


def compete(
    scores: FloatVector,
    seen: IntVector,
    config: RecommendConfig,
    catalogue: Catalogue,
    wish: Wish = NO_WISH,
    *,
    k: int,
    narrow: Narrow | None = None,
) -> Contest:
    """Mask, standardise, steer, debias, narrow, cut to candidates, and diversify.

    Args:
        scores: the logit of every item, shape (I,); -inf for items that must not be shown.
        seen: codes of items to leave out.
        config: strengths, the number of candidates and the logging policy's temperature.
        catalogue: the items.
        wish: what this request adds.
        k: items wanted.
        narrow: chooses who competes among the items that may be shown, where neither words nor `debias` do; by default
            all compete.

    Raises:
        ConfigError: k below 1.
        DataError: scores of another shape, or NaN among them.
    """
    if k < 1:
        raise ConfigError(f"k must be at least 1, got {k}")
    if scores.shape != catalogue.years.shape:
        raise DataError(f"scores have shape {scores.shape}, the catalogue has {len(catalogue.years)} items")
    shown = scores != -np.inf
    matching = shown & wish.filters.mask(catalogue.items_of, catalogue.years, catalogue.sale_price)
    unseen = shown.copy()
    unseen[seen] = False
    eligible = matching & unseen
    final = _final_scores(scores, unseen, eligible, config, catalogue, wish, k)
    alone = by_taste_alone(config, wish.popularity_weight, worded=wish.relevance is not None)
    competing = np.sort(narrow(eligible, k)) if narrow is not None and alone else np.flatnonzero(eligible)
    codes = competing[heaviest(final[competing], max(k, config.candidates))].astype(np.int32)
    return Contest(codes, diversify(final[codes], catalogue.vectors[codes], config.diversity), matching)


def by_taste_alone(config: RecommendConfig, popularity_weight: float, *, worded: bool) -> bool:
    """Whether taste says who competes for a slate; words and prices look for what it alone would not find."""
    return not worded and not config.debias * popularity_weight


def _final_scores(
    scores: FloatVector,
    unseen: BoolVector,
    eligible: BoolVector,
    config: RecommendConfig,
    catalogue: Catalogue,
    wish: Wish,
    k: int,
) -> FloatVector:
    final = standardise(scores, eligible)
    if wish.relevance is not None:
        final = steer(final, wish.relevance, wish.weight, eligible)
    strength = config.debias * wish.popularity_weight
    if not strength or not eligible.any():
        return final
    # Among all unseen items: prices are in units of their chances, whatever a filter leaves. Words count as taste does.
    spread = float(scores[eligible].std())
    logits = np.where(unseen, final * np.float32(spread), -np.inf)
    return charge(final, chances(logits[None])[0], np.float32(strength) * catalogue.price, k, eligible)


def _notice(found: int, wanted: int, matching: BoolVector, filters: Filters) -> str:
    """Why a slate is short."""
    if found >= wanted:
        return ""
    if not matching.any():
        return f"no item of the catalogue matches the filters: {filters.describe()}"
    if not found:
        return f"all {matching.sum()} items that match ({filters.describe()}) are already in the history"
    return f"only {found} of the {wanted} items asked for are left ({filters.describe()}, items seen before left out)"
