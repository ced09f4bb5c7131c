"""The sender of the outbox: follows its folders, and tries each mail when it is due.

Everything that must survive is in the mdir, in the header of the anchor; what happened in the
moment between sendmail's end and that is in the records of the runner.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import math
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import attrs

from mdirclient.smtp.accounts import Places
from mdirclient.smtp.followed import Followed
from mdirclient.smtp.outbox import item as items
from mdirclient.smtp.outbox.attempt import Attempts, Wrote
from mdirclient.smtp.outbox.box import Box
from mdirclient.smtp.outbox.item import Item, Retries
from mdirclient.smtp.outbox.jobs import Jobs
from mdirclient.smtp.outbox.lease import Lease

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird
    from mdirclient.service.log import Log
    from mdirclient.smtp.following import Following

#: Seconds after which a mail that another sender began to send, and that has not changed since, is
#: tried again: more than a sendmail may take.
FOREIGN: Final = 900.0
#: Seconds between two looks whether mails that are due may be sent.
_LOOK: Final = 1.0
#: Seconds between two questions whether the subscription to a folder still says everything: there
#: is one for each address.
_BEAT: Final = 60.0
#: Seconds that the two clocks may differ by.
_TOLERANCE: Final = 0.01

#: Address and anchor of a mail.
_Key = tuple[str, str]


@attrs.frozen
class Options:
    """What `mdir-smtp outbox` was told; see its help."""

    jobs: int = 4
    retries: Retries = attrs.field(factory=Retries)
    foreign: float = FOREIGN


class Outbox:
    """See the module. Used in one loop.

    Args:
        mdird: with the outbox.
        following: the list of accounts; the caller runs it.
        way: how mails are sent; started.
        places: the folders agreed on.
        place: name of this sender, for the lease and for the state of mails.
        host: name of this host, for notifications.
        options: of the command line.
        log: of events.
        wrote: called in a thread, with an account and those to whom it wrote.
    """

    def __init__(
        self,
        mdird: AsyncMdird,
        following: Following,
        way: Jobs,
        *,
        wrote: Wrote,
        places: Places,
        place: str,
        host: str,
        options: Options,
        log: Log,
    ) -> None:
        self._mdird = mdird
        self._following = following
        self._places = places
        self._options = options
        self._log = log
        self._woken = asyncio.Event()
        self.lease = Lease(mdird, places.outbox, place, self._woken.set, log)
        self._attempts = Attempts(
            mdird,
            following,
            way,
            self.lease,
            lambda item: self._item((item.address, item.anchor)),
            places=places,
            host=host,
            retries=options.retries,
            log=log,
            wrote=wrote,
        )
        self._root = Followed(
            mdird, places.outbox, "dir", self._woken.set, log, event="outbox-stale"
        )
        self._boxes: dict[str, tuple[Box, asyncio.Task[None]]] = {}
        self._due: list[tuple[float, str, str]] = []
        self._noted: dict[_Key, float] = {}  # of each mail the next time in `_due`
        self._foreign: dict[_Key, tuple[int, float]] = {}
        self._running: dict[_Key, asyncio.Task[None]] = {}
        self._is_stopping = False
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self.lease.run())
            group.create_task(self._root.run())
            group.create_task(self._schedule())

    async def stop(self, timeout: float) -> None:
        """Begin nothing any more, and let end what was begun, for so many seconds.

        What takes longer goes on in the runner, and the next sender hears of it.
        """
        self._is_stopping = True
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=timeout)
        await self.lease.release()

    # -- what is there

    async def _schedule(self) -> None:
        while True:
            self._woken.clear()
            self._follow_folders()
            for address, (box, _) in self._boxes.items():
                for anchor in box.changed():
                    self._plan((address, anchor))
            wait = self._start_due()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._woken.wait()

    def _follow_folders(self) -> None:
        """A folder for each address: follow what is new, and let go what went."""
        assert self._group
        if not self._root.is_current:
            return
        names = {live.header.get("name") or "" for live in self._root.entries.values()}
        for address in {name for name in names if "@" in name} - self._boxes.keys():
            folder = f"{self._places.outbox}/{address}"
            followed = Followed(
                self._mdird, folder, None, self._woken.set, self._log,
                event="outbox-stale", beat=_BEAT,
            )  # fmt: skip
            task = self._group.create_task(followed.run())
            self._boxes[address] = Box(followed), task
        for address in self._boxes.keys() - names:
            self._boxes.pop(address)[1].cancel()

    def _plan(self, key: _Key) -> None:
        """Note when a mail is to be looked at."""
        item = self._item(key)
        when = None if item is None or key in self._running else self._next_look(key, item)
        if when is not None and not self._noted.get(key, math.inf) <= when:
            self._noted[key] = when
            heapq.heappush(self._due, (when, *key))

    def _next_look(self, key: _Key, item: Item) -> float | None:
        """By the monotonic clock; None: not before it changes."""
        if item.status == items.SENDING:
            return self._when_over(key, item)
        now = datetime.now(UTC)
        due = item.due(now)
        if due is None:
            return None
        return time.monotonic() + max(0.0, (due - now).total_seconds())

    def _when_over(self, key: _Key, item: Item) -> float | None:
        """When a mail that a sender began to send is known not to go on."""
        if item.head is None:
            return None
        sender, _ = item.job
        now = time.monotonic()
        version, since = self._foreign.get(key, (0, now))
        if version != item.head.version:
            since = now
        self._foreign[key] = item.head.version, since
        return now if sender == self.lease.place else since + self._options.foreign

    def _item(self, key: _Key, *, is_whole: bool = False) -> Item | None:
        found = self._boxes.get(key[0])
        return found[0].item(*key, is_whole=is_whole) if found else None

    # -- when

    def _start_due(self) -> float | None:
        """Begin what is due; seconds to the next that will be, None: nothing will."""
        if not (self.lease.is_held and self._following.is_current) or self._is_stopping:
            return _LOOK if self._due else None
        while self._due and len(self._running) < self._options.jobs:
            when, *rest = self._due[0]
            now = time.monotonic()
            if when > now:
                return when - now
            heapq.heappop(self._due)
            key = (rest[0], rest[1])
            if self._noted.get(key) == when:
                del self._noted[key]
                self._look_at(key, now)
        return None

    def _look_at(self, key: _Key, now: float) -> None:
        """Begin with a mail if it is due; many things may have changed since that was noted."""
        item = self._item(key, is_whole=True)
        if item is None or key in self._running:
            return
        following = self._next_look(key, item)
        if following is None or following > now + _TOLERANCE:
            self._plan(key)
            return
        assert self._group
        self._foreign.pop(key, None)
        task = self._group.create_task(self._attempts.run(item))
        self._running[key] = task
        task.add_done_callback(lambda _: self._ended(key))

    def _ended(self, key: _Key) -> None:
        self._running.pop(key, None)
        self._woken.set()
        self._plan(key)
