"""MovieLens tags and the tag genome, as a sentence an item."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.heaviest import heaviest_of_each
from llm4rec.preprocess.cells import read_numbers, read_texts
from llm4rec.preprocess.clean import clean_text
from llm4rec.preprocess.folder import Folder
from llm4rec.preprocess.lines import as_mask
from llm4rec.preprocess.log import as_text, quarantine
from llm4rec.preprocess.records import BadRow, FileForm, Records, shorten
from llm4rec.preprocess.small_files import read_file
from llm4rec.preprocess.sources.layout import DetailFile
from llm4rec.preprocess.sources.movielens import USER_COLUMN
from llm4rec.schema import BoolVector, LongVector

NUM_TAGS = 10
"""Tags of an item that its text names."""


def read_tags(folder: Folder, file: DetailFile) -> tuple[dict[str, str], pa.Table]:
    """The tags that most users gave each item; capitals do not count, ties go by the alphabet.

    Returns:
        A sentence by item, items in file order; and the refused rows.
    """
    columns = {"item": file.mapping.item_id, "tag": file.mapping.text[0], "user": USER_COLUMN}
    tables, bad = [], []
    for piece in read_file(folder, file.form, list(columns.values()), multiline=False):
        cells = {role: _trimmed(piece, name) for role, name in columns.items()}
        reasons = _empty(cells["item"], columns["item"]) | _empty(cells["tag"], columns["tag"])
        tables.append(pa.table(cells).filter(pa.array(_without(reasons, piece))))
        bad += [*piece.bad, *_rows(reasons, piece)]
    given = pa.concat_tables(tables)
    items = pc.unique(given["item"])
    given = given.set_column(1, "tag", pc.utf8_lower(given["tag"]))
    distinct = given.group_by(["item", "tag", "user"], use_threads=False).aggregate([])
    counted = distinct.group_by(["item", "tag"], use_threads=False).aggregate([("user", "count")])
    counted = counted.sort_by([("tag", "ascending")])
    item = pc.index_in(counted["item"], value_set=items).to_numpy().astype(np.int64)
    best = heaviest_of_each(item, counted["user_count"].to_numpy(), NUM_TAGS)
    tags = [clean_text(tag) for tag in counted["tag"].take(pa.array(best)).to_pylist()]
    return _sentences("Tags", items.to_pylist(), item[best], tags), quarantine(bad, file.form.file)


def read_genome(folder: Folder, file: DetailFile) -> tuple[dict[str, str], pa.Table]:
    """The tags that the genome finds most relevant to each item, whatever the number of scores.

    Returns:
        A sentence by item, items in file order; and the refused rows of both files.
    """
    assert file.tag_names is not None
    names, refused = _read_tag_names(folder, file.tag_names)
    places = pa.array(list(names), pa.string())
    ids: dict[str, int] = {}
    item, tag, relevance = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0)
    bad: list[BadRow] = []
    for piece in read_file(folder, file.form, file.mapping.wanted, multiline=False):
        key, place = _trimmed(piece, file.mapping.item_id), pc.index_in(_trimmed(piece, "tagId"), value_set=places)
        score, _ = read_numbers(piece, "relevance")
        reasons = _genome_reasons(piece, file.tag_names.file, place, score) | _empty(key, file.mapping.item_id)
        keep = _without(reasons, piece)
        coded = key.filter(pa.array(keep)).dictionary_encode()
        codes = np.array([ids.setdefault(own, len(ids)) for own in coded.dictionary.to_pylist()], np.int64)
        item = np.concatenate([item, codes[coded.indices.to_numpy()]])
        tag = np.concatenate([tag, place.filter(pa.array(keep)).to_numpy()])
        relevance = np.concatenate([relevance, score[keep]])
        best = heaviest_of_each(item, relevance, NUM_TAGS)
        item, tag, relevance = item[best], tag[best], relevance[best]
        bad += [*piece.bad, *_rows(reasons, piece)]
    found = [list(names.values())[place] for place in tag]
    return _sentences("Themes", list(ids), item, found), pa.concat_tables([refused, quarantine(bad, file.form.file)])


def _sentences(word: str, items: list[str], item: LongVector, tags: list[str]) -> dict[str, str]:
    """One sentence for each item that has tags, each tag once; rows of an item stand together, in its order."""
    said: dict[str, dict[str, None]] = {key: {} for key in items}
    for code, tag in zip(item.tolist(), tags, strict=True):
        if tag:
            said[items[code]][tag] = None
    return {key: f"{word}: {', '.join(own)}." for key, own in said.items() if own}


def _trimmed(records: Records, column: str) -> pa.Array:
    return pc.utf8_trim_whitespace(as_text(records.columns[column], column)).fill_null("")


def _empty(cells: pa.Array, column: str) -> dict[int, str]:
    """A reason by place for each empty cell."""
    empty = as_mask(pc.equal(pc.binary_length(cells), 0))
    return dict.fromkeys(np.flatnonzero(empty).tolist(), f"empty {column}")


def _genome_reasons(piece: Records, names: str, place: pa.Array, score: np.ndarray) -> dict[int, str]:
    reasons = {
        wrong: f"relevance is not a finite number: {shorten(piece.columns['relevance'][wrong].as_py())}"
        for wrong in np.flatnonzero(~np.isfinite(score)).tolist()
    }
    unknown = np.flatnonzero(as_mask(place.is_null())).tolist()
    return reasons | {
        wrong: f"tagId {shorten(piece.columns['tagId'][wrong].as_py())} is not in {names}" for wrong in unknown
    }


def _without(reasons: dict[int, str], records: Records) -> BoolVector:
    keep: BoolVector = np.ones(len(records.rows), bool)
    keep[list(reasons)] = False
    return keep


def _rows(reasons: dict[int, str], records: Records) -> list[BadRow]:
    return [(int(records.rows[place]), reason) for place, reason in reasons.items()]


def _read_tag_names(folder: Folder, form: FileForm) -> tuple[dict[str, str], pa.Table]:
    """Names of tags by id."""
    tags: dict[str, str] = {}
    bad: list[BadRow] = []
    for piece in read_file(folder, form, ["tagId", "tag"]):
        bad += piece.bad
        cells = (read_texts(piece, name) for name in ("tagId", "tag"))
        for row, tag_id, tag in zip(piece.rows.tolist(), *cells, strict=True):
            if tag_id is None or tag is None:
                bad.append((row, "empty tagId or tag"))
            else:
                tags.setdefault(tag_id, clean_text(tag))
    return tags, quarantine(bad, form.file)
