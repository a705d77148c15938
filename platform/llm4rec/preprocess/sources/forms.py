"""How the bytes of a file become columns: what its name, its header and its mapping say."""

import csv
import json
import logging
from collections.abc import Iterable, Sequence
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq

from llm4rec.errors import DataError
from llm4rec.preprocess.config import RawFile
from llm4rec.preprocess.folder import Folder
from llm4rec.preprocess.records import FileForm

log = logging.getLogger("llm4rec")

_QUOTED = {"csv": ",", "tsv": "\t"}
_RECBOLE = {"inter", "item", "user"}
_JSON = {"jsonl", "ndjson", "json"}


def find_form(folder: Folder, raw: RawFile, wanted: Sequence[str]) -> FileForm:
    """The form of a file, with the wanted columns checked where the file lists its columns.

    Raises:
        DataError: the file is missing or empty, its form is not known, or it lacks a wanted column.
    """
    folder.size(raw.file)
    ending = raw.file.removesuffix(".gz").rpartition(".")[2].lower()
    if ending == "parquet":
        require(raw.file, _parquet_columns(folder, raw.file), wanted)
        return FileForm(file=raw.file, kind="parquet")
    if ending in _JSON:
        return FileForm(file=raw.file, kind="jsonl")
    delimiter = raw.delimiter or _QUOTED.get(ending) or ("\t" if ending in _RECBOLE else None)
    if delimiter is None:
        raise DataError(
            f"{raw.file}: format not known by its ending; use .csv, .tsv, .inter, .jsonl (also .gz) or .parquet, "
            "or say which delimiter separates its columns"
        )
    quote = ending in _QUOTED and len(delimiter) == 1
    columns = raw.columns or _header(folder, raw, delimiter, quote=quote, typed=ending in _RECBOLE)
    require(raw.file, columns, wanted)
    return FileForm(
        file=raw.file,
        kind="delimited",
        columns=columns,
        delimiter=delimiter,
        quote=quote,
        header=not raw.columns,
        encoding=raw.encoding,
    )


def stored(names: Iterable[str], *files: str) -> str | None:
    """The name that the first of some files is stored under, plain or compressed."""
    held = set(names)
    return next((name for file in files for name in (file, f"{file}.gz") if name in held), None)


def require(file: str, columns: Sequence[str], wanted: Sequence[str]) -> None:
    """Raise a DataError if a file lacks a wanted column, or has two of its name."""
    if twice := sorted({name for name in wanted if list(columns).count(name) > 1}):
        raise DataError(f"{file}: more than one column is called {', '.join(map(repr, twice))}")
    if missing := sorted(set(wanted) - set(columns)):
        raise DataError(f"{file}: no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, columns))}")


def require_keys(folder: Folder, file: str, wanted: Sequence[str]) -> None:
    """Raise a DataError if no record of a JSON-lines file has a wanted key; warn if none of the first has it."""
    lines, whole = folder.first_lines(file)
    known: dict[str, None] = {}
    for line in lines:
        with suppress(ValueError, RecursionError):
            record = json.loads(line)
            known |= dict.fromkeys(record) if isinstance(record, dict) else {}
    missing = sorted(set(wanted) - set(known))
    if known and missing:
        records = "its records" if whole else f"its first {len(lines)} records"
        message = (
            f"{file}: none of {records} has {', '.join(map(repr, missing))}; they have {', '.join(map(repr, known))}"
        )
        if whole:
            raise DataError(message)
        log.warning("preprocess: %s", message)


def _header(folder: Folder, raw: RawFile, delimiter: str, *, quote: bool, typed: bool) -> tuple[str, ...]:
    line = folder.first_line(raw.file, raw.encoding)
    try:
        columns = next(csv.reader([line], delimiter=delimiter)) if quote else line.split(delimiter)
    except csv.Error as error:
        raise DataError(f"{raw.file}: its first line cannot be read as column names: {error}") from None
    # RecBole's headers carry types: `user_id:token`.
    return tuple(name.partition(":")[0] if typed else name for name in columns)


def _parquet_columns(folder: Folder, file: str) -> Sequence[str]:
    try:
        with folder.open(file) as stream:
            return list(pq.read_schema(stream).names)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file} in {folder.location!r} is not a Parquet file: {error}") from None
