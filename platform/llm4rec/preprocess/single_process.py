"""The whole stage in one process, for small logs and for tests; `cluster/preprocess.py` runs the same parts in Ray."""

from llm4rec.preprocess.assemble import Assembled, assemble
from llm4rec.preprocess.catalogue import read_catalogue
from llm4rec.preprocess.chunks import gather, list_chunks, parse_chunk
from llm4rec.preprocess.config import PreprocessConfig, SourceConfig


def preprocess(source: SourceConfig, config: PreprocessConfig) -> Assembled:
    """Raw files into a corpus.

    Raises:
        DataError: the source cannot be used at all.
    """
    chunks = list_chunks(source, config.chunk_bytes)
    return assemble(gather(parse_chunk(chunk) for chunk in chunks), read_catalogue(source), config)
