"""Log and catalogue into one corpus: duplicates out, k-core, dense codes, stable order, two splits."""

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.errors import DataError
from llm4rec.preprocess.catalogue import Catalogue, item_table
from llm4rec.preprocess.chunks import Log
from llm4rec.preprocess.config import PreprocessConfig
from llm4rec.preprocess.log import ORDER, quarantine
from llm4rec.preprocess.split import k_core, leave_one_out, temporal
from llm4rec.schema import (
    EVENT,
    ITEM,
    ITEM_ID,
    NUMBERS,
    SPLIT,
    SPLIT_NAMES,
    SPLIT_TEMPORAL,
    TIMESTAMP,
    USER,
    USER_ID,
    VALUE,
    WARM,
    BoolVector,
    IntVector,
    LongVector,
)


@dataclass(frozen=True)
class Assembled:
    """A corpus in memory, with the tables as they are written.

    Attributes:
        interactions: user_id, item_id, timestamp, value, event, split, split_temporal, user, item; sorted by
            (user, timestamp, order in the file).
        items: the catalogue with `warm`; warm items first.
        users: those with interactions.
        quarantine: row, source, reason of every refused row.
        events: event names, sorted.
        num_warm_items: items with interactions.
    """

    interactions: pa.Table
    items: pa.Table
    users: pa.Table
    quarantine: pa.Table
    events: tuple[str, ...]
    num_warm_items: int


def assemble(log: Log, catalogue: Catalogue, config: PreprocessConfig) -> Assembled:
    """Make the corpus.

    Items keep the order of the catalogue file, warm ones first; an item or user that its file lacks gets a row made
    from the id, behind the known ones, in the order of the log. A log without times takes the row number as time.

    Raises:
        DataError: no interaction is left after the k-core.
    """
    table, duplicates = _drop_duplicates(_with_times(log.interactions), log.source)
    table = _keep_core(table, config)
    user_ids = _known_first(table[USER_ID], catalogue.users[USER_ID])
    warm_ids = _known_first(table[ITEM_ID], catalogue.items[ITEM_ID])
    user = _codes(table[USER_ID], user_ids)
    order = np.lexsort((table[ORDER].to_numpy(), table[TIMESTAMP].to_numpy(), user))
    table = table.take(pa.array(order))
    refused = pa.concat_tables([log.quarantine, catalogue.quarantine, duplicates])
    return Assembled(
        interactions=_with_splits(table, user[order], _codes(table[ITEM_ID], warm_ids), config),
        items=_items(catalogue.items, warm_ids),
        users=_rows_of(catalogue.users, USER_ID, user_ids),
        quarantine=refused.sort_by([("source", "ascending"), ("row", "ascending"), ("reason", "ascending")]),
        events=tuple(sorted(pc.unique(table[EVENT]).to_pylist())),
        num_warm_items=len(warm_ids),
    )


def _with_times(table: pa.Table) -> pa.Table:
    if table[TIMESTAMP].null_count < table.num_rows:
        return table
    return table.set_column(table.schema.get_field_index(TIMESTAMP), TIMESTAMP, table[ORDER])


def _drop_duplicates(table: pa.Table, source: str) -> tuple[pa.Table, pa.Table]:
    """Of rows that agree in user, item, timestamp and event keep the first; quarantine the rest."""
    keys = [_dictionary_codes(table[EVENT]), table[TIMESTAMP].to_numpy()]
    keys += [_dictionary_codes(table[ITEM_ID]), _dictionary_codes(table[USER_ID])]
    order = np.lexsort((table[ORDER].to_numpy(), *keys))
    same = np.logical_and.reduce([key[order][1:] == key[order][:-1] for key in keys])
    repeated = np.zeros(table.num_rows, bool)
    repeated[order[1:][same]] = True
    bad = [
        (row[ORDER], f"same user, item, timestamp and event as an earlier row: {row[USER_ID]!r}, {row[ITEM_ID]!r}")
        for row in table.filter(pa.array(repeated)).select([ORDER, USER_ID, ITEM_ID]).to_pylist()
    ]
    return table.filter(pa.array(~repeated)), quarantine(bad, source)


