"""Steps that survive a killed driver: Ray Data runs the tasks, and its job checkpoint remembers the finished ones."""

import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import pyarrow.fs as pafs
import pyarrow.parquet as pq
import ray
from ray.data import Dataset
from ray.data._internal.datasource.range_datasource import RangeDatasource  # noqa: PLC2701
from ray.data.checkpoint import CheckpointConfig
from ray.data.checkpoint.checkpoint_filter import IdColumnCheckpointManager
from ray.exceptions import NodeDiedError, ObjectLostError, OutOfMemoryError, RayActorError, WorkerCrashedError

from llm4rec.artifacts import open_location
from llm4rec.cluster.pool import BESIDE_ACTORS, Pool
from llm4rec.config import StrictModel
from llm4rec.errors import Llm4RecError

log = logging.getLogger("llm4rec")

Answer = dict[str, Any]
Payloads = Sequence[tuple[int, StrictModel]]

MAX_FAILURES = 3
"""How often in a row, without a task that ended, a step is tried again after a process or a node was lost."""

LOSSES = (RayActorError, WorkerCrashedError, ObjectLostError, NodeDiedError, OutOfMemoryError)
"""What Ray raises of a process or a node that ended; the last where it ended one because memory was short."""

RELEASE_S = 5.0
"""Until what lost actors and those beside them had reserved is free again."""

_TASK, _ANSWER = "task", "answer"
_SECONDS_BETWEEN_LINES = 5.0


