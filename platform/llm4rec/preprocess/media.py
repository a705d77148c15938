"""Images and sounds that lie beside the catalogue, one file an item."""

import posixpath

import pyarrow as pa
import pyarrow.compute as pc

from llm4rec.errors import DataError
from llm4rec.preprocess.config import ITEM_ID_PLACE
from llm4rec.preprocess.folder import Folder
from llm4rec.preprocess.sources.layout import Layout
from llm4rec.schema import AUDIO, IMAGE, ITEM_ID


def existing_media(folder: Folder, template: str) -> set[str]:
    """The paths of a template that exist, each the path of one id. A folder that is missing holds none.

    The folder is listed once, and only what it lists counts, so no id leads to a file elsewhere.
    """
    parent, name = posixpath.split(template)
    start, end = name.split(ITEM_ID_PLACE)
    found = (file for file in folder.names(parent) if file.startswith(start) and file.endswith(end))
    return {posixpath.join(parent, file) for file in found if len(file) > len(start) + len(end)}


def add_media(items: pa.Table, layout: Layout) -> pa.Table:
    """Give items without an image or a sound the file that the layout's templates name, where it exists.

    Args:
        items: with item_id, image, audio; other columns stay as they are.
        layout: templates and folder.

    Raises:
        DataError: a template is set, but the catalogue's media are bytes.
    """
    for name, template in ((IMAGE, layout.images), (AUDIO, layout.audio)):
        if template is None:
            continue
        if not pa.types.is_string(items.schema.field(name).type):
            raise DataError(f"the catalogue's {name} column holds bytes; leave out the template {template!r}")
        existing = existing_media(layout.folder, template)
        start, end = template.split(ITEM_ID_PLACE)
        paths = pc.binary_join_element_wise(start, items[ITEM_ID], end, "")
        paths = pc.if_else(pc.is_in(paths, value_set=pa.array(sorted(existing), pa.string())), paths, None)
        items = items.set_column(items.schema.get_field_index(name), name, pc.coalesce(items[name], paths))
    return items
