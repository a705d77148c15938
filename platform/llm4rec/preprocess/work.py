"""The folder in which a corpus is put together, one file a task: what a killed run left there is used by the next."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs

from llm4rec.artifacts import Part, open_location, read_parquet, write_part

_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True)
class Work:
    """Tables of an unfinished corpus by name, such as `log/00003-00000`.

    Two kinds of file: Arrow IPC, whose batches can be read one by one, for what is read again soon; Parquet for what
    goes into the artifact.

    Attributes:
        location: a folder or URI that every node can reach.
    """

    location: str

    @cached_property
    def _at(self) -> tuple[pafs.FileSystem, str]:
        return open_location(self.location)

    def make(self, *folders: str) -> None:
        """Create folders."""
        fs, path = self._at
        for folder in folders:
            fs.create_dir(f"{path}/{folder}", recursive=True)

    def write_batches(self, name: str, table: pa.Table, starts: Sequence[int]) -> None:
        """Write the rows from each of `starts` up to the next one as a batch of their own, empty ones too."""
        fs, path = self._at
        bounds = [*starts, table.num_rows]
        with (
            fs.open_output_stream(f"{path}/{name}.arrow") as stream,
            pa.ipc.new_file(stream, table.schema, options=_COMPRESSED) as writer,
        ):
            whole = table.combine_chunks().to_batches()
            batch = whole[0] if whole else pa.RecordBatch.from_pylist([], schema=table.schema)
            for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
                writer.write_batch(batch.slice(start, stop - start))

    def read_batch(self, name: str, number: int) -> pa.Table:
        """One batch of a file written by `write_batches`."""
        fs, path = self._at
        with fs.open_input_file(f"{path}/{name}.arrow") as stream:
            reader = pa.ipc.open_file(stream, options=pa.ipc.IpcReadOptions(use_threads=False))
            return pa.Table.from_batches([reader.get_batch(number)])

    def write(self, name: str, table: pa.Table) -> None:
        """Write a table."""
        self.write_batches(name, table, [0])

    def read(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a table written by `write`, or some of its columns."""
        fs, path = self._at
        with fs.open_input_file(f"{path}/{name}.arrow") as stream:
            fields = None
            if columns is not None:
                schema = pa.ipc.open_file(stream).schema
                fields = [schema.get_field_index(column) for column in columns]
                stream.seek(0)
            options = pa.ipc.IpcReadOptions(use_threads=False, included_fields=fields)
            return pa.ipc.open_file(stream, options=options).read_all()

    def write_part(self, name: str, table: pa.Table) -> Part:
        """Write a piece of a table of the artifact."""
        fs, path = self._at
        return write_part(fs, f"{path}/{name}.parquet", table)

    def read_part(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a piece, or some of its columns."""
        fs, path = self._at
        return read_parquet(fs, f"{path}/{name}.parquet", columns)

    def write_array(self, name: str, values: np.ndarray) -> None:
        """Write an array of one dimension."""
        self.write(name, pa.table({"value": values}))

    def read_array(self, name: str) -> np.ndarray:
        """Read an array written by `write_array`."""
        return np.asarray(self.read(name)["value"])
