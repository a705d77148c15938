"""Steps over pieces: how a step's function is run on its tasks, and what is known of each piece of a file."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from llm4rec.config import StrictModel

Task = TypeVar("Task", bound=StrictModel)
Answer = dict[str, Any]

_SCHEMA = pa.schema(
    [
        ("name", pa.string()),
        ("source", pa.string()),
        ("before", pa.int64()),
        ("before_in_file", pa.int64()),
        ("refused", pa.string()),
    ]
)


class Each(Protocol):
    """Runs a step's function on every task, in any order and anywhere; answers come in the order of the tasks."""

    def __call__(self, step: str, function: Callable[[Task], Answer], tasks: Sequence[Task]) -> list[Answer]:
        """Answers hold plain values only."""


def piece_table(sources: Sequence[str], answers: Sequence[Answer], kind: str) -> pa.Table:
    """The pieces of all chunks.

    Args:
        sources: the file of each chunk.
        answers: what was found in each chunk, see `parse`.
        kind: the step, which names the tables of refused rows.

    Returns:
        name; source, the file; before and before_in_file, how many rows came before the piece's chunk in all files
        and in its own; refused, name of its table of refused rows, null where there are none.
    """
    rows = []
    total, in_file, last = 0, 0, ""
    for source, answer in zip(sources, answers, strict=True):
        in_file = 0 if source != last else in_file
        rows += [
            {
                "name": name,
                "source": source,
                "before": total,
                "before_in_file": in_file,
                "refused": f"{kind}-{name}" if f"{kind}-{name}" in answer["refused"] else None,
            }
            for name in answer["pieces"]
        ]
        total, in_file, last = total + answer["num_rows"], in_file + answer["num_rows"], source
    return pa.Table.from_pylist(rows, schema=_SCHEMA)
