"""Group commit: what came in while a transaction ran is the next one."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from mdirclient.errors import MdirError, ReplyError, reply_error
from mdirclient.mdird.embedded import EmbeddedMdird, Group

#: Groups that one transaction takes at most: the first waits for the last.
_MAX_GROUPS: Final = 256
#: … unless they hold so many operations.
_MAX_OPERATIONS: Final = 10_000

Answered = Callable[[list[int] | ReplyError], None]
_Waiting = tuple[Group, Answered]


class Writer:
    """The one thread that changes the mdir.

    Args:
        mdird: that is changed.
        committed: called in the loop after each transaction, when all were answered.
    """

    def __init__(self, mdird: EmbeddedMdird, committed: Callable[[], None]) -> None:
        self._mdird = mdird
        self._committed = committed
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._is_busy = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._jobs: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mdird-writer", daemon=True)
        self._thread.start()

    def submit(self, group: Group, answered: Answered) -> None:
        """Do a group in one of the next transactions; `answered` is called in the loop."""
        self._waiting.append((group, answered))
        self._idle.clear()
        if not self._is_busy:
            self._begin()

    async def drained(self) -> None:
        """Wait until everything that was submitted is done."""
        await self._idle.wait()

    async def close(self) -> None:
        """Do what was submitted, and end the thread."""
        await self.drained()
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _begin(self) -> None:
        job: list[_Waiting] = []
        operations = 0
        while self._waiting and len(job) < _MAX_GROUPS and operations < _MAX_OPERATIONS:
            job.append(self._waiting.popleft())
            operations += len(job[-1][0][1])
        self._is_busy = bool(job)
        if job:
            self._jobs.put(job)
        else:
            self._idle.set()

    def _work(self) -> None:
        while job := self._jobs.get():
            outcome: list[list[int] | ReplyError]
            try:
                outcome = self._mdird.run_groups([group for group, _ in job])
            except ReplyError as error:
                outcome = [error] * len(job)
            except (MdirError, OSError) as error:
                outcome = [reply_error(503, f"the mdird cannot do this now: {error}")] * len(job)
            except Exception as error:  # noqa: BLE001 - clients wait for an answer
                outcome = [reply_error(500, f"a defect of mdird: {error!r}")] * len(job)
            self._loop.call_soon_threadsafe(self._done, job, outcome)

    def _done(self, job: list[_Waiting], outcome: list[list[int] | ReplyError]) -> None:
        for (_, answered), answers in zip(job, outcome, strict=True):
            answered(answers)
        # What came meanwhile is written while subscribers are served.
        self._begin()
        self._committed()
