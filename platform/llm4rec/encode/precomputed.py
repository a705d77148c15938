"""Vectors that were made elsewhere: .npy or Parquet files, matched to items by id.

Shapes: R rows of the file, I items, D width of a vector.
"""

import csv
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO, StringIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from llm4rec.artifacts import open_location
from llm4rec.encode.config import PrecomputedConfig
from llm4rec.encode.encoder import unit_length
from llm4rec.errors import DataError
from llm4rec.schema import BoolVector, FloatMatrix, Modality

_BLOCK = 2**20


@dataclass(frozen=True)
class PrecomputedVectors:
    """The vectors of one file.

    Attributes:
        vectors: shape (R, D), each column centred and divided by its standard deviation over the good rows, then each
            row scaled to length 1: whatever their unit was, they stand beside the other modalities as equals.
        finite: shape (R,), rows without NaN and infinity; the others are zero.
        ids: item id of each row.
    """

    vectors: FloatMatrix
    finite: BoolVector
    ids: list[str]

    def of(self, item_ids: Sequence[str]) -> Modality:
        """The vectors of these items."""
        found = np.asarray([self._rows.get(item_id, -1) for item_id in item_ids], np.int64)
        present = (found >= 0) & self.finite[found]
        return Modality(np.where(present[:, None], self.vectors[found], 0).astype(np.float32), present)

    def useless(self) -> dict[str, str]:
        """Why the vector of an item is of no use, for those whose is."""
        return {
            self.ids[row]: f"row {row} of the vectors holds NaN or infinity" for row in np.flatnonzero(~self.finite)
        }

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {item_id: row for row, item_id in enumerate(self.ids)}


def read_precomputed(name: str, config: PrecomputedConfig, source: str) -> PrecomputedVectors:
    """Read one modality's file.

    Args:
        name: the modality, for messages.
        config: which file, and where its ids are.
        source: the folder of the raw files, which relative paths start from.

    Raises:
        DataError: a file is missing or is not what its name says, rows differ in width, ids repeat or do not fit the
            rows, or no row is finite.
    """
    where = f"encode.precomputed.{name}"
    if config.path.endswith(".parquet"):
        raw, ids = _read_parquet(config, source, where)
    else:
        raw = _read_npy(config.path, source, f"{where}.path")
        ids = [str(row) for row in range(len(raw))] if config.row_is_id else _read_ids(config, source, where)
    if raw.ndim != 2 or not raw.size or not np.issubdtype(raw.dtype, np.number) or np.iscomplexobj(raw):
        raise DataError(f"{where}: {config.path} holds {raw.dtype} of shape {raw.shape}; it must be numbers, (rows, D)")
    if len(ids) != len(raw):
        raise DataError(f"{where}: {len(raw)} vectors but {len(ids)} ids; every row needs one id")
    _refuse_repeated(ids, where)
    return _comparable(raw, ids, where)


def fingerprint(config: PrecomputedConfig, source: str) -> str:
    """sha256 over the files of one modality; what they hold decides whether features are up to date.

    Raises:
        DataError: a file is missing.
    """
    digest = hashlib.sha256()
    for path in filter(None, (config.path, config.ids_file)):
        with _open(path, source, "encode.precomputed") as stream:
            while block := stream.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


def _comparable(raw: np.ndarray, ids: list[str], where: str) -> PrecomputedVectors:
    vectors = raw.astype(np.float32)
    finite: BoolVector = np.asarray(np.isfinite(vectors).all(axis=1))
    if not finite.any():
        raise DataError(f"{where}: every row holds NaN or infinity")
    mean = vectors[finite].mean(axis=0, dtype=np.float64)
    deviation = vectors[finite].std(axis=0, dtype=np.float64)
    vectors -= mean.astype(np.float32)
    vectors /= np.where(deviation > 0, deviation, 1).astype(np.float32)
    vectors[~finite] = 0
    return PrecomputedVectors(unit_length(vectors), finite, ids)


