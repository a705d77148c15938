"""Settings of the index stage."""

from pydantic import Field

from llm4rec.config import StrictModel


class IndexConfig(StrictModel):
    """How the evidence passages are made."""

    num_neighbours: int = Field(default=3, ge=1, le=20)
    """Other items that a similar-users passage names at most."""

    min_support: int = Field(default=5, ge=1)
    """Users who must have liked both items before one is named beside the other."""

    min_cosine: float = Field(default=0.1, gt=0, le=1)
    """Cosine of two items' sets of likers below which they are not called similar."""
