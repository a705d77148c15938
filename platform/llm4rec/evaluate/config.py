"""Settings of the evaluation."""

from pydantic import Field, NonNegativeInt, PositiveInt

from llm4rec.config import StrictModel


class EvaluateConfig(StrictModel):
    """How models are ranked, measured and compared."""

    top_n: PositiveInt = 10
    """Length of a slate: the cut of every metric."""
    remove_seen: bool = True
    """Whether items of a user's history are left out of the ranking (the target itself never is)."""
    bootstrap_samples: PositiveInt = 1000
    """Resamples of the users behind every interval and p-value."""
    seed: NonNegativeInt = 0
    """Seed of the bootstrap."""
    popular_share: float = Field(default=0.2, gt=0, lt=1)
    """Share of the catalogue, most popular items first, that counts as popular in dp_gap and the slices."""
    min_group_size: PositiveInt = 20
    """Smaller user groups are too noisy to count in dp_gap; their users still count in the overall mean."""
    chunk_size: PositiveInt = 512
    """Users scored at a time: bounds memory, does not change any result."""
