"""Settings of the index stage."""

from pydantic import Field

from llm4rec.config import StrictModel


class IndexConfig(StrictModel):
    """How evidence passages and prices are made."""

    num_neighbours: int = Field(default=3, ge=1, le=20)
    """Other items that a similar-users passage names at most."""

    min_support: int = Field(default=5, ge=1)
    """Users who must have liked both items before one is named beside the other."""

    min_cosine: float = Field(default=0.1, gt=0, le=1)
    """Cosine of two items' sets of likers below which they are not called similar."""

    debias_loss: float = Field(default=0.01, ge=0, lt=1)
    """How much of the validation split's NDCG@10 the correction of popularity may cost at debias 1, relatively."""
