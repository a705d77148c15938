"""A run of items through an encoder: rows of the corpus in, parts of a modality's table and of the quarantine out."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from llm4rec.artifacts import open_location, read_parquet, write_part
from llm4rec.config import StrictModel
from llm4rec.encode.config import EncodeConfig
from llm4rec.encode.encoder import Encoder
from llm4rec.encode.media import MediaLoader, shown
from llm4rec.schema import (
    AUDIO,
    CATEGORIES,
    IMAGE,
    ITEM_ID,
    NUMBERS,
    QUARANTINE_SCHEMA,
    TEXT,
    TITLE,
    Modality,
    modality_table,
)

Answer = dict[str, Any]

MEL = "mel"

COLUMNS = {
    TEXT: (ITEM_ID, TITLE, CATEGORIES, NUMBERS, TEXT),
    IMAGE: (ITEM_ID, IMAGE),
    AUDIO: (ITEM_ID, AUDIO),
    MEL: (ITEM_ID, AUDIO),
}
"""The columns of the catalogue that each modality which is encoded item by item is made from."""

_LOADED_AT_ONCE = 32


def load_encoder(modality: str, config: EncodeConfig) -> Encoder:
    """The encoder of a modality; a process imports the libraries of that one only, which are seconds each.

    Raises:
        ConfigError: it cannot be loaded.
    """
    if modality == TEXT:
        from llm4rec.encode.text import TextEncoder

        return TextEncoder(config)
    if modality == IMAGE:
        from llm4rec.encode.image import ImageEncoder

        return ImageEncoder(config)
    if modality == AUDIO:
        from llm4rec.encode.speech import SpeechEncoder

        return SpeechEncoder(config)
    from llm4rec.encode.mel import MelEncoder

    return MelEncoder(config)


class EncodeTask(StrictModel):
    """Encode one run of items."""

    run: str
    """Location of the run."""
    file: str
    """Path of a part of the corpus's items, inside the file system of the run."""
    start: int
    stop: int
    """Rows of the part."""
    first: int
    """Row of the whole catalogue that `start` is."""
    work: str
    """Location of the folder for unfinished parts."""
    number: int
    """Place of the run of items among all of them."""


class PartEncoder:
    """Encodes runs of items with an encoder that is loaded once.

    Raises:
        ConfigError: the encoder cannot be loaded.
    """

    def __init__(self, modality: str, config: EncodeConfig, source: str) -> None:
        """Load.

        Args:
            modality: a key of `COLUMNS`.
            config: encoders and limits.
            source: the folder of the raw files, which relative paths of media start from.
        """
        self._modality = modality
        self._encoder = load_encoder(modality, config)
        self._loader = MediaLoader(source, config)
        self._read: tuple[str, pa.Table] | None = None

    def __call__(self, task: EncodeTask) -> Answer:
        """Encode one run and write it; the answer is that of `write_answer`."""
        items = self._rows(task)
        encoded, reasons = self.encode(items)
        refused = [(task.first + row + 1, reason) for row, reason in enumerate(reasons) if reason is not None]
        return write_answer(task.work, self._modality, task.number, items[ITEM_ID].to_pylist(), encoded, refused)

    def encode(self, items: pa.Table) -> tuple[Modality, list[str | None]]:
        """Vectors of items, and by item the reason why its content could not be used."""
        if self._modality == TEXT:
            from llm4rec.encode.text import item_texts

            return self._encode(item_texts(items), lambda texts: [texts])
        values = items[COLUMNS[self._modality][1]].to_pylist()
        encoded, reasons = self._encode(values, lambda given: self._loader.load_batches(given, _LOADED_AT_ONCE))
        return encoded, [reason and f"{shown(value)}: {reason}" for value, reason in zip(values, reasons, strict=True)]

    def _encode(
        self, values: list[Any], batches: Callable[[list[Any]], Iterable[list[Any]]]
    ) -> tuple[Modality, list[str | None]]:
        given = np.asarray([value is not None and value != "" for value in values], bool)
        vectors = np.zeros((len(values), self._encoder.width), np.float32)
        reasons: list[str | None] = [None] * len(values)
        rows = iter(np.flatnonzero(given).tolist())
        for batch in batches([values[row] for row in np.flatnonzero(given)]):
            encoded = self._encoder.encode_readable(batch)
            for vector, reason in zip(encoded.vectors, encoded.reasons, strict=True):
                row = next(rows)
                vectors[row], reasons[row] = vector, reason
        present = given & np.asarray([reason is None for reason in reasons], bool)
        return Modality(vectors, present), reasons

    def _rows(self, task: EncodeTask) -> pa.Table:
        """The rows to encode; the part stays in memory, since the next task is mostly about the same one."""
        if self._read is None or self._read[0] != task.file:
            fs, _ = open_location(task.run)
            self._read = task.file, read_parquet(fs, task.file, list(COLUMNS[self._modality]))
        return self._read[1].slice(task.start, task.stop - task.start)


def make_folder(work: str, modality: str) -> None:
    """Make the folder that `write_answer` writes to."""
    fs, path = open_location(work)
    fs.create_dir(f"{path}/parts/{modality}", recursive=True)


def write_answer(
    work: str,
    modality: str,
    number: int,
    item_ids: list[str],
    encoded: Modality,
    refused: Sequence[tuple[int, str]],
) -> Answer:
    """Write what became of a run of items.

    Args:
        work: location of the folder for unfinished parts.
        modality: its name.
        number: place of the run of items among all of them.
        item_ids: their ids.
        encoded: their vectors.
        refused: row in the catalogue (from 1) and reason of each whose content could not be used.

    Returns:
        vectors: a part, (item_id, vector). quarantine: a part, or None. refusal: the first reason, or None. items,
        present, quarantined, absent: numbers of items, the last those without any content.
    """
    fs, path = open_location(work)
    folder = f"{path}/parts/{modality}"
    vectors = write_part(fs, f"{folder}/vectors-{number:05d}.parquet", modality_table(item_ids, encoded))
    quarantine = None
    if refused:
        columns = [[row for row, _ in refused], [modality] * len(refused), [reason for _, reason in refused]]
        table = pa.table(columns, schema=QUARANTINE_SCHEMA)
        quarantine = asdict(write_part(fs, f"{folder}/quarantine-{number:05d}.parquet", table))
    present = int(encoded.present.sum())
    return {
        "vectors": asdict(vectors),
        "quarantine": quarantine,
        "refusal": refused[0][1] if refused else None,
        "items": len(item_ids),
        "present": present,
        "quarantined": len(refused),
        "absent": len(item_ids) - present - len(refused),
    }
