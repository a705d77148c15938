"""Settings of the explanations."""

from typing import Literal

from pydantic import Field

from llm4rec.config import StrictModel


class ExplainConfig(StrictModel):
    """How reasons are written and how long that may take."""

    generator: str = Field(default="SmolLM2-135M-Instruct", min_length=1)
    """Language model that writes: the one that ships with the package, or any Hugging Face name or local folder."""

    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Number format of the weights."""

    max_new_tokens: int = Field(default=40, ge=8, le=200)
    """Tokens after which a reason that has not ended is given up."""

    batch_size: int = Field(default=4, ge=1, le=64)
    """Reasons written at once: more is faster in all, fewer has the first ones done sooner."""

    num_passages: int = Field(default=3, ge=0, le=10)
    """Evidence passages an item's prompt may hold."""

    num_anchors: int = Field(default=1, ge=0, le=2)
    """History items that a reason may name."""

    history_verb: str = Field(default="watched", pattern="^[a-z]{2,20}$")
    """What a user did to the items of his history, in the past: watched, bought, visited, read."""
