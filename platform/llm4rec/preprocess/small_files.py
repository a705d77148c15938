"""Files that are small beside the log: read here, in pieces, and not by tasks."""

from collections.abc import Iterator, Sequence

import numpy as np

from llm4rec.preprocess.chunks import list_chunks, read_chunk
from llm4rec.preprocess.folder import Folder
from llm4rec.preprocess.records import BadRow, FileForm, Records, shorten
from llm4rec.schema import BoolVector

_PIECE_BYTES = 16 * 2**20


def read_file(
    folder: Folder, form: FileForm, wanted: Sequence[str], separator: str = "|", *, multiline: bool = True
) -> Iterator[Records]:
    """The records of a file in pieces, with rows counted over the whole file.

    Args:
        folder: where the file is.
        form: of the file.
        wanted: the columns to return.
        separator: what joins lists.
        multiline: whether quoted values may hold line ends; a file with quotes is then one piece, whatever its size.

    Raises:
        DataError: the file is missing, empty, or not what its name says.
    """
    before = 0
    for chunk in list_chunks(folder, [form], _PIECE_BYTES, multiline=multiline):
        num_rows = 0
        for records in read_chunk(chunk, wanted, separator):
            yield records.behind(before)
            num_rows += records.num_rows
        before += num_rows


class SeenIds:
    """The ids of a file so far, and where each stood first."""

    def __init__(self, column: str) -> None:
        self._column = column
        self._rows: dict[str, int] = {}

    def new(self, ids: Sequence[str], rows: Sequence[int]) -> tuple[BoolVector, list[BadRow]]:
        """Which of some ids occur for the first time, and a reason against each of the others.

        Args:
            ids: N ids.
            rows: where they stand in the file.
        """
        keep, bad = np.ones(len(ids), bool), []
        for place, (key, row) in enumerate(zip(ids, rows, strict=True)):
            first = self._rows.setdefault(key, row)
            if first != row:
                keep[place] = False
                bad.append((row, f"{self._column} {shorten(key)} was already in row {first}"))
        return keep, bad
