"""The whole stage in one process, for small logs and for tests; `cluster/preprocess.py` runs the same steps in Ray."""

import tempfile
from collections.abc import Callable, Sequence

from llm4rec.artifacts import ArtifactWriter
from llm4rec.preprocess.config import PreprocessConfig, SourceConfig
from llm4rec.preprocess.pieces import Answer, Task
from llm4rec.preprocess.stage import preprocess
from llm4rec.preprocess.work import Work
from llm4rec.preprocess.write import write_corpus


def each(step: str, function: Callable[[Task], Answer], tasks: Sequence[Task]) -> list[Answer]:
    """One task after the other, here."""
    return [function(task) for task in tasks]


def write_preprocessed(
    writer: ArtifactWriter, source: SourceConfig, config: PreprocessConfig, forgotten: frozenset[str] = frozenset()
) -> None:
    """Raw files into a corpus artifact on a local file system, without users of some hashes.

    Raises:
        DataError: the source cannot be used at all.
    """
    with tempfile.TemporaryDirectory(dir=writer.path) as folder:
        write_corpus(writer, preprocess(source, config, Work(folder), each, forgotten))
