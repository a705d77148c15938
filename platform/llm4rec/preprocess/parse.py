"""Steps `log` and `catalogue`: the chunks of the raw files, checked, each into files of its own.

The log is scattered by user: every row goes to the bucket that its user's id hashes to, so that all that one user did
can later be read together, and no step holds more than one bucket.
"""

import zlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.config import StrictModel
from llm4rec.preprocess.chunks import Chunk, read_chunk
from llm4rec.preprocess.config import InteractionsFile
from llm4rec.preprocess.items import parse_items, wanted_columns
from llm4rec.preprocess.log import check_interactions, quarantine
from llm4rec.preprocess.sources import CatalogueFile
from llm4rec.preprocess.work import Work
from llm4rec.schema import ITEM_ID, USER_ID, IntVector


class LogTask(StrictModel):
    """Parse one chunk of the interactions."""

    work: str
    chunk: Chunk
    mapping: InteractionsFile
    num_buckets: int


class CatalogueTask(StrictModel):
    """Parse one chunk of the catalogue."""

    work: str
    chunk: Chunk
    file: CatalogueFile
    numbers: tuple[str, ...]


def parse_log(task: LogTask) -> dict[str, Any]:
    """Write, for each piece of the chunk, `log/` (a batch a bucket), `seen/` (its items) and, if need be, `refused/`.

    `order` is the line in the chunk.

    Returns:
        pieces: names of the pieces. refused: names of those with refused rows. num_rows: lines of the chunk.

    Raises:
        DataError: as `read_chunk` and `check_interactions`.
    """
    work, mapping = Work(task.work), task.mapping
    pieces, refused, num_rows = [], [], 0
    for number, records in enumerate(read_chunk(task.chunk, mapping.wanted)):
        name = f"{task.chunk.index:05d}-{number:05d}"
        good, bad = check_interactions(records, mapping)
        buckets = _buckets(good[USER_ID], task.num_buckets)
        order = np.argsort(buckets, kind="stable")
        starts = np.searchsorted(buckets[order], np.arange(task.num_buckets))
        work.write_batches(f"log/{name}", good.take(pa.array(order)), starts.tolist())
        work.write(f"seen/{name}", pa.table({ITEM_ID: pc.unique(good[ITEM_ID])}))
        if bad.num_rows:
            work.write(f"refused/log-{name}", bad)
            refused.append(f"log-{name}")
        pieces.append(name)
        num_rows += records.num_rows
    return {"pieces": pieces, "refused": refused, "num_rows": num_rows}


def parse_catalogue(task: CatalogueTask) -> dict[str, Any]:
    """Write, for each piece of the chunk, `parsed/` (item rows with their `order`, the line in the chunk).

    Returns:
        As `parse_log`.

    Raises:
        DataError: as `read_chunk`, or a column cannot hold what it is mapped to.
    """
    work, file = Work(task.work), task.file
    pieces, refused, num_rows = [], [], 0
    for number, records in enumerate(read_chunk(task.chunk, wanted_columns(file), file.mapping.separator)):
        name = f"{task.chunk.index:05d}-{number:05d}"
        items, bad = parse_items(records, file, task.numbers)
        work.write_part(f"parsed/{name}", items)
        if bad:
            work.write(f"refused/items-{name}", quarantine(bad, file.form.file))
            refused.append(f"items-{name}")
        pieces.append(name)
        num_rows += records.num_rows
    return {"pieces": pieces, "refused": refused, "num_rows": num_rows}


def _buckets(user_ids: pa.ChunkedArray, count: int) -> IntVector:
    """The bucket of each row, by a hash that is the same on every machine."""
    if count == 1:
        return np.zeros(len(user_ids), np.int32)
    users = user_ids.combine_chunks().dictionary_encode()
    if isinstance(users, pa.ChunkedArray):
        users = users.combine_chunks()
    hashed = [zlib.crc32(user_id.encode()) % count for user_id in users.dictionary.to_pylist()]
    return np.asarray(hashed, np.int32)[users.indices.to_numpy()]
