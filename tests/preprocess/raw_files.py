"""Sources read without the rest of the stage, for tests of formats."""

import gzip
import json
from dataclasses import dataclass

import pyarrow as pa

from llm4rec.preprocess.config import SourceConfig
from llm4rec.preprocess.details import join_details, read_details
from llm4rec.preprocess.items import ITEM_COLUMNS, number_names, parse_items, wanted_columns
from llm4rec.preprocess.log import check_interactions, quarantine
from llm4rec.preprocess.media import add_media
from llm4rec.preprocess.people import read_users
from llm4rec.preprocess.small_files import read_file
from llm4rec.preprocess.sources import find_layout


@dataclass(frozen=True)
class Catalogue:
    """Items and users in file order, and the refused rows of their files as (row, source, reason)."""

    items: list[dict]
    users: list[dict]
    refused: list[tuple]


def source(folder, format="movielens", **settings) -> SourceConfig:
    return SourceConfig.model_validate({"format": format, "path": str(folder), **settings})


def tabular(folder, **sections) -> SourceConfig:
    return source(folder, "tabular", tabular=sections)


def read_log(config):
    """All interactions as dicts, file by file, and the refused rows as (row, source, reason)."""
    good, bad = [], []
    layout = find_layout(config)
    for file in layout.interactions:
        for records in read_file(layout.folder, file.form, file.mapping.wanted):
            tables = check_interactions(records, file.mapping)
            good += tables[0].to_pylist()
            bad += _tuples(tables[1])
    return good, bad


def read_catalogue(config) -> Catalogue:
    """Ids that occur twice are two items here."""
    layout = find_layout(config)
    details, bad_details = read_details(layout)
    users, bad_users = read_users(layout)
    items, bad = [], []
    for file in layout.items:
        for records in read_file(layout.folder, file.form, wanted_columns(file), file.mapping.separator):
            table, wrong = parse_items(records, file, number_names(layout))
            table = add_media(join_details(table, details), layout)
            items += table.select(ITEM_COLUMNS).to_pylist()
            bad += _tuples(quarantine(wrong, file.form.file))
    return Catalogue(items, users.to_pylist(), bad + _tuples(bad_details) + _tuples(bad_users))


def write_lines(path, records, packed=False):
    """Records as JSON lines; a record that is bytes is written as it is."""
    lines = [record if isinstance(record, bytes) else json.dumps(record).encode() for record in records]
    data = b"".join(line + b"\n" for line in lines)
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.with_name(f"{path.name}.gz") if packed else path).write_bytes(gzip.compress(data) if packed else data)


def _tuples(table: pa.Table) -> list[tuple]:
    return [tuple(row.values()) for row in table.to_pylist()]
