"""Tells whether the raw files are the ones that a corpus was made from."""

import hashlib

from llm4rec.preprocess.config import SourceConfig
from llm4rec.preprocess.sources import find_layout


def fingerprint(source: SourceConfig) -> str:
    """sha256 over the names, sizes and contents of the source's files; other files in the folder do not count.

    Raises:
        DataError: as `find_layout`.
    """
    layout = find_layout(source)
    digest = hashlib.sha256()
    for name in layout.files:
        digest.update(f"{name}\0{layout.folder.size(name)}\0".encode())
        for block in layout.folder.blocks(name):
            digest.update(block)
    return digest.hexdigest()