class Steps:
    """The steps of one unfinished artifact.

    Every task's answer is stored as soon as the task ends. What a killed run left half-stored is cleaned away by the
    next, which runs the other tasks only.
    """

    def __init__(self, stage: str, work: str) -> None:
        """Steps of a stage whose answers lie under `work`, a folder or URI that every node can reach."""
        self._stage = stage
        self._fs, self._path = open_location(work)

    def each(self, step: str, function: Callable[[Any], Answer], tasks: Sequence[StrictModel]) -> list[Answer]:
        """Run a function on every task that has no answer yet; one CPU a task.

        Returns:
            The answers of all tasks, in their order.
        """
        return self._run(step, tasks, lambda rows, left: rows.map(partial(_answer, function=function, payloads=left)))

    def each_with_actors(
        self,
        step: str,
        factory: Callable[[], Callable[[Any], Answer]],
        tasks: Sequence[StrictModel],
        pool: Callable[[int, bool], Pool],
    ) -> list[Answer]:
        """As `each`, with a function that is made once an actor, such as one that loads a network.

        Args:
            step: its name.
            factory: makes the function, where it runs.
            tasks: what to run it on.
            pool: the actors for so many tasks; asked again, with True, after some were lost.
        """
        tries = itertools.count()

        def run(rows: Dataset, left: Payloads) -> Dataset:
            made = {"fn_constructor_args": (factory, left), **pool(len(left), next(tries) > 0).options()}
            return rows.map(Actor, **made)  # type: ignore[arg-type]  # classes are allowed, and not annotated

        return self._run(step, tasks, run, beside={"num_cpus": BESIDE_ACTORS})

    def _run(
        self,
        step: str,
        tasks: Sequence[StrictModel],
        answer: Callable[[Dataset, Payloads], Dataset],
        beside: dict[str, Any] | None = None,
    ) -> list[Answer]:
        """Run what is missing; `beside` is what tasks that read and write reserve, by default what Ray Data says."""
        done, failures = -1, 0
        while missing := sorted(set(range(len(tasks))) - self._finished(step)):
            before, done = done, len(tasks) - len(missing)
            if done > 0:
                log.info("%s: %s goes on, %d/%d are done", self._stage, step, done, len(tasks))
            try:
                self._run_missing(step, missing, tasks, answer, beside or {})
            except Exception as error:
                failures = failures + 1 if done == before else 1
                if not is_loss(error) or failures > MAX_FAILURES:
                    raise
                log.warning("%s: %s has lost a worker; what is not done is tried again", self._stage, step)
                time.sleep(RELEASE_S)
        return self._answers(step, len(tasks))

    def _run_missing(
        self,
        step: str,
        missing: Sequence[int],
        tasks: Sequence[StrictModel],
        answer: Callable[[Dataset, Payloads], Dataset],
        beside: dict[str, Any],
    ) -> None:
        with self._checkpointing(step), self._progress(step, len(tasks)):
            numbers = RangeDatasource(n=len(missing), block_format="arrow", column_name="id")
            rows = ray.data.read_datasource(numbers, override_num_blocks=len(missing), **beside)
            answers = answer(rows, [(number, tasks[number]) for number in missing])
            answers.write_parquet(f"{self._path}/{step}/answers", filesystem=self._fs, ray_remote_args=beside)

    def _finished(self, step: str) -> set[int]:
        found: set[int] = set()
        for path in self._committed(step):
            found.update(pq.read_table(path, filesystem=self._fs)[_TASK].to_pylist())
        return found

    def _committed(self, step: str) -> list[str]:
        selector = pafs.FileSelector(f"{self._path}/{step}/finished", allow_not_found=True)
        return [info.path for info in self._fs.get_file_info(selector) if not info.path.endswith(".pending.parquet")]

    def _answers(self, step: str, count: int) -> list[Answer]:
        if not count:
            return []
        table = pq.read_table(f"{self._path}/{step}/answers", filesystem=self._fs)
        found = dict(zip(table[_TASK].to_pylist(), table[_ANSWER].to_pylist(), strict=True))
        return [json.loads(found[number]) for number in range(count)]

    @contextmanager
    def _checkpointing(self, step: str) -> Iterator[None]:
        context = ray.data.DataContext.get_current()
        before = context.checkpoint_config
        context.checkpoint_config = CheckpointConfig(
            id_column=_TASK,
            checkpoint_path=f"{self._path}/{step}/finished",
            override_filesystem=self._fs,
            delete_checkpoint_on_success=False,
            checkpoint_manager_cls=_Unfinished,
        )
        try:
            yield
        finally:
            context.checkpoint_config = before

    @contextmanager
    def _progress(self, step: str, total: int) -> Iterator[None]:
        ended = threading.Event()

        def report() -> None:
            while not ended.wait(_SECONDS_BETWEEN_LINES):
                log.info("%s: %s %d/%d", self._stage, step, len(self._committed(step)), total)

        thread = threading.Thread(target=report, daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def is_loss(error: BaseException | None) -> bool:
    """Whether behind an error is a process or a node that ended, which another try may not meet again."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, RayActorError) and error.actor_init_failed:  # its constructor raised, and would again
            return False
        if isinstance(error, LOSSES):
            return True
        seen.add(id(error))
        error = error.__cause__ or error.__context__
    return False


class _Unfinished(IdColumnCheckpointManager):
    """Cleans up what a killed run left half-written; `Steps` itself leaves out the finished tasks.

    Ray Data would filter them in an actor that reserves a CPU, which on a small machine the next operator also needs.
    """

    def load_checkpoint(
        self, data_file_dir: str | None = None, data_file_filesystem: pafs.FileSystem | None = None
    ) -> tuple[None, int]:
        """Clean up; there is nothing to filter."""
        self._clean_pending_checkpoints(data_file_dir, data_file_filesystem)
        return None, 0


def _answer(row: dict[str, Any], function: Callable[[Any], Answer], payloads: Payloads) -> dict[str, Any]:
    number, task = payloads[int(row["id"])]
    return {_TASK: number, _ANSWER: json.dumps(function(task))}


class Actor:
    """The same, with a function that is made where it runs."""

    def __init__(self, factory: Callable[[], Callable[[Any], Answer]], payloads: Payloads) -> None:
        self._payloads = payloads
        self._refused: Llm4RecError | None = None
        try:
            self._function = factory()
        except Llm4RecError as error:  # of a constructor Ray tells the text alone, of a call the error itself
            self._refused = error

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The answer to the task of a row.

        Raises:
            Llm4RecError: what the function could not be made with.
        """
        if self._refused is not None:
            raise self._refused
        return _answer(row, self._function, self._payloads)
