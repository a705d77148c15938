"""What the debias stage can be told."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llm4rec.config import StrictModel


class DebiasConfig(StrictModel):
    """Configuration of the debias stage."""

    propensity: Literal["logistic", "boosting", "naive_bayes"] = "logistic"
    """What predicts whether a pair of user and item is observed: a logistic regression; boosted trees, which find
    products of features by themselves and need a longer log; or naive Bayes on the outcome alone, which needs
    `random_event`."""

    random_event: str | None = None
    """Event name of interactions with items that were drawn at random, not chosen: a sample free of selection."""

    weights: Literal["ips", "snips", "dynamic"] = "snips"
    """Training weights: ips, density / propensity; snips, the same of mean 1; dynamic, a power of the propensity from 0
    to -1, chosen for each pair so that it has the least mix of squared bias and variance."""

    bias_share: float = Field(0.9, ge=0.5, le=1.0)
    """How much squared bias counts against variance in dynamic weights: 0.5 makes them equal, 1 inverse
    propensities."""

    clip_quantile: float | None = Field(None, ge=0.0, lt=1.0)
    """Propensities below this quantile of the train interactions' propensities are raised to it before weighting.
    0 turns it off. More clipping: less variance, more bias towards the log. Null: chosen on pairs that the propensity
    model has not seen, and 0.05 with naive Bayes, which knows observed pairs only."""

    clip_floor: float = Field(0.0, ge=0.0, lt=1.0)
    """Absolute lower bound on a propensity; where it and `clip_quantile` both apply, the larger threshold wins."""

    outcome_model: bool = False
    """Fit a model of the outcome of every pair, which doubly robust training takes for the outcomes that were not
    observed."""

    good_above: float | None = None
    """Values above this one are good outcomes, which that model predicts. Null: above the mean."""

    negatives: int = Field(2, ge=1, le=50)
    """Unobserved pairs sampled for each observed pair, for the propensity model and for the effect on the choice."""

    folds: int = Field(3, ge=2, le=20)
    """Folds of cross-fitting: nuisance models are fitted on the others and applied to one."""

    effect_on: Literal["value", "choice"] | None = None
    """What the effect of popularity is estimated on: the value of an interaction, or that there is one at all. Null:
    the value, or the choice where all values are the same."""

    effect_model: Literal["linear", "forest"] = "linear"
    """How the effect of popularity may differ among users: linearly in what is known of them, with intervals clustered
    by item, or as a causal forest finds it, with intervals that take interactions as independent."""

    exposure_event: str | None = None
    """Event name of interactions with items that were exposed, such as shown on top or recommended; all others are
    then the comparison. Null: items more popular at the time than the median count as exposed."""

    groups: tuple[str, ...] | None = None
    """User columns whose levels get their own effect. Null: every column that makes between 2 and 25 groups."""

    numeric_bins: int = Field(4, ge=2, le=20)
    """Numeric user columns (age) with more distinct values than this are cut into so many quantile bins."""

    min_group_users: int = Field(20, ge=1)
    """Levels with fewer users than this are reported together as `other`."""

    components: int = Field(8, ge=1, le=64)
    """Principal components kept of each item modality, to adjust for what an item is."""

    max_rows: int = Field(100_000, ge=100)
    """Interactions used at most for fitting; of a longer log a seeded sample. Every interaction gets a weight."""

    @model_validator(mode="after")
    def _naive_bayes_has_a_random_sample(self) -> Self:
        if self.propensity == "naive_bayes" and self.random_event is None:
            raise ValueError("propensity naive_bayes needs random_event, the event of a random sample")
        return self