def _refuse_repeated(ids: list[str], where: str) -> None:
    first: dict[str, int] = {}
    for row, item_id in enumerate(ids):
        if item_id in first:
            raise DataError(f"{where}: rows {first[item_id]} and {row} both have the id {item_id!r}; ids must differ")
        first[item_id] = row


def _read_parquet(config: PrecomputedConfig, source: str, where: str) -> tuple[np.ndarray, list[str]]:
    with _open(config.path, source, f"{where}.path") as stream:
        try:
            file = pq.ParquetFile(stream)
            _require_columns((config.item_id, config.vector), file.schema_arrow.names, config.path, where)
            table = file.read(columns=[config.item_id, config.vector])
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{where}: {config.path} is no Parquet file: {' '.join(str(error).split())}") from None
    lists = table[config.vector].combine_chunks()
    is_list = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    if not any(check(lists.type) for check in is_list):
        raise DataError(f"{where}: column {config.vector!r} holds {lists.type}; it must hold lists of numbers")
    return _rectangular(lists, where), [str(item_id) for item_id in table[config.item_id].to_pylist()]


def _rectangular(lists: pa.Array, where: str) -> np.ndarray:
    """Lists of one length as a matrix; a null list is a row of NaN."""
    widths = pc.list_value_length(lists).fill_null(-1).to_numpy(zero_copy_only=False)
    known = widths[widths >= 0]
    if len(known) and (known != known[0]).any():
        row = int(np.flatnonzero((widths >= 0) & (widths != known[0]))[0])
        raise DataError(f"{where}: row {row} has {widths[row]} numbers, the rows before it {known[0]}")
    matrix = np.full((len(lists), int(known[0]) if len(known) else 0), np.nan, np.float32)
    try:
        numbers = lists.drop_null().flatten().cast(pa.float32()).to_numpy(zero_copy_only=False)
        matrix[widths >= 0] = numbers.reshape(len(known), -1)
    except (pa.ArrowException, ValueError) as error:
        raise DataError(f"{where}: the vectors are not numbers: {error}") from None
    return matrix


def _read_npy(path: str, source: str, where: str) -> np.ndarray:
    with _open(path, source, where) as stream:
        data = stream.read()
    try:
        return np.load(BytesIO(data), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise DataError(f"{where}: {path} is no .npy of plain values: {error}") from None


def _read_ids(config: PrecomputedConfig, source: str, where: str) -> list[str]:
    path, where = str(config.ids_file), f"{where}.ids_file"
    if path.endswith(".npy"):
        return [str(item_id) for item_id in _read_npy(path, source, where).ravel().tolist()]
    with _open(path, source, where) as stream:
        try:
            text = stream.read().decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise DataError(f"{where}: {path} is not UTF-8: {error}") from None
    if config.ids_column is None:
        return [line.strip() for line in text.splitlines()]
    rows = csv.DictReader(StringIO(text, newline=""), delimiter="\t" if path.endswith(".tsv") else ",")
    _require_columns((config.ids_column,), rows.fieldnames or (), path, where)
    return [row[config.ids_column] or "" for row in rows]


def _require_columns(wanted: Sequence[str], found: Sequence[str], path: str, where: str) -> None:
    if missing := [name for name in wanted if name not in found]:
        raise DataError(f"{where}: {path} has no column {missing[0]!r}; it has {', '.join(found) or 'none'}")


def _open(path: str, source: str, where: str) -> pa.NativeFile:
    if "://" in path or path.startswith("/"):
        fs, found = open_location(path)
    else:
        fs, folder = open_location(source)
        found = f"{folder.rstrip('/')}/{path}"
    if fs.get_file_info(found).type != pafs.FileType.File:
        raise DataError(f"{where}: there is no file {path!r}; paths are absolute, URIs, or start from {source!r}")
    return fs.open_input_file(found)
