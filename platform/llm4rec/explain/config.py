"""Settings of the explanations."""

from typing import Literal, Self

from pydantic import Field, model_validator

from llm4rec.config import Precision, StrictModel


class TuneConfig(StrictModel):
    """Fine-tuning of the language model that writes reasons, by low-rank adapters (LoRA, Hu et al. 2021)."""

    examples: int = Field(default=240, ge=8)
    """Reasons to learn from: what users chose in training, with grounds and a true sentence made of them."""

    epochs: int = Field(default=1, ge=1)
    """Passes over them."""

    batch_size: int = Field(default=8, ge=1)
    """Examples a step."""

    rank: int = Field(default=16, ge=1)
    """Rank of the adapters."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Peak learning rate; it rises over the first tenth of the steps and falls to 0 in a line."""


class ExplainConfig(StrictModel):
    """How reasons are written and how long that may take."""

    generator: str = Field(default="SmolLM2-135M-Instruct", min_length=1)
    """Language model that writes: the one that ships with the package, or any Hugging Face name or local folder."""

    tune: TuneConfig | None = None
    """Fine-tunes it in the index stage on the run's own corpus; null: it writes as it is, after an example."""

    engine: Literal["auto", "openvino", "transformers"] = "auto"
    """Who runs it: OpenVINO (CPU, the packaged model), or transformers. `auto`: OpenVINO where it can and no GPU is."""

    precision: Precision = "auto"
    """Number format of the weights with transformers; `auto`: bf16 where there are instructions for it, else fp32."""

    max_new_tokens: int = Field(default=96, ge=8, le=400)
    """Tokens after which a reason that has not ended is given up."""

    batch_size: int = Field(default=16, ge=1, le=64)
    """Reasons written at once: more is faster in all, fewer has the first ones done sooner."""

    tokens_per_request: int = Field(default=2_000, ge=8)
    """New tokens that one request may cost, `max_new_tokens` a reason; further reasons come from the template."""

    tokens_per_minute: int = Field(default=60_000, ge=8)
    """New tokens that each replica of the explainer may be asked for in a minute; then templates answer."""

    num_passages: int = Field(default=4, ge=0, le=10)
    """Evidence passages an item's prompt may hold."""

    num_anchors: int = Field(default=1, ge=0, le=2)
    """History items that a reason may name."""

    history_verb: str = Field(default="watched", pattern="^[a-z]{2,20}$")
    """What a user did to the items of his history, in the past: watched, bought, visited, read."""

    @model_validator(mode="after")
    def _a_reason_can_be_paid(self) -> Self:
        for name in ("tokens_per_request", "tokens_per_minute"):
            if getattr(self, name) < self.max_new_tokens:
                raise ValueError(
                    f"{name} is {getattr(self, name)}, less than the {self.max_new_tokens} that one reason may take "
                    "(max_new_tokens); raise the one or lower the other"
                )
        return self
