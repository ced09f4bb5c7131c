"""The list of accounts, kept current by a permanent subscription. Reads the mdir only."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Final

from mdirclient.errors import MdirError, reply_error
from mdirclient.header import Header
from mdirclient.patch import End, Now, Patch
from mdirclient.smtp.accounts import Places
from mdirclient.smtp.book import Book

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird
    from mdirclient.service.log import Log

#: Seconds between two tries to subscribe: the first, and the most.
_FIRST_PAUSE: Final = 0.2
_MAX_PAUSE: Final = 10.0
#: Seconds between two questions whether the mdird is still there. A dead connection says nothing
#: by itself, and from an old list nobody is told that there is no such account.
_BEAT: Final = 10.0
_BEAT_TIMEOUT: Final = 20.0
#: Seconds in which changes are collected before a new book is made.
_COLLECTING: Final = 0.05
_BEAT_PATTERN: Final = Header([("url", "mdir:beat@smtp.invalid/1")])


class Following:
    """Follows accounts and users. Used in one loop.

    Args:
        mdird: that has them.
        places: the folders agreed on.
        log: of what happens to the subscriptions.
    """

    def __init__(self, mdird: AsyncMdird, places: Places, log: Log) -> None:
        #: As of the last change; empty before the first.
        self.book = Book((), ())
        self._mdird = mdird
        self._places = places
        self._log = log
        self._followed = {
            folder: _Followed(mdird, folder, kind, self._changed, log)
            for folder, kind in ((places.accounts, "dir"), (places.users, "user"))
        }
        self._is_alive = True
        self._is_made = False
        self._waiting = asyncio.Event()

    @property
    def is_current(self) -> bool:
        """Whether the book says what the mdird says."""
        return self._is_made and self._is_alive

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for one in self._followed.values():
                group.create_task(one.run())
            group.create_task(self._make())
            group.create_task(self._beat())

    def _changed(self) -> None:
        self._waiting.set()
        # From a book that was made before a gap nobody is told that there is no such account.
        self._is_made = self._is_made and self._is_followed()

    def _is_followed(self) -> bool:
        return all(one.is_current for one in self._followed.values())

    async def _make(self) -> None:
        """Make a new book after changes; beside the loop, for there may be many accounts."""
        while True:
            await self._waiting.wait()
            await asyncio.sleep(_COLLECTING)
            self._waiting.clear()
            accounts, users = (list(one.entries.values()) for one in self._followed.values())
            self.book = await asyncio.to_thread(
                Book, accounts, users, postmaster=self._places.postmaster
            )
            if not self._is_made and self._is_followed() and not self._waiting.is_set():
                self._is_made = True
                self._log("accounts", count=len(self.book.accounts))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT)
            try:
                async with asyncio.timeout(_BEAT_TIMEOUT):
                    async for _ in self._mdird.lookup("", _BEAT_PATTERN):
                        pass
                self._is_alive = True
            except (MdirError, OSError) as error:
                if self._is_alive:
                    self._log("mdird-away", reason=error)
                self._is_alive = False


class _Followed:
    """One folder, and its entries of one type."""

    def __init__(
        self, mdird: AsyncMdird, folder: str, kind: str, changed: Callable[[], None], log: Log
    ) -> None:
        #: Identity → entry; the oldest first.
        self.entries: dict[str, Header] = {}
        #: Whether everything up to now was read.
        self.is_current = False
        self._mdird = mdird
        self._folder = folder
        self._kind = kind
        self._changed = changed
        self._log = log
        self._version = 0
        self._epoch: str | None = None

    async def run(self) -> None:
        """Follow until cancelled; subscribe again whenever the subscription ends."""
        pause, reason = _FIRST_PAUSE, ""
        while True:
            try:
                async with contextlib.aclosing(self._events()) as events:
                    async for event in events:
                        if isinstance(event, End):
                            # One that the other side closed is one that failed.
                            raise reply_error(event.status, event.text)
                        if isinstance(event, Now):
                            pause, reason = _FIRST_PAUSE, ""
            except (MdirError, OSError) as error:
                if str(error) != reason:
                    self._log("accounts-stale", folder=self._folder, reason=error)
                reason = str(error)
            self.is_current = False
            self._changed()
            # Many servers come back at once after a restart of the mdird.
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
            pause = min(2 * pause, _MAX_PAUSE)

    async def _events(self) -> AsyncGenerator[Patch | Now | End, None]:
        subscription = await self._mdird.subscribe(self._folder, self._version, epoch=self._epoch)
        try:
            # A listing takes the place of what is known when it is whole, not before.
            entries = {} if subscription.is_listing else dict(self.entries)
            async for event in subscription:
                if isinstance(event, Patch):
                    self._apply(entries, event)
                elif isinstance(event, Now):
                    self.entries, entries = entries, dict(entries)
                    self._version, self._epoch = event.version, subscription.epoch
                    self.is_current = True
                    self._changed()
                yield event
        finally:
            await subscription.close()

    def _apply(self, entries: dict[str, Header], patch: Patch) -> None:
        header = patch.header
        identity = header.get("url") or f"{header.get('id')}/{header.get('name')}"
        if patch.action == "-":
            entries.pop(identity, None)
        elif header.get("type") == self._kind:
            entries[identity] = header
        else:
            entries.pop(identity, None)
