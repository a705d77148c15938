"""The whole stage: raw files into the parts of a corpus, step by step.

Each step runs one function on many tasks; `each` says where. No step holds more than a chunk of a file, a bucket of
users, the users file, or the ids of the items and a flag a user, so memory follows the settings, the catalogue and the
users, not the length of the log:

    catalogue   chunk of the catalogue  -> parsed items
    log         chunk of the log        -> rows by bucket of users, items seen
    settle      bucket                  -> rows in order, without doubles
    (core)      here, bucket by bucket  -> which users and items stay, where the log is cut in time
    interactions, items                 -> parts of the artifact
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from llm4rec.artifacts import Part
from llm4rec.errors import DataError
from llm4rec.preprocess import refused
from llm4rec.preprocess.chunks import list_chunks
from llm4rec.preprocess.config import PreprocessConfig, SourceConfig
from llm4rec.preprocess.core import Core, first_users, k_core, moments_of_ranks
from llm4rec.preprocess.details import read_details
from llm4rec.preprocess.finish import (
    DETAILS,
    FINAL,
    PEOPLE,
    InteractionsTask,
    ItemsTask,
    finish_interactions,
    finish_items,
    write_items,
)
from llm4rec.preprocess.items import item_table
from llm4rec.preprocess.known import Known, read_known
from llm4rec.preprocess.parse import LogTask, parse_log
from llm4rec.preprocess.people import read_users
from llm4rec.preprocess.pieces import Answer, Each, piece_table
from llm4rec.preprocess.settle import CANDIDATES, PIECES, SettleTask, settle
from llm4rec.preprocess.sources import Layout, find_layout
from llm4rec.preprocess.split import cut_ranks
from llm4rec.preprocess.statistics import PartStatistics
from llm4rec.preprocess.summary import CorpusStatistics, summarise
from llm4rec.preprocess.work import Work
from llm4rec.schema import ITEM, ITEM_ID, NUMBERS, TIMESTAMP, USER, USER_ID, WARM, IntVector, LongVector

READER = 2
"""Another number when the same files come out otherwise, so that corpora of before are made again."""
_GZIP_FACTOR = 4  # a rough size of a .gz once unpacked, for choosing the number of buckets


@dataclass(frozen=True)
class CorpusParts:
    """A finished corpus, its tables still in the work folder.

    Attributes:
        interactions: user_id, item_id, timestamp, value, event, split, split_temporal, user, item (and review, where
            the source has texts); sorted by (user, timestamp, order in the files).
        items: the catalogue with `warm`; warm items first.
        users: those with interactions.
        quarantine: row, source, reason of every refused row.
        info: what `corpus.json` holds.
        statistics: what the corpus report shows.
    """

    interactions: list[Part]
    items: list[Part]
    users: list[Part]
    quarantine: list[Part]
    info: Answer
    statistics: CorpusStatistics


def preprocess(
    source: SourceConfig,
    config: PreprocessConfig,
    work: Work,
    each: Each,
    forgotten: frozenset[str] = frozenset(),
) -> CorpusParts:
    """Make a corpus.

    Users are coded bucket by bucket in the order of their ids. Items keep the order of the catalogue's files, warm
    ones first; one that the catalogue lacks gets a row made from the id, behind the known warm ones.

    Args:
        source: what is read.
        config: how.
        work: for unfinished parts.
        each: does a step's tasks.
        forgotten: hashes of users who are left out.

    Raises:
        DataError: the source cannot be used, the log has no item of the catalogue, or no interaction is left after the
            k-core.
    """
    layout = find_layout(source)
    work.make("log", "seen", "refused", "parsed", "settled", "users", "doubles", "double_items", "alive")
    work.make("interactions", "people", "warm", "cold", "quarantine")
    details, bad_details = read_details(layout)
    people, bad_users = read_users(layout)
    work.write_part(DETAILS, details)
    work.write_part(PEOPLE, people)
    known = read_known(layout, config, work, each)
    num_buckets = _read_log(layout, config, work, each)
    candidates = _candidates(work, known)
    timed = _timed(layout)
    tasks = [SettleTask(work=work.location, bucket=b, timed=timed, forgotten=forgotten) for b in range(num_buckets)]
    settled = each("settle", settle, tasks)
    core = _core(work, config, num_buckets, len(candidates), sum(answer["num_rows"] for answer in settled))
    final = _final_codes(core)
    work.write_array(FINAL, final)
    finished = _finish_log(layout, config, work, each, core)
    items, of_items = _finish_items(source, work, each, known, candidates, final)
    small = pa.concat_tables([bad_details, bad_users])
    quarantine, of_quarantine = _quarantine(work, known, num_buckets, small)
    parts = [*(PartStatistics(**answer["statistics"]) for answer in finished), *of_items, *of_quarantine]
    total = sum(parts, PartStatistics())
    return CorpusParts(
        interactions=[Part(**answer["interactions"]) for answer in finished],
        items=items,
        users=[Part(**answer["users"]) for answer in finished],
        quarantine=quarantine,
        info=_info(finished, core, total),
        statistics=summarise(total, core.counts),
    )


def _read_log(layout: Layout, config: PreprocessConfig, work: Work, each: Each) -> int:
    """Parse the log and list its pieces; returns the number of buckets."""
    by_form = {file.form: file.mapping for file in layout.interactions}
    forms = [file.form for file in layout.interactions]
    sizes = [layout.folder.size(form.file) * (_GZIP_FACTOR if form.file.endswith(".gz") else 1) for form in forms]
    num_buckets = -(-sum(sizes) // config.bucket_bytes)
    chunks = list_chunks(layout.folder, forms, config.chunk_bytes)
    tasks = [
        LogTask(work=work.location, chunk=chunk, mapping=by_form[chunk.form], num_buckets=num_buckets)
        for chunk in chunks
    ]
    work.write(PIECES, piece_table([chunk.form.file for chunk in chunks], each("log", parse_log, tasks), "log"))
    return num_buckets


def _candidates(work: Work, known: Known) -> pa.Array:
    """Ids by provisional code: the catalogue's, then those that only the log has, in the order of the log."""
    catalogue = set(known.ids.to_pylist())
    seen, made, met = set(catalogue), list[str](), False
    for name in work.read(PIECES, ["name"])["name"].to_pylist():
        own = work.read(f"seen/{name}")[ITEM_ID].to_pylist()
        met = met or not catalogue.isdisjoint(own)
        fresh = [item_id for item_id in own if item_id not in seen]
        seen.update(fresh)
        made += fresh
    if catalogue and made and not met:
        raise DataError(
            f"none of the log's {len(made)} items is among the catalogue's {len(catalogue)}: the log has {made[0]!r}, "
            f"the catalogue {known.ids[0].as_py()!r}; an item must have the same id in both"
        )
    ids = pa.concat_arrays([known.ids, pa.array(made, pa.string())])
    work.write(CANDIDATES, pa.table({ITEM_ID: ids}))
    return ids


