"""Settings of the index stage."""

from collections.abc import Sequence

from pydantic import Field, field_validator

from llm4rec.config import StrictModel
from llm4rec.semantic_ids import GenerativeConfig


class IndexConfig(StrictModel):
    """How evidence passages, repaired states, prices and semantic ids are made."""

    num_neighbours: int = Field(default=3, ge=1, le=20)
    """Other items that a similar-users passage names at most."""

    min_support: int = Field(default=5, ge=1)
    """Users who must have liked both items before one is named beside the other."""

    min_cosine: float = Field(default=0.1, gt=0, le=1)
    """Cosine of two items' sets of likers below which they are not called similar."""

    num_reviews: int = Field(default=3, ge=0, le=100)
    """Sentences of reviews that are kept as evidence about an item at most, where the log has reviews."""

    review_words: tuple[int, int] = (6, 20)
    """The fewest and the most words of such a sentence."""

    repaired: tuple[str, ...] = ()
    """User attributes whose trace is taken out of user states. They must be known of the user who is served."""

    repair: float = Field(default=0.6, ge=0, le=1)
    """How much of it, from nothing to all; the report draws what it costs."""

    debias_loss: float = Field(default=0.01, ge=0, lt=1)
    """How much of the validation split's NDCG@10 the correction of popularity may cost at debias 1, relatively."""

    user_states: bool = True
    """Whether states of all users are computed, so that their first requests need not; a forward pass each."""

    exact_up_to: int = Field(default=1_000_000, ge=0)
    """Items up to which every one is scored for a request; of a larger catalogue an approximate index finds those that
    compete. At a million all inner products take a core 12 ms, the approximate index 3, which there found .84 of the
    best hundred, at five millions .99 (made-up vectors, benchmarks/sharded_index.py)."""

    generative: GenerativeConfig | None = None
    """Semantic ids of items, and a head that writes them; null: none, and every item is scored."""

    @field_validator("review_words")
    @classmethod
    def _in_order(cls, words: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= words[0] <= words[1]:
            raise ValueError(f"review_words must be two counts from 1 on, the fewest first, got {list(words)}")
        return words

    @field_validator("repaired")
    @classmethod
    def _each_once(cls, names: Sequence[str]) -> Sequence[str]:
        if twice := sorted({name for name in names if list(names).count(name) > 1}):
            raise ValueError(f"{', '.join(twice)} stands there more than once")
        return names
