"""Configuration of the online stage."""

from pydantic import Field, PositiveInt

from llm4rec.config import StrictModel
from llm4rec.online.user_state import DISLIKED_RATING


class LearnerConfig(StrictModel):
    """How item vectors and users' adapters follow feedback: momentum SGD, within bounds.

    The rates, the decay and `num_negatives` were chosen on the validation part of ML-100K's temporal split, see
    docs/log.md.
    """

    item_rate: float = Field(0.003, ge=0)
    """Step size of item vectors; 0 leaves them alone."""
    user_rate: float = Field(0.01, ge=0)
    """Step size of users' adapters; 0 leaves them alone."""
    momentum: float = Field(0.5, ge=0, lt=1)
    """Share of the last step that goes on."""
    user_decay: float = Field(0.9, gt=0, le=1)
    """What an adapter keeps at each event of its user: taste of the moment passes."""
    num_negatives: PositiveInt = 20
    """Items that an event moves beside its own: those the model held most likely in its place."""
    max_shift: float = Field(0.15, gt=0)
    """Farthest that an item vector of length 1 may be moved."""
    max_adapter: float = Field(1.0, gt=0)
    """Longest an adapter may grow."""
    max_weight: float = Field(10.0, ge=1)
    """Largest inverse propensity."""
    surprise: float = Field(0.3, gt=0, le=1)
    """Surprise from which an event counts fully, as a share of that of a choice among equally likely items."""
    daily_events: PositiveInt = 200
    """Events a day of one user that items learn from; of each pair of user and item only the first."""
    drift_window: PositiveInt = 500
    """Events over which learning must not do worse than not learning; it starts from zero where it does."""
    snapshot_s: float = Field(30.0, gt=0)
    """Seconds between snapshots of what was learnt."""


class OnlineConfig(StrictModel):
    """Where the durable log lives, and whether and how it is learnt from."""

    url: str = ""
    """SQLAlchemy URL of the log, `sqlite:////data/feedback.db` or `postgresql://user:password@host/database`; empty: a
    SQLite file in the run folder."""
    busy_timeout_s: float = Field(5.0, gt=0)
    """Seconds a writer waits for another one before the log counts as unavailable."""
    poll_s: float = Field(0.5, gt=0)
    """Seconds between looks at the log for feedback and releases, and between looks at what was learnt."""
    shards: PositiveInt = 1
    """Learners, each of a part of the users."""
    disliked_rating: float = DISLIKED_RATING
    """Feedback of event `rate` with a value up to this is a dislike; 2 suits ratings of 1 to 5."""
    learner: LearnerConfig | None = LearnerConfig()
    """How it is learnt; null: slates change with users' histories only."""