def _timed(layout: Layout) -> bool:
    return all(file.mapping.timestamp is not None for file in layout.interactions)


def _core(work: Work, config: PreprocessConfig, num_buckets: int, num_items: int, num_rows: int) -> Core:
    if not num_rows:
        raise DataError(_nothing_good(work))
    user_ids = (work.read(f"users/{b:05d}")[USER_ID].to_pylist() for b in range(num_buckets))
    if config.max_users is None:
        users = [np.ones(len(ids), bool) for ids in user_ids]
    else:
        users = first_users(user_ids, config.max_users)

    def read(bucket: int) -> tuple[IntVector, IntVector]:
        table = work.read(f"settled/{bucket:05d}", [USER, ITEM])
        return table[USER].to_numpy(), table[ITEM].to_numpy()

    core = k_core(read, users, num_items, config.min_user_interactions, config.min_item_interactions)
    if not core.items.any():
        raise DataError(
            f"none of {num_rows} interactions is left with min_user_interactions={config.min_user_interactions} "
            f"and min_item_interactions={config.min_item_interactions}; lower them"
        )
    for bucket, alive in enumerate(core.users):
        work.write_array(f"alive/{bucket:05d}", alive)
    return core


def _nothing_good(work: Work) -> str:
    pieces = work.read(PIECES)
    found = [
        refused.shift(work.read(f"refused/{name}"), before).slice(0, 1).to_pylist()[0]
        for name, before in zip(pieces["refused"].to_pylist(), pieces["before_in_file"].to_pylist(), strict=True)
        if name
    ]
    source = pieces["source"][0].as_py()
    if not found:
        return f"{source}: no interactions, only a header or blank lines"
    total = sum(work.read(f"refused/{name}").num_rows for name in pieces["refused"].to_pylist() if name)
    return f"{source}: all {total} rows were refused; the first, row {found[0]['row']}: {found[0]['reason']}"


