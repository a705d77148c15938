"""A synthetic world with a known structural causal model, so that every estimator has a truth to be held against.

    kind, price -> quality -> exposure, outcome          gender -> taste -> exposure, outcome
    promotion, popularity, quality, taste -> exposure -> popularity -> outcome
    popularity, quality, taste -> prominence -> outcome  generosity -> outcome

Shapes: U users, I items, K kinds, R rounds. In each round every user is shown one item that is new to him, drawn from a
softmax over

    z_ui = q_i + push_i + taste_u,kind(i) + POPULARITY_PULL * log(1 + n_i)

with n_i the number of times the item was chosen in earlier rounds. The item is shown prominently with probability
sigmoid(q_i + taste_u,kind(i) + PROMINENCE_PULL * (log(1 + n_i) - 3)), and the user's rating is

    y = 3 + theta_gender(u) * log(1 + n_i) + delta * prominent + q_i + taste_u,kind(i) + generosity_u + noise

Quality q is a function of kind and price, taste one of gender and kind, all of which the catalogue and the users' table
tell: the effects of popularity (theta, and delta where it makes the item prominent) and of prominence (delta) are
identified. Push_i moves exposure alone and generosity_u the rating alone.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from llm4rec.preprocess.config import SyntheticConfig

Floats = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

KINDS = ("lamp", "chair", "vase", "clock", "shelf", "mirror")
KIND_QUALITY = np.array([-0.6, -0.3, 0.0, 0.1, 0.3, 0.5])
PRICE_QUALITY = 0.4
GENDER_TASTE = 0.4
POPULARITY_PULL, PROMINENCE_PULL = 0.3, 0.3
GENEROSITY, NOISE = 0.3, 0.5


@dataclass(frozen=True)
class World:
    """What was drawn, one row an interaction where nothing else is said; N = U R rows, in order of time.

    Attributes:
        kind: shape (I,), place in KINDS.
        price: shape (I,), standardised log price.
        female: shape (U,).
        age: shape (U,), of no influence.
        user: code of the user.
        item: code of the item.
        round: when.
        propensity: probability of the item among those that were new to the user.
        prominent: whether it was shown prominently.
        prominence: probability of that.
        popularity: log(1 + n_i) at the time.
        rating: the outcome.
    """

    kind: Codes
    price: Floats
    female: Flags
    age: Codes
    user: Codes
    item: Codes
    round: Codes
    propensity: Floats
    prominent: Flags
    prominence: Floats
    popularity: Floats
    rating: Floats

    def popularity_effect(self, config: SyntheticConfig) -> Floats:
        """The direct effect of one unit of log popularity on the rating of each user, shape (U,)."""
        return np.asarray(config.popularity_effect + config.women_more * self.female, np.float64)

    def total_popularity_effect(self, config: SyntheticConfig) -> Floats:
        """The whole effect in each row, shape (N,): the direct one and what runs through prominence.

        d y / d log popularity = theta + delta * PROMINENCE_PULL * p (1 - p), with p the chance of prominence.
        """
        through = config.prominence_effect * PROMINENCE_PULL * self.prominence * (1 - self.prominence)
        return self.popularity_effect(config)[self.user] + through


def draw_world(config: SyntheticConfig) -> World:
    """Draw a world; equal configurations give equal worlds."""
    rng = np.random.default_rng(config.seed)
    kind, price = rng.integers(0, len(KINDS), config.items), rng.normal(size=config.items)
    quality = KIND_QUALITY[kind] + PRICE_QUALITY * price
    push = rng.normal(0, 0.5, config.items)
    female, age = rng.random(config.users) < 0.5, rng.integers(18, 75, config.users)
    taste = GENDER_TASTE * np.where(female[:, None] == (kind % 2 == 0), 1.0, -1.0)
    generosity = rng.normal(0, GENEROSITY, config.users)
    chosen, chance = np.zeros((2, config.interactions, config.users))
    popularity = np.zeros((config.interactions, config.users))
    counts, new = np.zeros(config.items), np.ones((config.users, config.items), np.bool_)
    everybody = np.arange(config.users)
    for place in range(config.interactions):
        logits = np.where(new, quality + push + taste + POPULARITY_PULL * np.log1p(counts), -np.inf)
        item = (logits + rng.gumbel(size=logits.shape)).argmax(axis=1)
        chosen[place], popularity[place] = item, np.log1p(counts[item])
        chance[place] = _softmax_at(logits, item)
        new[everybody, item] = False
        counts += np.bincount(item, minlength=config.items)
    item, user = chosen.astype(np.int64).ravel(), np.tile(everybody, config.interactions)
    prominence = expit(quality[item] + taste[user, item] + PROMINENCE_PULL * (popularity.ravel() - 3))
    prominent = rng.random(len(item)) < prominence
    theta = config.popularity_effect + config.women_more * female
    rating = 3 + theta[user] * popularity.ravel() + config.prominence_effect * prominent
    rating += quality[item] + taste[user, item] + generosity[user] + rng.normal(0, NOISE, len(item))
    return World(
        kind=kind,
        price=price,
        female=female,
        age=age,
        user=user,
        item=item,
        round=np.repeat(np.arange(config.interactions), config.users),
        propensity=chance.ravel(),
        prominent=prominent,
        prominence=prominence,
        popularity=popularity.ravel(),
        rating=rating,
    )


def _softmax_at(logits: Floats, item: Codes) -> Floats:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted[np.arange(len(item)), item] / shifted.sum(axis=1)
