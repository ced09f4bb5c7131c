"""The lease of the outbox: of all senders one at a time has it. Reads and writes the mdir.

It is an entry of the outbox folder that its holder renews by SET. Nobody's clock is compared with
another's: who wants it watches whether the entry changes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from mdirclient.errors import ConflictReplyError, MdirError, NotFoundReplyError
from mdirclient.header import Header
from mdirclient.smtp.followed import Followed, Live

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird
    from mdirclient.service.log import Log

URL: Final = "mdir:lease@outbox.invalid/1"
KIND: Final = "lease"
#: Seconds without a renewal after which a holder is taken for dead.
EXPIRY: Final = 60.0
_RENEWAL: Final = 15.0
_LOOK: Final = 1.0
#: A clock that goes on while the machine sleeps, where there is one.
_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Lease:
    """Holds the lease, or waits for it. Used in one loop.

    Args:
        mdird: with the outbox.
        folder: of the outbox.
        place: name of the sender's own directory, random, kept in it. Only one process has that,
            so a lease of the same place was left by one that is dead.
        changed: called when it was got or lost.
        log: of that.
        expiry: seconds, for tests.
    """

    def __init__(
        self,
        mdird: AsyncMdird,
        folder: str,
        place: str,
        changed: Callable[[], None],
        log: Log,
        *,
        expiry: float = EXPIRY,
    ) -> None:
        self.place = place
        self.entries = Followed(mdird, folder, KIND, self._wake, log, event="outbox-stale")
        self._mdird = mdird
        self._folder = folder
        self._changed = changed
        self._log = log
        self._expiry = expiry
        self._woken = asyncio.Event()
        self._is_released = False
        self._version: int | None = None  # of ours
        self._renewed = 0.0
        self._seen: tuple[int, float] = (0, 0.0)  # a version of another's, and when it came

    @property
    def is_held(self) -> bool:
        """Whether this sender has it, for some time at least."""
        return (
            self._version is not None
            and time.clock_gettime(_CLOCK) < self._renewed + self._expiry * 0.75
        )

    async def run(self) -> None:
        """Get it, renew it, and get it again, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.entries.run())
            group.create_task(self._hold())

    async def release(self) -> None:
        """Give it back for good, so that nobody has to wait for it."""
        self._is_released = True
        if self._version is None:
            return
        self._version = None
        try:
            await self._mdird.remove(self._folder, Header([("url", URL), ("place", self.place)]))
        except (MdirError, OSError) as error:
            self._log("lease-failed", reason=error)

    async def _hold(self) -> None:
        while True:
            was_held = self.is_held
            try:
                await self._try()
            except (MdirError, OSError) as error:
                if isinstance(error, ConflictReplyError):
                    self._version = None
                elif not isinstance(error, NotFoundReplyError):
                    self._log("lease-failed", reason=error)
            if self.is_held != was_held:
                self._log("lease", held=self.is_held, folder=self._folder)
                self._changed()
            self._woken.clear()
            pause = self._expiry / EXPIRY * (_RENEWAL if self.is_held else _LOOK)
            try:
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            except TimeoutError:
                continue

    async def _try(self) -> None:
        """Renew what is ours, or take what is nobody's."""
        now = time.clock_gettime(_CLOCK)
        if self._is_released or not self.entries.is_current:
            return
        live = self.entries.entries.get(URL)
        if self._version is not None and live and live.header.get("place") == self.place:
            if now < self._renewed + self._expiry / EXPIRY * _RENEWAL:
                return
        elif live is not None and not self._is_free(live, now):
            self._version = None
            return
        base = live.version if live else 0
        fields = [("url", URL), ("type", KIND), ("place", self.place)]
        self._version = await self._mdird.set(self._folder, Header(fields), base=base)
        self._renewed = now

    def _is_free(self, live: Live, now: float) -> bool:
        """Whether another's lease may be taken: it is dead, or was not renewed for long."""
        if live.header.get("place") == self.place:
            return True
        if self._seen[0] != live.version:
            self._seen = live.version, now
        return now >= self._seen[1] + self._expiry

    def _wake(self) -> None:
        self._woken.set()
