"""Group commit: writes of requests that come at the same time share a transaction, and so one wait for the disk."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from llm4rec.online.feedback import Appended, Feedback, Slate
from llm4rec.online.group import Write
from llm4rec.online.log import EventLog

MOST_EVENTS = 2000
"""Events that one transaction holds, unless a single request has more: one that grew without end would never end."""


class GroupCommit:
    """Appends to a log, for the coroutines of one event loop; each returns when its own write is on the disk.

    While a transaction is being written, those that come meanwhile wait and are the next one together. A transaction
    that fails has acknowledged none of its writes. A slate whose request was given up while it waited is not written:
    nobody has seen it.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._waiting: list[tuple[Write, asyncio.Future[Appended | None]]] = []
        self._writer: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="commit")  # its own: no other work goes before it

    async def append_feedback(self, events: Sequence[Feedback]) -> Appended:
        """Append a batch, see `EventLog.append_feedback`.

        Raises:
            ConflictError: nothing of this batch was written.
            UnavailableError: nothing was written.
        """
        appended = await self._write(events)
        assert appended is not None
        return appended

    async def record_exposures(self, slate: Slate) -> None:
        """Write down a slate, see `EventLog.record_exposures`.

        Raises:
            ConflictError: a slate of this id was recorded before.
            UnavailableError: nothing was written.
        """
        await self._write(slate)

    async def _write(self, write: Write) -> Appended | None:
        future: asyncio.Future[Appended | None] = asyncio.get_running_loop().create_future()
        self._waiting.append((write, future))
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all())
        return await future

    async def _write_all(self) -> None:
        while self._waiting:
            group = self._next_group()
            if not group:
                continue
            try:
                writes, loop = [write for write, _ in group], asyncio.get_running_loop()
                results = await loop.run_in_executor(self._thread, self._log.write_group, writes)
            except Exception as error:  # of the database, or of ours: those who wait must hear of it
                for _, future in group:
                    _settle(future, error)
                continue
            for (_, future), result in zip(group, results, strict=True):
                _settle(future, result)

    def _next_group(self) -> list[tuple[Write, "asyncio.Future[Appended | None]"]]:
        self._waiting = [one for one in self._waiting if not (isinstance(one[0], Slate) and one[1].done())]
        size = 0
        for place, (write, _) in enumerate(self._waiting):
            size += len(write.exposures if isinstance(write, Slate) else write)
            if size > MOST_EVENTS and place:
                break
        else:
            place = len(self._waiting)
        group, self._waiting = self._waiting[:place], self._waiting[place:]
        return group


def _settle(future: "asyncio.Future[Appended | None]", result: Appended | Exception | None) -> None:
    if future.done():  # the request was given up meanwhile
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