def _keep_core(table: pa.Table, config: PreprocessConfig) -> pa.Table:
    if config.max_users is not None:
        table = table.filter(pa.array(_first_users(table[USER_ID], config.max_users)))
    user, item = _dictionary_codes(table[USER_ID]), _dictionary_codes(table[ITEM_ID])
    kept = k_core(user, item, config.min_user_interactions, config.min_item_interactions)
    if not kept.any():
        raise DataError(
            f"none of {table.num_rows} interactions is left with min_user_interactions="
            f"{config.min_user_interactions} and min_item_interactions={config.min_item_interactions}; lower them"
        )
    return table.filter(pa.array(kept))


def _first_users(user_ids: pa.ChunkedArray, count: int) -> BoolVector:
    """Which rows belong to the first users by hash: the same users whatever the order of the file."""
    distinct = pc.unique(user_ids).to_pylist()
    chosen = sorted(distinct, key=lambda user_id: (hashlib.sha256(user_id.encode()).digest(), user_id))[:count]
    return pc.is_in(user_ids, value_set=pa.array(chosen, pa.string())).to_numpy()


def _known_first(seen: pa.ChunkedArray, known: pa.ChunkedArray) -> pa.Array:
    """The ids seen, each once: in the order of `known`, then those it lacks in the order of the log."""
    ids = pc.unique(seen)
    listed = known.filter(pc.is_in(known, value_set=ids)).combine_chunks()
    return pa.concat_arrays([listed, ids.filter(pc.invert(pc.is_in(ids, value_set=listed)))])


def _codes(values: pa.ChunkedArray, ids: pa.Array) -> IntVector:
    return pc.index_in(values, value_set=ids).to_numpy().astype(np.int32)


def _dictionary_codes(values: pa.ChunkedArray) -> IntVector:
    return _codes(values, pc.unique(values))


def _rows_of(table: pa.Table, id_column: str, ids: pa.Array) -> pa.Table:
    """The rows of `ids`; an id that the table lacks gets nulls."""
    rows = table.take(pc.index_in(ids, value_set=table[id_column].combine_chunks()))
    return rows.set_column(table.schema.get_field_index(id_column), table.schema.field(id_column), ids)


def _items(known: pa.Table, warm_ids: pa.Array) -> pa.Table:
    cold = known.filter(pc.invert(pc.is_in(known[ITEM_ID], value_set=warm_ids)))
    made_ids = warm_ids.filter(pc.invert(pc.is_in(warm_ids, value_set=known[ITEM_ID].combine_chunks())))
    made = item_table({ITEM_ID: made_ids.to_pylist()}, pa.nulls(len(made_ids), known.schema.field(NUMBERS).type))
    listed = known.filter(pc.is_in(known[ITEM_ID], value_set=warm_ids))
    # Media columns hold bytes where the catalogue does, so the made rows take its types.
    items = pa.concat_tables([listed, made.cast(known.schema), cold]).combine_chunks()
    return items.append_column(WARM, pa.array(np.arange(items.num_rows) < len(warm_ids)))


def _with_splits(table: pa.Table, user: IntVector, item: IntVector, config: PreprocessConfig) -> pa.Table:
    timestamp: LongVector = table[TIMESTAMP].to_numpy()
    names = pa.array(SPLIT_NAMES)
    columns = {name: table[name] for name in (USER_ID, ITEM_ID, TIMESTAMP, VALUE, EVENT)}
    columns[SPLIT] = names.take(pa.array(leave_one_out(user)))
    columns[SPLIT_TEMPORAL] = names.take(pa.array(temporal(timestamp, config.valid_fraction, config.test_fraction)))
    columns |= {USER: pa.array(user), ITEM: pa.array(item)}
    return pa.table(columns).combine_chunks()
