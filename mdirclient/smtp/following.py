"""The list of accounts, kept current by a permanent subscription. Reads the mdir only."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Final

from mdirclient.errors import MdirError, ReplyError, TransportError, reply_error
from mdirclient.header import Header
from mdirclient.patch import End, Now, Patch
from mdirclient.smtp.accounts import Places
from mdirclient.smtp.book import Book

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird, AsyncSubscription
    from mdirclient.service.log import Log

#: Seconds between two tries to subscribe: the first, and the most.
_FIRST_PAUSE: Final = 0.2
_MAX_PAUSE: Final = 10.0
#: Seconds between two questions whether a subscription still says everything. A dead connection is
#: silent, and so is a folder that has another name now; but from an old list nobody is told that
#: there is no such account.
_BEAT: Final = 10.0
_BEAT_TIMEOUT: Final = 20.0
#: Seconds in which changes are collected before a new book is made.
_COLLECTING: Final = 0.05


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
        #: Folder → what follows it.
        self.followed = {
            folder: _Followed(mdird, folder, kind, self.changed, log)
            for folder, kind in ((places.accounts, "dir"), (places.users, "user"))
        }
        self._is_made = False
        self._is_making = False
        self._first = asyncio.Event()
        self._waiting = asyncio.Event()

    @property
    def is_current(self) -> bool:
        """Whether the book says what the mdird says."""
        return self._is_made

    @property
    def is_settled(self) -> bool:
        """Whether no change waits to be in the book."""
        return not (self._waiting.is_set() or self._is_making)

    async def made(self) -> None:
        """Wait until the first book was made."""
        await self._first.wait()

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            for one in self.followed.values():
                group.create_task(one.run())
            group.create_task(self._make())
            group.create_task(self._beat())

    def changed(self) -> None:
        """A folder changed, or is not followed for now."""
        self._waiting.set()
        # From a book that was made before a gap nobody is told that there is no such account.
        self._is_made = self._is_made and self._is_followed()

    def _is_followed(self) -> bool:
        return all(one.is_current for one in self.followed.values())

    async def _make(self) -> None:
        """Make a new book after changes; beside the loop, for there may be many accounts."""
        while True:
            await self._waiting.wait()
            await asyncio.sleep(_COLLECTING)
            self._waiting.clear()
            self._is_making = True
            accounts, users = (list(one.entries.values()) for one in self.followed.values())
            self.book = await asyncio.to_thread(
                Book, accounts, users, postmaster=self._places.postmaster
            )
            self._is_making = False
            if not self._is_made and self._is_followed() and not self._waiting.is_set():
                self._is_made = True
                self._first.set()
                self._log("accounts", count=len(self.book.accounts))

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(_BEAT)
            for one in self.followed.values():
                try:
                    async with asyncio.timeout(_BEAT_TIMEOUT):
                        await one.beat()
                except (MdirError, OSError) as error:
                    one.lose(error)


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
        self._folder_id: str | None = None
        self._behind = 0  # a version that the last beat saw, and that had not come yet
        self._lost: MdirError | OSError | None = None
        self._closing: asyncio.Future[None] | None = None  # of one that is not relied on
        #: The one that is read now.
        self.subscription: AsyncSubscription | None = None

    async def beat(self) -> None:
        """Ask whether the subscription still says everything; if not, subscribe again."""
        if not self.is_current:
            return
        asked = await self._mdird.subscribe(self._folder, self._version, epoch=self._epoch)
        await asked.close()
        if asked.folder_id != self._folder_id:
            raise TransportError(self._folder, "another folder has this name now")
        if asked.epoch != self._epoch or 0 < self._behind > self._version:
            raise TransportError(self._folder, "the subscription is silent")
        self._behind = asked.version if asked.version > self._version else 0

    def lose(self, error: MdirError | OSError) -> None:
        """The subscription cannot be relied on: stale until there is another."""
        self._lost = error
        self._version = 0
        self.is_current = False
        self._changed()
        if self.subscription:
            self._closing = asyncio.ensure_future(self.subscription.close())

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
                if self._lost:
                    raise self._lost
            except (MdirError, OSError) as error:
                if isinstance(error, ReplyError):
                    self._version = 0  # all is asked for again
                if str(error) != reason:
                    self._log("accounts-stale", folder=self._folder, reason=error)
                reason = str(error)
            self._lost = None
            self.is_current = False
            self._changed()
            # Many servers come back at once after a restart of the mdird.
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311
            pause = min(2 * pause, _MAX_PAUSE)

    async def _events(self) -> AsyncGenerator[Patch | Now | End, None]:
        subscription = await self._mdird.subscribe(self._folder, self._version, epoch=self._epoch)
        if not subscription.is_listing and subscription.folder_id != self._folder_id:
            # Another folder has this name now: of it everything is new.
            self._version = 0
            await subscription.close()
            raise TransportError(self._folder, "another folder has this name now")
        self.subscription, self._folder_id, self._behind = subscription, subscription.folder_id, 0
        try:
            # A listing takes the place of what is known when it is whole, not before.
            entries = {} if subscription.is_listing else dict(self.entries)
            async for event in subscription:
                if self._lost:
                    return
                if isinstance(event, Patch):
                    self._apply(entries, event)
                elif isinstance(event, Now):
                    self.entries, entries = entries, dict(entries)
                    self._version, self._epoch = event.version, subscription.epoch
                    self.is_current = True
                    self._changed()
                yield event
        finally:
            self.subscription = None
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
