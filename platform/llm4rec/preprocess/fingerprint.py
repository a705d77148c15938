"""Tells whether the raw files are the ones that a corpus was made from."""

import hashlib

from llm4rec.preprocess.config import SourceConfig
from llm4rec.preprocess.media import existing_media
from llm4rec.preprocess.sources import find_layout
from llm4rec.preprocess.sources.yelp import PHOTO_PLACE


def fingerprint(source: SourceConfig) -> str:
    """sha256 over the names, sizes and contents of the source's files; other files in the folder do not count.

    Of media by id only which there are counts: a picture that is added is noticed, another one of the same name is not,
    nor is any that a column names.

    Raises:
        DataError: as `find_layout`.
    """
    layout = find_layout(source)
    digest = hashlib.sha256()
    for name in layout.files:
        digest.update(f"{name}\0{layout.folder.size(name)}\0".encode())
        for block in layout.folder.blocks(name):
            digest.update(block)
    photos = (PHOTO_PLACE for file in layout.details if file.kind == "photos")
    for template in filter(None, (layout.images, layout.audio, *photos)):
        digest.update("\0".join(sorted(existing_media(layout.folder, template))).encode())
    return digest.hexdigest()
