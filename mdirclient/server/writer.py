"""Group commit: what came in while a transaction ran is the next one (docs: decision 12)."""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final

from mdirclient.errors import MdirError, ReplyError, reply_error
from mdirclient.mdird.changer import may_take_long
from mdirclient.mdird.embedded import EmbeddedMdird, Group

#: Groups that one transaction takes at most: the first waits for the last.
_MAX_GROUPS: Final = 256
#: … unless they hold so many operations.
_MAX_OPERATIONS: Final = 10_000
#: What is done in the loop itself: a few operations, while the disk takes no longer than this.
#: A thread costs more than they do.
_FEW_OPERATIONS: Final = 256
_QUICK: Final = 0.005

Answered = Callable[[list[int] | ReplyError], None]
_Waiting = tuple[Group, Answered]


class Writer:
    """Changes the mdir: in the loop what is quick, in a thread what is not.

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
        self._seconds = 0.0  # that the last transaction took
        self._idle = asyncio.Event()
        self._idle.set()
        self._jobs: queue.SimpleQueue[list[_Waiting] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="mdird-writer", daemon=True)
        self._thread.start()

    def submit(self, group: Group, answered: Answered) -> None:
        """Do a group in one of the next transactions; `answered` is called in the loop."""
        self._waiting.append((group, answered))
        if not self._is_busy:
            self._is_busy = True
            self._idle.clear()
            # What the other connections sent at the same moment joins it.
            self._loop.call_soon(self._begin)

    async def drained(self) -> None:
        """Wait until everything that was submitted is done."""
        await self._idle.wait()

    async def close(self, timeout: float) -> None:
        """End the thread; what another process keeps it from doing is given up after a while."""
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join, timeout)

    def _begin(self) -> None:
        job: list[_Waiting] = []
        operations = 0
        while self._waiting and len(job) < _MAX_GROUPS and operations < _MAX_OPERATIONS:
            job.append(self._waiting.popleft())
            operations += len(job[-1][0][1])
        if not job:
            self._is_busy = False
            self._idle.set()
            return
        is_quick = operations <= _FEW_OPERATIONS and self._seconds <= _QUICK
        is_quick = is_quick and not any(
            may_take_long(one) for (_, group), _ in job for one in group
        )
        outcome = self._outcome(job, may_wait=False) if is_quick else None
        if outcome is None:
            self._jobs.put(job)
        else:
            self._done(job, outcome)

    def _work(self) -> None:
        while job := self._jobs.get():
            outcome = self._outcome(job, may_wait=True)
            assert outcome is not None
            self._loop.call_soon_threadsafe(self._done, job, outcome)

    def _outcome(
        self, job: list[_Waiting], *, may_wait: bool
    ) -> list[list[int] | ReplyError] | None:
        """Do a job; None if another process is writing and this one may not wait."""
        begin = time.perf_counter()
        refused: ReplyError
        try:
            return self._mdird.run_groups([group for group, _ in job], may_wait=may_wait)
        except ReplyError as error:
            refused = error
        except (MdirError, OSError) as error:
            refused = reply_error(503, f"the mdird cannot do this now: {error}")
        except Exception as error:  # noqa: BLE001 - clients wait for an answer
            refused = reply_error(500, f"a defect of mdird: {error!r}")
        finally:
            self._seconds = time.perf_counter() - begin
        return [refused] * len(job)

    def _done(self, job: list[_Waiting], outcome: list[list[int] | ReplyError]) -> None:
        try:
            for (_, answered), answers in zip(job, outcome, strict=True):
                # One client's fault is not the next one's.
                self._loop.call_soon(answered, answers)
            self._loop.call_soon(self._committed)
        finally:
            self._loop.call_soon(self._begin)
