"""Group commit: writes of requests that come at the same time share a transaction, and so one wait for the disk."""

import asyncio
import contextlib
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from llm4rec.online.feedback import Appended, Feedback, Slate
from llm4rec.online.group import Write
from llm4rec.online.log import EventLog

MOST_EVENTS = 2000
"""Events that one transaction holds, unless a single request has more: one that grew without end would never end."""

_Waiting = tuple[Write, "asyncio.Future[Appended | None]"]


class GroupCommit:
    """Appends to a log, for the coroutines of one event loop; each returns when its own write is on the disk.

    While a transaction is being written, those that come meanwhile wait and are the next one together. A transaction
    that fails has acknowledged none of its writes. The thread that writes takes the next ones itself: a loop that has
    much to do would let it wait after each.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._lock = threading.Lock()  # of the two below
        self._waiting: list[_Waiting] = []
        self._writing = False
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
        with self._lock:
            self._waiting.append((write, future))
            begins, self._writing = not self._writing, True
        if begins:
            self._thread.submit(self._write_all, future.get_loop())
        return await future

    def _write_all(self, loop: asyncio.AbstractEventLoop) -> None:
        """Write until nobody waits; runs in the thread."""
        while group := self._next_group():
            results: Sequence[Appended | Exception | None]
            try:
                results = self._log.write_group([write for write, _ in group])
            except Exception as error:  # of the database, or of ours: those who wait must hear of it
                results = [error] * len(group)
            with contextlib.suppress(RuntimeError):  # the loop has been closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, group, results)

    def _next_group(self) -> list[_Waiting]:
        """Who is written next; nobody, and this thread's work is done, where nobody waits."""
        with self._lock:
            size, place = 0, 0
            for place, (write, _) in enumerate(self._waiting):
                size += len(write.exposures if isinstance(write, Slate) else write)
                if size > MOST_EVENTS and place:
                    break
            else:
                place = len(self._waiting)
            group, self._waiting = self._waiting[:place], self._waiting[place:]
            self._writing = bool(group)
            return group


def _settle(group: Sequence[_Waiting], results: Sequence[Appended | Exception | None]) -> None:
    for (_, future), result in zip(group, results, strict=True):
        if future.done():  # the request was given up meanwhile
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
