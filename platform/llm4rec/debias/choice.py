"""The effect of popularity on being chosen, for logs whose outcomes are all the same or are not what is asked about."""

import numpy as np
import numpy.typing as npt

from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.covariates import Covariates
from llm4rec.debias.effects import EffectSample
from llm4rec.debias.propensity import among

TRIES = 50


def choice_sample(covariates: Covariates, config: DebiasConfig, rng: np.random.Generator) -> EffectSample | None:
    """Chosen items, outcome 1, beside items that the same user did not choose, outcome 0; None if there are none.

    The treatment is the item's popularity among other users: a pair's own interactions would make every chosen item a
    little more popular. An effect is a change of the share of chosen items in a sample with `negatives` others for
    each; drawn for the same user, that share is alike for all, so that effects can be compared among users. Items less
    popular among others than the log's rarest item can be (a k-core leaves none below k) are left out: only chosen
    ones could be, which would make popularity look harmful. What is known of items is adjusted for. What makes an item
    liked by everybody and is not known is not, and is taken for an effect of popularity.
    """
    train, num_items = covariates.train, len(covariates.popularity)
    keys, times = np.unique(train.user.astype(np.int64) * num_items + train.item, return_counts=True)
    total = np.bincount(train.item, minlength=num_items)
    rows = np.arange(len(keys))
    if len(keys) > (most := config.max_rows // (1 + config.negatives)):
        rows = rng.choice(rows, most, replace=False)
    others = draw_others(
        np.repeat(keys[rows] // num_items, config.negatives), keys, np.flatnonzero(total), num_items, rng
    )
    if not len(others):
        return None
    both = np.concatenate([keys[rows], others])
    user, item = (both // num_items).astype(np.int32), (both % num_items).astype(np.int32)
    among_others = total[item] - np.concatenate([times[rows], np.zeros(len(others), np.int64)])
    kept = among_others >= total[total > 0].min()
    chosen, user, item = np.arange(len(both)) < len(rows), user[kept], item[kept]
    confounders = covariates.items[item]
    varies = np.ptp(confounders, axis=0) > 0 if len(item) else np.zeros(confounders.shape[1], np.bool_)
    names = [name for name, varied in zip(covariates.item_names, varies, strict=True) if varied]
    return EffectSample(
        outcome=chosen[kept].astype(np.float32),
        treatment=covariates.scale.apply(among_others[kept]),
        modifiers=covariates.modifiers[user],
        confounders=confounders[:, varies],
        exposed=np.zeros(len(item), np.bool_),
        user=user,
        item=item,
        names=(*covariates.modifier_names, *names),
    )


def draw_others(
    users: npt.NDArray[np.int64],
    keys: npt.NDArray[np.int64],
    items: npt.NDArray[np.integer],
    num_items: int,
    rng: np.random.Generator,
) -> npt.NDArray[np.int64]:
    """For each entry of `users` the key (user * num_items + item) of an item uniform over those that are not in `keys`.

    By rejection; entries of users who chose nearly everything may be left without one.

    Args:
        users: codes, repeated as often as items are wanted.
        keys: of observed pairs, sorted.
        items: codes to draw from.
        num_items: size of the catalogue.
        rng: source of the draws.
    """
    drawn, waiting = [], users
    for _ in range(TRIES):
        if not len(waiting):
            break
        candidates = waiting * num_items + rng.choice(items, len(waiting))
        free = ~among(keys, candidates)
        drawn.append(candidates[free])
        waiting = waiting[~free]
    return np.concatenate([np.empty(0, np.int64), *drawn])
