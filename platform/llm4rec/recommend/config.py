"""Settings of the recommend stage, which a request to the service may override one by one."""

from typing import Literal

from pydantic import Field

from llm4rec.config import StrictModel


class QueryConfig(StrictModel):
    """How a request in words finds items; the defaults were chosen with half of the tags of ml-latest-small."""

    weight: float = Field(default=0.5, ge=0, le=100)
    """What words count against the taste of a user with a history, 1 for alike; of others words alone decide."""

    lexical: float = Field(default=0.3, ge=0, le=100)
    """What BM25, which is about 10 where a rare word is shared, counts against the cosine of meaning."""

    expansion: float = Field(default=1.0, ge=0, le=100)
    """What nearness to the best finds counts, in the space where items liked by the same users are near."""

    expansion_items: int = Field(default=5, ge=1, le=1000)
    """How many best finds that nearness is to."""

    popularity: float = Field(default=2.0, ge=0, le=100)
    """What popularity counts: most people mean the better known of two items. All three parts are standardised."""


class RecommendConfig(StrictModel):
    """How scores become slates, and where batch slates go.

    Scores are standardised for each user (mean 0, standard deviation 1 over his candidates) before anything else, so
    `temperature`, `debias` and steering weights mean the same for every user and model.
    """

    k: int = Field(default=10, ge=1, le=1000)
    """Items in a slate."""

    candidates: int = Field(default=100, ge=1, le=10_000)
    """Best items that diversity and the logging policy choose among; at least `k` are always kept."""

    candidates_from: Literal["scores", "semantic_ids"] = "scores"
    """Whether every item competes by its score, or those that the generative head writes (`index.generative`). Requests
    in words and `debias` choose among all: what they look for may not be what the user's taste alone would write."""

    beams: int = Field(default=200, ge=1, le=100_000)
    """Ways that the head follows at once, and items that it writes; at least `k` are."""

    temperature: float = Field(default=0.05, ge=0, le=100)
    """Of the logging policy, in standard deviations of the score: more explores more, 0 always shows the best."""

    diversity: float = Field(default=0.0, ge=0, le=1)
    """Weight of being unlike the items above, against the weight of the score, which is one minus it."""

    debias: float = Field(default=0.0, ge=0, le=10)
    """How much of the prices of popularity and exposure a slate pays; 0 nothing, 1 what `index.debias_loss` allows."""

    query: QueryConfig = QueryConfig()
    """How a request in words finds items."""

    users: str | None = None
    """File with one user id a line; without it slates are made for all users."""

    output: str = Field(default="slates.parquet", min_length=1)
    """Where batch slates are written: a path or URI; by default a file of this name in the run."""

    batch_size: int = Field(default=256, ge=1, le=65_536)
    """Users scored at once."""
