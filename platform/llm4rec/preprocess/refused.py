"""The quarantine: what each step refused, with rows counted in the file that the user knows."""

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.preprocess.log import ORDER
from llm4rec.preprocess.records import shorten
from llm4rec.schema import ITEM_ID, QUARANTINE_SCHEMA, USER_ID

_ROWS = 1_000_000
SORTED = [("source", "ascending"), ("row", "ascending"), ("reason", "ascending")]
"""The order of a quarantine."""


def shift(refused: pa.Table, before: int) -> pa.Table:
    """Refused rows of a chunk, their rows counted from the start of the file."""
    return refused.set_column(0, QUARANTINE_SCHEMA.field("row"), pc.add(refused["row"], before))


def doubles(rows: pa.Table, pieces: pa.Table) -> pa.Table:
    """Refused repetitions of interactions.

    Args:
        rows: order (in the whole log), user_id, item_id.
        pieces: name, source, before (rows of the whole log), before_in_file; in the order of the log.
    """
    order, before = rows[ORDER].to_numpy(), pieces["before"].to_numpy()
    piece = np.searchsorted(before, order, side="left") - 1
    users, items = rows[USER_ID].to_pylist(), rows[ITEM_ID].to_pylist()
    reasons = [
        f"same user, item, timestamp and event as an earlier row: {user!r}, {item!r}"
        for user, item in zip(users, items, strict=True)
    ]
    row = order - before[piece] + pieces["before_in_file"].to_numpy()[piece]
    return pa.table([pa.array(row), pieces["source"].take(pa.array(piece)), reasons], schema=QUARANTINE_SCHEMA)


def double_items(ids: Sequence[str], where: Sequence[tuple[str, int, str]]) -> pa.Table:
    """Refused repetitions of items; `where` holds for each its file, its row, and which row came first."""
    reasons = [
        f"{ITEM_ID} {shorten(key)} was already in {first}" for key, (_, _, first) in zip(ids, where, strict=True)
    ]
    sources, rows = [source for source, _, _ in where], [row for _, row, _ in where]
    return pa.table([rows, sources, reasons], schema=QUARANTINE_SCHEMA)


def joined(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Refused rows in parts of about a million, each sorted by source, row and reason; at least one part."""
    held: list[pa.Table] = [QUARANTINE_SCHEMA.empty_table()]
    for table in tables:
        held.append(table)
        if sum(part.num_rows for part in held) >= _ROWS:
            yield pa.concat_tables(held).sort_by(SORTED)
            held = []
    if held:
        yield pa.concat_tables(held).sort_by(SORTED)
