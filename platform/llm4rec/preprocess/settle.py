"""Step `settle`: one bucket of users, joined from all chunks, without duplicates, in the order of time."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.config import StrictModel
from llm4rec.preprocess.log import FRACTION, ORDER
from llm4rec.preprocess.work import Work
from llm4rec.schema import (
    EVENT,
    ITEM,
    ITEM_ID,
    REVIEW,
    TIMESTAMP,
    USER,
    USER_ID,
    VALUE,
    BoolVector,
    IntVector,
    user_hash,
)

PIECES = "pieces"
"""Table of the pieces of the log: name, source (the file's place), before (rows of all files before it)."""
CANDIDATES = "candidates"
"""Table of the items that may be in the corpus: item_id, by provisional code."""


class SettleTask(StrictModel):
    """Settle one bucket."""

    work: str
    bucket: int
    timed: bool
    """Whether the source has times; otherwise the order of the rows stands for time."""
    forgotten: frozenset[str] = frozenset()
    """Hashes of users whose rows are left out."""


def settle(task: SettleTask) -> dict[str, Any]:
    """Write `settled/` (sorted by user, moment, order), `users/` (ids by code in the bucket), `doubles/`.

    Of rows that agree in user, item, second and event the first of the files is kept.

    Returns:
        num_rows, num_users: of the bucket. doubles: rows refused.
    """
    work = Work(task.work)
    pieces = work.read(PIECES)
    log = pa.concat_tables(
        _placed(work.read_batch(f"log/{name}", task.bucket), before)
        for name, before in zip(pieces["name"].to_pylist(), pieces["before"].to_pylist(), strict=True)
    )
    if task.forgotten:
        log = log.filter(_of_others(log[USER_ID], task.forgotten))
    if not task.timed:
        log = log.set_column(log.schema.get_field_index(TIMESTAMP), TIMESTAMP, log[ORDER])
    user_ids = pc.unique(log[USER_ID]).sort()
    user = _codes(log[USER_ID], user_ids)
    item = _codes(log[ITEM_ID], work.read(CANDIDATES)[ITEM_ID])
    timestamp, fraction, order = (log[name].to_numpy() for name in (TIMESTAMP, FRACTION, ORDER))
    repeated = _repeated(order, user, item, timestamp, _codes(log[EVENT], pc.unique(log[EVENT])))
    rows = np.flatnonzero(~repeated)
    rows = rows[np.lexsort((order[rows], fraction[rows], timestamp[rows], user[rows]))]
    columns = {USER: user[rows], ITEM: item[rows], TIMESTAMP: timestamp[rows]}
    others = log.select([VALUE, EVENT, ORDER, REVIEW]).take(pa.array(rows))
    work.write(f"settled/{task.bucket:05d}", pa.table(columns | {name: others[name] for name in others.column_names}))
    work.write(f"users/{task.bucket:05d}", pa.table({USER_ID: user_ids}))
    work.write(f"doubles/{task.bucket:05d}", log.filter(pa.array(repeated)).select([ORDER, USER_ID, ITEM_ID]))
    return {"num_rows": len(rows), "num_users": len(user_ids), "doubles": int(repeated.sum())}


def _of_others(user_ids: pa.ChunkedArray, forgotten: frozenset[str]) -> pa.Array:
    """Which rows are of users who are not forgotten."""
    users = user_ids.unique()
    left = [user_hash(user_id) not in forgotten for user_id in users.to_pylist()]
    return pc.is_in(user_ids, value_set=users.filter(pa.array(left, pa.bool_())))


def _placed(log: pa.Table, before: int) -> pa.Table:
    """A piece's rows with `order` counted over the whole log instead of the chunk."""
    place = log.schema.get_field_index(ORDER)
    return log.set_column(place, ORDER, pc.add(log[ORDER], before))


def _codes(values: pa.ChunkedArray, ids: pa.Array | pa.ChunkedArray) -> IntVector:
    codes: IntVector = pc.index_in(values, value_set=ids).to_numpy().astype(np.int32)
    return codes


def _repeated(order: np.ndarray, *keys: np.ndarray) -> BoolVector:
    """Which rows agree in all keys with one of lower order."""
    sequence = np.lexsort((order, *keys))
    same = np.logical_and.reduce([key[sequence][1:] == key[sequence][:-1] for key in keys])
    repeated = np.zeros(len(order), bool)
    repeated[sequence[1:][same]] = True
    return repeated
