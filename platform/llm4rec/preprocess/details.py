"""What small files say of items beside the catalogue: tags, the tag genome, photos, a second catalogue."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.errors import DataError
from llm4rec.preprocess.cells import read_categories, read_media, read_texts
from llm4rec.preprocess.items import check_items, kept_records, number_names, number_struct, read_joined
from llm4rec.preprocess.log import quarantine
from llm4rec.preprocess.media import existing_media
from llm4rec.preprocess.records import Records
from llm4rec.preprocess.small_files import SeenIds, read_file
from llm4rec.preprocess.sources.layout import DetailFile, Layout
from llm4rec.preprocess.sources.yelp import PHOTO_LABELS, PHOTO_PLACE
from llm4rec.preprocess.tags import read_genome, read_tags
from llm4rec.schema import AUDIO, CATEGORIES, IMAGE, ITEM_ID, NUMBERS, QUARANTINE_SCHEMA, TEXT

_Names = tuple[str, ...]


def read_details(layout: Layout) -> tuple[pa.Table, pa.Table]:
    """What all detail files say, one row an item.

    Returns:
        item_id (unique), text, categories, numbers (those of `number_names`), image, audio; and `QUARANTINE_SCHEMA`.

    Raises:
        DataError: a file has gone, or a column has a type that cannot hold what it is mapped to.
    """
    names = number_names(layout)
    read = [_READERS[file.kind](layout, file, names) for file in layout.details]
    ids = pa.chunked_array([pa.array([], pa.string()), *(part[ITEM_ID].combine_chunks() for part, _ in read)])
    details = _rows(pc.unique(ids).to_pylist(), names)
    for part, _ in read:
        details = join_details(details, part)
    return details, pa.concat_tables([QUARANTINE_SCHEMA.empty_table(), *(bad for _, bad in read)])


def join_details(items: pa.Table, details: pa.Table) -> pa.Table:
    """Put details into items: texts go behind, categories are added, numbers and media fill what is null.

    Args:
        items: with item_id and the columns of `details`; other columns stay as they are.
        details: as `read_details` gives them.

    Raises:
        DataError: some media are bytes and some are paths.
    """
    if not details.num_rows:
        return items
    found = details.take(pc.index_in(items[ITEM_ID].combine_chunks(), value_set=details[ITEM_ID].combine_chunks()))
    columns = {
        TEXT: _joined_texts(items[TEXT], found[TEXT]),
        CATEGORIES: _joined_categories(items[CATEGORIES], found[CATEGORIES]),
        NUMBERS: _filled_numbers(items[NUMBERS].combine_chunks(), found[NUMBERS].combine_chunks()),
        IMAGE: _filled_media(IMAGE, items, found, details),
        AUDIO: _filled_media(AUDIO, items, found, details),
    }
    for name, column in columns.items():
        items = items.set_column(items.schema.get_field_index(name), name, column)
    return items


def _joined_texts(own: pa.ChunkedArray, found: pa.ChunkedArray) -> pa.ChunkedArray:
    # null_handling="skip" would leave out rows where both are null
    joined = pc.ascii_trim(pc.binary_join_element_wise(pc.fill_null(own, ""), pc.fill_null(found, ""), "\n"), "\n")
    return pc.if_else(pc.equal(pc.binary_length(joined), 0), pa.scalar(None, pa.string()), joined)


def _joined_categories(own: pa.ChunkedArray, found: pa.ChunkedArray) -> pa.Array:
    rows = zip(own.to_pylist(), found.to_pylist(), strict=True)
    return pa.array([list(dict.fromkeys([*(first or ()), *(more or ())])) for first, more in rows], own.type)


def _filled_numbers(own: pa.Array, found: pa.Array) -> pa.Array:
    if not pa.types.is_struct(own.type):
        return own
    fields = [pc.coalesce(*pair) for pair in zip(own.flatten(), found.flatten(), strict=True)]
    return pa.StructArray.from_arrays(fields, fields=list(own.type))


def _filled_media(name: str, items: pa.Table, found: pa.Table, details: pa.Table) -> pa.ChunkedArray:
    own, more = items[name], found[name]
    if own.type == more.type:
        return pc.coalesce(own, more)
    if details[name].null_count == details.num_rows:
        return own
    if own.null_count < len(own):
        raise DataError(f"{name}: items have bytes in one file and paths in another; use one of the two")
    return more


def _rows(ids: list[str], names: _Names, **columns: pa.Array) -> pa.Table:
    """Details of some items, with nulls where no column is given."""
    count = len(ids)
    return pa.table(
        {
            ITEM_ID: pa.array(ids, pa.string()),
            TEXT: columns.get(TEXT, pa.nulls(count, pa.string())),
            CATEGORIES: columns.get(CATEGORIES, pa.array([[]] * count, pa.list_(pa.string()))),
            NUMBERS: columns.get(NUMBERS, number_struct({}, names, count)),
            IMAGE: columns.get(IMAGE, pa.nulls(count, pa.string())),
            AUDIO: columns.get(AUDIO, pa.nulls(count, pa.string())),
        }
    )


def _read_items(layout: Layout, file: DetailFile, names: _Names) -> tuple[pa.Table, pa.Table]:
    mapping = file.mapping
    seen, tables, bad = SeenIds(mapping.item_id), [], []
    for piece in read_file(layout.folder, file.form, mapping.wanted, mapping.separator):
        records, numbers, wrong = check_items(piece, mapping)
        keep, repeated = seen.new([key or "" for key in read_texts(records, mapping.item_id)], records.rows.tolist())
        records, numbers = kept_records(records, keep), {name: values[keep] for name, values in numbers.items()}
        tables.append(_item_rows(records, numbers, file, names))
        bad += [*wrong, *repeated]
    return pa.concat_tables(tables), quarantine(bad, file.form.file)


def _item_rows(records: Records, numbers: dict[str, np.ndarray], file: DetailFile, names: _Names) -> pa.Table:
    mapping = file.mapping
    return _rows(
        [key or "" for key in read_texts(records, mapping.item_id)],
        names,
        text=pa.array(read_joined(records, mapping), pa.string()),
        categories=pa.array(read_categories(records, mapping), pa.list_(pa.string())),
        numbers=number_struct(numbers, names, len(records.rows)),
        image=read_media(records, mapping.image),
        audio=read_media(records, mapping.audio),
    )


def _read_tags(layout: Layout, file: DetailFile, names: _Names) -> tuple[pa.Table, pa.Table]:
    texts, refused = (read_genome if file.kind == "genome" else read_tags)(layout.folder, file)
    return _rows(list(texts), names, text=pa.array(list(texts.values()), pa.string())), refused


def _read_photos(layout: Layout, file: DetailFile, names: _Names) -> tuple[pa.Table, pa.Table]:
    """The photo of each business that says most about it, of those whose file exists."""
    mapping, bad = file.mapping, []
    stored = existing_media(layout.folder, PHOTO_PLACE)
    best: dict[str, tuple[int, str]] = {}
    for piece in read_file(layout.folder, file.form, mapping.wanted):
        records, _, wrong = check_items(piece, mapping)
        columns = (mapping.item_id, mapping.image, *mapping.categories)
        for key, photo, label in zip(*(read_texts(records, name) for name in columns), strict=True):
            rank = PHOTO_LABELS.index(label) if label in PHOTO_LABELS else len(PHOTO_LABELS)
            path = PHOTO_PLACE.format(item_id=photo)
            if path in stored and (key not in best or rank < best[key][0]):
                best[key] = (rank, path)
        bad += wrong
    paths = pa.array([path for _, path in best.values()], pa.string())
    return _rows(list(best), names, image=paths), quarantine(bad, file.form.file)


_READERS = {"items": _read_items, "tags": _read_tags, "genome": _read_tags, "photos": _read_photos}
