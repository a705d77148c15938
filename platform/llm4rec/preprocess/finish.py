"""Steps `interactions` and `items`: parts of the corpus's tables, with final codes, splits and statistics."""

import hashlib
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.artifacts import Part
from llm4rec.config import StrictModel
from llm4rec.preprocess.config import SourceConfig
from llm4rec.preprocess.details import join_details
from llm4rec.preprocess.log import ORDER
from llm4rec.preprocess.media import add_media
from llm4rec.preprocess.settle import CANDIDATES
from llm4rec.preprocess.sources import find_layout
from llm4rec.preprocess.split import leave_one_out, temporal
from llm4rec.preprocess.statistics import PartStatistics
from llm4rec.preprocess.work import Work
from llm4rec.schema import (
    EVENT,
    ITEM,
    ITEM_ID,
    REVIEW,
    SPLIT,
    SPLIT_NAMES,
    SPLIT_TEMPORAL,
    TIMESTAMP,
    TRAIN,
    USER,
    USER_ID,
    VALUE,
    WARM,
    BoolVector,
    IntVector,
)

FINAL = "final"
"""Codes: the final code of each provisional item, -1 for one without interactions that stay."""
PEOPLE, DETAILS = "people", "details"
"""Parts: the users file, and what the small files say of items."""


class InteractionsTask(StrictModel):
    """Finish one bucket."""

    work: str
    bucket: int
    first_user: int
    """Code of the bucket's first user that stays."""
    end_of_train: int
    end_of_valid: int
    timed: bool
    """Whether the source has times."""
    reviews: bool
    """Whether the source has review texts."""


class ItemsTask(StrictModel):
    """Finish one piece of the catalogue."""

    work: str
    source: SourceConfig
    piece: str
    first: int
    """Provisional code of the piece's first row that is no double."""


def finish_interactions(task: InteractionsTask) -> dict[str, Any]:
    """Write the bucket's parts of `interactions` and `users`.

    Returns:
        interactions, users: the parts. held_out: see `held_out_sum`. time_span: first and last moment.
        statistics: `PartStatistics` as plain values.
    """
    work, name = Work(task.work), f"{task.bucket:05d}"
    log, final, alive = work.read(f"settled/{name}"), work.read_array(FINAL), work.read_array(f"alive/{name}")
    log = log.filter(pa.array(alive[log[USER].to_numpy()] & (final >= 0)[log[ITEM].to_numpy()]))
    user_ids = work.read(f"users/{name}")[USER_ID].combine_chunks()
    columns = _columns(task, log, alive, final, user_ids, work.read(CANDIDATES)[ITEM_ID])
    table = pa.table(columns).combine_chunks()
    people = work.read_part(PEOPLE)
    span = pc.min_max(log[TIMESTAMP]).as_py()
    statistics = PartStatistics.of_interactions(
        lengths=np.bincount(log[USER].to_numpy(), minlength=len(alive))[alive].astype(np.int32),
        timestamps=log[TIMESTAMP].to_numpy() if task.timed else None,
        values=log[VALUE].to_numpy(),
        events=log[EVENT],
    )
    return {
        "interactions": asdict(work.write_part(f"interactions/{name}", table)),
        "users": asdict(work.write_part(f"people/{name}", rows_of(people, USER_ID, user_ids.filter(pa.array(alive))))),
        "held_out": held_out_sum(table),
        "time_span": [span["min"], span["max"]] if log.num_rows else None,
        "statistics": statistics.model_dump(mode="json"),
    }


def finish_items(task: ItemsTask) -> dict[str, Any]:
    """Write the piece's parts of `items`, one of warm and one of cold items.

    Returns:
        warm, cold: the parts. statistics: `PartStatistics` as plain values.
    """
    work = Work(task.work)
    items = work.read_part(f"parsed/{task.piece}").drop_columns([ORDER])
    items = items.filter(pa.array(~work.read_array(f"double_items/{task.piece}")))
    items = add_media(join_details(items, work.read_part(DETAILS)), find_layout(task.source))
    warm: BoolVector = work.read_array(FINAL)[task.first : task.first + items.num_rows] >= 0
    return {
        "warm": asdict(write_items(work, f"warm/{task.piece}", items.filter(pa.array(warm)), warm=True)),
        "cold": asdict(write_items(work, f"cold/{task.piece}", items.filter(pa.array(~warm)), warm=False)),
        "statistics": PartStatistics.of_items(items).model_dump(mode="json"),
    }


def write_items(work: Work, name: str, items: pa.Table, *, warm: bool) -> Part:
    """Write items with their column `warm`."""
    return work.write_part(name, items.append_column(WARM, pa.array(np.full(items.num_rows, warm))))


def rows_of(table: pa.Table, id_column: str, ids: pa.Array) -> pa.Table:
    """The rows of `ids`; an id that the table lacks gets nulls."""
    rows = table.take(pc.index_in(ids, value_set=table[id_column].combine_chunks()))
    return rows.set_column(table.schema.get_field_index(id_column), table.schema.field(id_column), ids)


def held_out_sum(interactions: pa.Table) -> str:
    """Sum of sha256 over (user_id, item_id, split) of the leave-one-out valid and test rows, in hexadecimal.

    Sums of parts add up, modulo 2 ** 256, to the sum of the whole, however the rows were cut into parts.
    """
    held_out = interactions.filter(pc.not_equal(interactions[SPLIT], SPLIT_NAMES[TRAIN]))
    total = 0
    for row in zip(*(held_out[name].to_pylist() for name in (USER_ID, ITEM_ID, SPLIT)), strict=True):
        # A length before each value keeps ("ab", "c") apart from ("a", "bc").
        text = "".join(f"{len(value)}:{value}" for value in row)
        total += int.from_bytes(hashlib.sha256(text.encode()).digest())
    return f"{total % 2**256:064x}"


def _columns(
    task: InteractionsTask,
    log: pa.Table,
    alive: BoolVector,
    final: IntVector,
    user_ids: pa.Array,
    item_ids: pa.ChunkedArray,
) -> dict[str, Any]:
    inside, item = log[USER].to_numpy(), log[ITEM].to_numpy()
    user = (task.first_user + np.cumsum(alive) - 1).astype(np.int32)[inside]
    names = pa.array(SPLIT_NAMES)
    by_time = temporal(log[TIMESTAMP].to_numpy(), task.end_of_train, task.end_of_valid)
    columns: dict[str, Any] = {
        USER_ID: user_ids.take(pa.array(inside)),
        ITEM_ID: item_ids.take(pa.array(item)),
        TIMESTAMP: log[TIMESTAMP],
        VALUE: log[VALUE],
        EVENT: log[EVENT],
        SPLIT: names.take(pa.array(leave_one_out(user - task.first_user))),
        SPLIT_TEMPORAL: names.take(pa.array(by_time)),
        USER: pa.array(user),
        ITEM: pa.array(final[item]),
    }
    return columns | ({REVIEW: log[REVIEW]} if task.reviews else {})
