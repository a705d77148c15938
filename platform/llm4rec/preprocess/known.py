"""The catalogue, parsed: which items are known, and which rows repeat one."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.preprocess import refused
from llm4rec.preprocess.chunks import list_chunks
from llm4rec.preprocess.config import PreprocessConfig
from llm4rec.preprocess.items import number_names
from llm4rec.preprocess.log import ORDER
from llm4rec.preprocess.parse import CatalogueTask, parse_catalogue
from llm4rec.preprocess.pieces import Each, piece_table
from llm4rec.preprocess.sources import Layout
from llm4rec.preprocess.work import Work
from llm4rec.schema import ITEM_ID, BoolVector


@dataclass(frozen=True)
class Known:
    """The parsed catalogue.

    Attributes:
        pieces: see `piece_table`.
        ids: of its items, each once, in the order of the files: their places are their provisional codes.
        firsts: provisional code of each piece's first row that is no double.
        doubles: the refused rows that repeat an id.
    """

    pieces: pa.Table
    ids: pa.Array
    firsts: list[int]
    doubles: pa.Table


def read_known(layout: Layout, config: PreprocessConfig, work: Work, each: Each) -> Known:
    """Parse the catalogue; of rows with one id the first counts, in the order of the files.

    Raises:
        DataError: as `parse_catalogue`.
    """
    forms = [file.form for file in layout.items]
    by_form = {file.form: file for file in layout.items}
    names = number_names(layout)
    chunks = list_chunks(layout.folder, forms, config.chunk_bytes, multiline=True)
    tasks = [
        CatalogueTask(work=work.location, chunk=chunk, file=by_form[chunk.form], numbers=names) for chunk in chunks
    ]
    pieces = piece_table([chunk.form.file for chunk in chunks], each("catalogue", parse_catalogue, tasks), "items")
    tables = [work.read_part(f"parsed/{name}", [ITEM_ID, ORDER]) for name in pieces["name"].to_pylist()]
    lengths = [table.num_rows for table in tables]
    ids = pa.concat_tables([*tables, pa.table({ITEM_ID: pa.array([], pa.string()), ORDER: pa.array([], pa.int64())})])
    repeated: BoolVector = pd.Series(ids[ITEM_ID].to_pylist(), dtype=object).duplicated().to_numpy(bool)
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(int)
    for name, start, stop in zip(pieces["name"].to_pylist(), starts[:-1], starts[1:], strict=True):
        work.write_array(f"double_items/{name}", repeated[start:stop])
    firsts = [int((~repeated[:start]).sum()) for start in starts[:-1]]
    unique = ids[ITEM_ID].filter(pa.array(~repeated)).combine_chunks()
    return Known(pieces, unique, firsts, _double_items(ids, repeated, pieces, starts))


def _double_items(ids: pa.Table, repeated: BoolVector, pieces: pa.Table, starts: np.ndarray) -> pa.Table:
    places = np.flatnonzero(repeated)
    keys = ids[ITEM_ID].take(pa.array(places))
    firsts = pc.index_in(keys, value_set=ids[ITEM_ID]).to_numpy()
    piece = np.searchsorted(starts, np.arange(ids.num_rows), side="right") - 1
    before, sources = pieces["before_in_file"].to_numpy(), pieces["source"].to_pylist()
    rows = ids[ORDER].to_numpy() + (before[piece] if len(piece) else 0)
    where = [
        (sources[piece[place]], int(rows[place]), f"row {rows[first]} of {sources[piece[first]]}")
        for place, first in zip(places, firsts, strict=True)
    ]
    return refused.double_items(keys.to_pylist(), where)