def _final_codes(core: Core) -> IntVector:
    final = np.full(len(core.items), -1, np.int32)
    final[core.items] = np.arange(core.items.sum(), dtype=np.int32)
    return final


def _finish_log(layout: Layout, config: PreprocessConfig, work: Work, each: Each, core: Core) -> list[Answer]:
    def timestamps() -> Iterator[LongVector]:
        for bucket in range(len(core.users)):
            rows = work.read(f"settled/{bucket:05d}", [USER, ITEM, TIMESTAMP])
            yield rows[TIMESTAMP].to_numpy()[core.kept(bucket, rows[USER].to_numpy(), rows[ITEM].to_numpy())]

    ranks = cut_ranks(int(core.counts.sum()), config.valid_fraction, config.test_fraction)
    end_of_train, end_of_valid = moments_of_ranks(timestamps, ranks)
    before = np.cumsum([0, *(alive.sum() for alive in core.users)])
    tasks = [
        InteractionsTask(
            work=work.location,
            bucket=bucket,
            first_user=int(before[bucket]),
            end_of_train=end_of_train,
            end_of_valid=end_of_valid,
            timed=_timed(layout),
            reviews=any(file.mapping.text is not None for file in layout.interactions),
        )
        for bucket in range(len(core.users))
    ]
    return each("interactions", finish_interactions, tasks)


def _finish_items(
    source: SourceConfig, work: Work, each: Each, known: Known, candidates: pa.Array, final: IntVector
) -> tuple[list[Part], list[PartStatistics]]:
    tasks = [
        ItemsTask(work=work.location, source=source, piece=name, first=first)
        for name, first in zip(known.pieces["name"].to_pylist(), known.firsts, strict=True)
    ]
    answers = each("items", finish_items, tasks)
    ids = candidates.slice(len(known.ids)).filter(pa.array(final[len(known.ids) :] >= 0))
    warm, cold = ([Part(**answer[kind]) for answer in answers] for kind in ("warm", "cold"))
    made = _made_from_ids(work, tasks, ids)
    parts = [*warm, write_items(work, "warm/made", made, warm=True), *cold]
    statistics = [PartStatistics(**answer["statistics"]) for answer in answers]
    return [part for part in parts if part.rows], [*statistics, PartStatistics.of_items(made)]


def _made_from_ids(work: Work, tasks: Sequence[ItemsTask], ids: pa.Array) -> pa.Table:
    """Rows for items that only the log has, with the columns of the others: media may be bytes there."""
    if tasks:
        schema = work.read_part(f"cold/{tasks[0].piece}").drop_columns([WARM]).schema
    else:
        schema = item_table({ITEM_ID: []}, pa.nulls(0)).schema
    made = item_table({ITEM_ID: ids.to_pylist()}, pa.nulls(len(ids), schema.field(NUMBERS).type))
    return made.cast(schema)


def _quarantine(work: Work, known: Known, num_buckets: int, small: pa.Table) -> tuple[list[Part], list[PartStatistics]]:
    pieces = work.read(PIECES)

    def tables() -> Iterator[pa.Table]:
        yield small
        yield known.doubles
        for table in (known.pieces, pieces):
            for row in table.filter(table["refused"].is_valid()).to_pylist():
                yield refused.shift(work.read(f"refused/{row['refused']}"), row["before_in_file"])
        for bucket in range(num_buckets):
            yield refused.doubles(work.read(f"doubles/{bucket:05d}"), pieces)

    parts, statistics = [], []
    for number, table in enumerate(refused.joined(tables())):
        parts.append(work.write_part(f"quarantine/{number:05d}", table))
        statistics.append(PartStatistics.of_quarantine(table))
    return parts, statistics


def _info(finished: Sequence[Answer], core: Core, total: PartStatistics) -> Answer:
    spans = [answer["time_span"] for answer in finished if answer["time_span"]]
    held_out = sum(int(answer["held_out"], 16) for answer in finished) % 2**256
    return {
        "events": sorted(total.events),
        "num_warm_items": int(core.items.sum()),
        "num_users": total.users,
        "num_interactions": total.interactions,
        "split_hash": f"{held_out:064x}",
        "time_span": [min(span[0] for span in spans), max(span[1] for span in spans)],
    }
