"""The effect of popularity on being chosen, for logs whose outcomes are all the same or are not what is asked about."""

import numpy as np

from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.covariates import Covariates
from llm4rec.debias.effects import EffectSample
from llm4rec.debias.propensity import draw_pairs


def choice_sample(covariates: Covariates, config: DebiasConfig, rng: np.random.Generator) -> EffectSample | None:
    """Observed pairs, outcome 1, beside unobserved ones, outcome 0; None where every pair is observed.

    The treatment is the item's popularity among other users: a pair's own interactions would make every chosen item a
    little more popular. An effect is a change of the share of chosen pairs in this sample, which has `negatives`
    unobserved pairs an observed one. What is known of items is adjusted for; what makes an item liked by everybody and
    is not known is not, so that the effect is rather too large than too small.
    """
    drawn = draw_pairs(covariates, config.max_rows // (1 + config.negatives), config.negatives, rng)
    if drawn is None:
        return None
    total = np.bincount(covariates.train.item, minlength=len(covariates.popularity))
    confounders = covariates.items[drawn.item]
    varies = np.ptp(confounders, axis=0) > 0
    names = [name for name, kept in zip(covariates.item_names, varies, strict=True) if kept]
    return EffectSample(
        outcome=(drawn.times > 0).astype(np.float32),
        treatment=covariates.scale.apply(total[drawn.item] - drawn.times),
        modifiers=covariates.modifiers[drawn.user],
        confounders=confounders[:, varies],
        exposed=np.zeros(len(drawn.item), np.bool_),
        user=drawn.user,
        item=drawn.item,
        names=(*covariates.modifier_names, *names),
    )
