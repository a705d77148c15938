"""The debias stage: corpus and features in, propensities, weights and effects out."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from llm4rec.debias.attributes import Attribute
from llm4rec.debias.choice import choice_sample
from llm4rec.debias.config import DebiasConfig
from llm4rec.debias.covariates import Covariates, build_covariates
from llm4rec.debias.effects import (
    MAX_TREATMENT_R2,
    Each,
    EffectSample,
    PopularityModel,
    effect_sample,
    fit_popularity,
    here,
    naive_slope,
)
from llm4rec.debias.exposure import exposure_effect
from llm4rec.debias.outcome import fit_outcome
from llm4rec.debias.propensity import Propensities, fit_propensities
from llm4rec.debias.refute import refute
from llm4rec.debias.result import Effects
from llm4rec.debias.weights import clip, clip_threshold, effective_sample_size, training_weights
from llm4rec.schema import TRAIN, Corpus, Features, FloatVector

TREATMENTS = {
    "value": "log popularity of the item at the time of the interaction, standardised",
    "choice": "log popularity of the item among other users, standardised",
}


def estimate(corpus: Corpus, features: Features, config: DebiasConfig, seed: int, each: Each = here) -> Effects:
    """Estimate propensities, weights and causal effects on the train split. Equal inputs give equal results.

    A log that cannot answer a question (no overlap, one group, too few rows) gives null for
    that answer and a sentence in `summary["warnings"]`.

    Args:
        corpus: whose train split is looked at.
        features: of its items.
        config: what to estimate, and how.
        seed: of everything random.
        each: runs independent fits, here or elsewhere.

    Raises:
        DataError: the corpus has no train interactions, values are not finite, the features belong to another
            corpus, or `config.groups` names a column that cannot be used.
    """
    covariates = build_covariates(corpus, features, config)
    weighing = _weigh(covariates, config, seed)
    propensities, train_weight = weighing.propensities, weighing.weight
    outcome = fit_outcome(covariates, train_weight, config, seed) if config.outcome_model else None
    if isinstance(outcome, str):
        propensities.warnings.append(outcome)
        outcome = None
    rng = np.random.default_rng(seed)
    outcomes = effect_sample(covariates, config.max_rows, rng)
    exposure, warnings = _exposure(covariates, outcomes, config, seed, each)
    on, sample, notes = _asked(covariates, outcomes, config, rng)
    popularity, user_effect, more = _popularity(covariates, on, sample, config, seed, each)
    summary = {
        "outcome": on,
        "rows": len(sample.outcome),
        "popularity_unit": {"log_mean": covariates.scale.mean, "log_deviation": covariates.scale.deviation},
        "propensity": {
            "weights": config.weights,
            "clip_quantile": weighing.clip_quantile,
            **_propensity_summary(weighing),
        },
        "outcome_model": None if outcome is None else {"threshold": outcome.threshold, "held_out_loss": outcome.loss},
        "popularity_effect": popularity,
        "exposure_effect": exposure,
        "warnings": [*propensities.warnings, *_group_warnings(covariates.attributes), *notes, *warnings, *more],
    }
    propensity, weight = _of_all(corpus, propensities.train, np.nan), _of_all(corpus, train_weight, 0)
    return Effects(propensity, weight, user_effect, covariates.popularity, summary, outcome)


def estimate_weights(corpus: Corpus, features: Features, config: DebiasConfig, seed: int) -> FloatVector:
    """The training weights that `estimate` finds, shape (N,), and nothing else.

    Raises:
        DataError: as `estimate` does.
    """
    return _of_all(corpus, _weigh(build_covariates(corpus, features, config), config, seed).weight, 0)


@dataclass(frozen=True)
class _Weighing:
    """Propensities, where they are clipped, and the weights that come of it, shape (train interactions,)."""

    propensities: Propensities
    clip_quantile: float
    threshold: float
    weight: FloatVector


def _weigh(covariates: Covariates, config: DebiasConfig, seed: int) -> _Weighing:
    found = fit_propensities(covariates, config, seed)
    quantile = found.clip_quantile if config.clip_quantile is None else config.clip_quantile
    threshold = clip_threshold(found.train, quantile, config.clip_floor)
    weight = training_weights(clip(found.train, threshold), float(found.diagnostics["density"]), config)
    return _Weighing(found, quantile, threshold, weight)


def _of_all(corpus: Corpus, of_train: FloatVector, elsewhere: float) -> FloatVector:
    """Values of the train interactions, in the order of all."""
    in_train = corpus.interactions.split == TRAIN
    values = np.full(len(in_train), elsewhere, np.float32)
    values[in_train] = of_train
    return values


def _asked(
    covariates: Covariates, outcomes: EffectSample, config: DebiasConfig, rng: np.random.Generator
) -> tuple[str, EffectSample, list[str]]:
    """What the effect of popularity is on, the rows it is estimated on, and what the report must say of that."""
    constant = np.ptp(outcomes.outcome) == 0
    if config.effect_on == "value" or not (constant or config.effect_on):
        return "value", outcomes, []
    choices = choice_sample(covariates, config, rng)
    if choices is None:
        return "value", outcomes, ["every user chose everything: the effect of popularity is not that on the choice"]
    if not constant:
        return "choice", choices, []
    note = f"the outcome is constant ({outcomes.outcome[0]:g}): the effect of popularity is that on being chosen"
    return "choice", choices, [note]


def _exposure(
    covariates: Covariates, outcomes: EffectSample, config: DebiasConfig, seed: int, each: Each
) -> tuple[dict[str, Any] | None, list[str]]:
    """The effect of exposure on the value."""
    if problem := outcomes.problem(config.folds):
        return None, [f"exposure: {problem}"]
    [(found, warnings)] = each(exposure_effect, [(outcomes, config.folds, seed)])
    return None if found is None else {"treatment": covariates.exposure, **found}, warnings


def _popularity(
    covariates: Covariates, on: str, sample: EffectSample, config: DebiasConfig, seed: int, each: Each
) -> tuple[dict[str, Any] | None, FloatVector, list[str]]:
    """The effect of popularity, on average and of each user, and warnings."""
    nothing = np.zeros(len(covariates.activity), np.float32)
    if problem := sample.problem(config.folds):
        return None, nothing, [f"popularity: {problem}"]
    model = fit_popularity(sample, config.folds, seed, config.effect_model, each)
    if model.scores["treatment_r2"] > MAX_TREATMENT_R2:
        warning = (
            f"no overlap: the covariates determine popularity (R2 {model.scores['treatment_r2']:.3f}): "
            "the popularity effect is null"
        )
        return None, nothing, [warning]
    warnings = []
    refutations = refute(sample, config.folds, seed, each)
    warnings += [_failed(name, found) for name, found in refutations.items() if found.get("passed") is False]
    if model.clusters < 20:
        warnings.append(f"only {model.clusters} items have train interactions: intervals are rough")
    popularity = {
        "estimator": model.estimator,
        "treatment": TREATMENTS[on],
        **model.average(sample.modifiers),
        "naive": naive_slope(sample),
        "by_group": _by_group(model, sample, covariates.attributes),
        "refutations": refutations,
        "nuisance": model.scores,
    }
    if popularity["ci95"][0] <= 0:
        warnings.append("popularity has no effect above 0 on average: debias corrects nothing")
        return popularity, nothing, warnings
    return popularity, model.effect(covariates.modifiers), warnings


def _failed(name: str, found: dict[str, Any]) -> str:
    low, high = found["ci95"]
    what = {
        "placebo": "the interval of a permuted treatment leaves out 0",
        "random_common_cause": "with a confounder of pure noise the effect leaves its interval",
        "subset": "the interval on half of the items leaves out the effect on all",
    }[name]
    return (
        f"refutation {name}: {what} (effect {found['effect']:.4f}, interval {low:.4f} to {high:.4f}); "
        "chance alone does this in about one run of twenty, another seed tells"
    )


def _by_group(
    model: PopularityModel, sample: EffectSample, attributes: list[Attribute]
) -> dict[str, list[dict[str, Any]]]:
    """For each attribute, the effect averaged over the interactions of each level's users."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for attribute in attributes:
        row_codes = attribute.codes[sample.user]
        groups[attribute.name] = [
            {
                "group": level,
                "num_users": int((attribute.codes == code).sum()),
                **model.average(sample.modifiers[row_codes == code]),
            }
            for code, level in enumerate(attribute.levels)
            if (row_codes == code).any()
        ]
    return groups


def _group_warnings(attributes: list[Attribute]) -> list[str]:
    if not attributes:
        return ["no user column makes groups: effects are reported for all users together"]
    return [
        f"user column {attribute.name!r} has one group only ({attribute.levels[0]}): no comparison is possible"
        for attribute in attributes
        if len(attribute.levels) == 1
    ]


def _propensity_summary(weighing: _Weighing) -> dict[str, Any]:
    weight, threshold = weighing.weight, weighing.threshold
    size = effective_sample_size(weight)
    return {
        **weighing.propensities.diagnostics,
        "clip_threshold": threshold,
        "clipped_share": float((weighing.propensities.train < threshold).mean()),
        "max_weight": float(weight.max()),
        "effective_sample_size": size,
        "effective_share": size / len(weight),
    }
