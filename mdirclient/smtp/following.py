"""The list of accounts, kept current by a permanent subscription. Reads the mdir only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from mdirclient.smtp.accounts import Places
from mdirclient.smtp.book import Book
from mdirclient.smtp.followed import Followed

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird
    from mdirclient.service.log import Log

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
            folder: Followed(mdird, folder, kind, self.changed, log, event="accounts-stale")
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
            accounts, users = (
                [live.header for live in one.entries.values()] for one in self.followed.values()
            )
            self.book = await asyncio.to_thread(
                Book,
                accounts,
                users,
                postmaster=self._places.postmaster,
                separators=self._places.separators,
            )
            self._is_making = False
            if not self._is_made and self._is_followed() and not self._waiting.is_set():
                self._is_made = True
                self._first.set()
                self._log("accounts", count=len(self.book.accounts))
