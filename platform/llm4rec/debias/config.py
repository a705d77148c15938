"""What the debias stage can be told."""

from pydantic import Field

from llm4rec.config import StrictModel


class DebiasConfig(StrictModel):
    """Configuration of the debias stage."""

    clip_quantile: float = Field(0.05, ge=0.0, lt=1.0)
    """Propensities below this quantile of the train interactions' propensities are raised to it before weighting.
    0 turns it off. More clipping: less variance, more bias towards the log."""

    clip_floor: float = Field(0.0, ge=0.0, lt=1.0)
    """Absolute lower bound on a propensity; where it and `clip_quantile` both apply, the larger threshold wins."""

    negatives: int = Field(2, ge=1, le=50)
    """Unobserved pairs sampled for each observed pair to fit the propensity model."""

    folds: int = Field(3, ge=2, le=20)
    """Folds of cross-fitting: nuisance models are fitted on the others and applied to one."""

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
