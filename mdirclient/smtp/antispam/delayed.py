"""Folders in which users see who was told to come again, and let them in by removing an entry.

Each account has some places in its folder; a further sender takes the oldest one's. An entry that
is gone from its place was removed by its user, or by a program of theirs: that sender is let in.
Reads and writes the mdir, and tables of the SMTP server's own database.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

from mdirclient.errors import ConflictReplyError, MdirError
from mdirclient.header import Header
from mdirclient.smtp.antispam.greys import MEMORY, Key, Shown
from mdirclient.smtp.followed import Followed

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird
    from mdirclient.service.log import Log
    from mdirclient.smtp.antispam.greylisting import Delay
    from mdirclient.smtp.antispam.greys import Greys

#: Senders that an account's folder shows.
PLACES: Final = 50
KIND: Final = "delayed"
#: Seconds in which changes are collected, and until what failed is tried again.
_COLLECTING: Final = 1.0
_FAILING: Final = 10.0
#: Seconds between two questions whether a subscription still says everything.
_BEAT: Final = 60.0
_REASON: Final = "greylisted: told to come again; remove this entry to let this sender in"


class Delayed:
    """See the module. Used in one loop.

    Args:
        mdird: with the folders.
        greys: what is known of senders.
        folder: that has a folder for each account.
        log: of what happens.
        now: seconds since 1970.
    """

    def __init__(
        self,
        mdird: AsyncMdird,
        greys: Greys,
        *,
        folder: str,
        log: Log,
        now: Callable[[], float],
    ) -> None:
        self._mdird = mdird
        self._greys = greys
        self._folder = folder
        self._log = log
        self._now = now
        self._shown: dict[str, dict[int, Shown]] = {}
        self._coming: dict[str, OrderedDict[Key, Delay]] = {}
        self._returned: dict[str, set[Key]] = {}
        self._boxes: dict[str, Followed] = {}
        self._touched: set[str] = set()
        self._woken = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None

    def delay(self, delay: Delay) -> None:
        """A sender was told to come again."""
        coming = self._coming.setdefault(delay.key.recipient, OrderedDict())
        coming[delay.key] = delay
        if len(coming) > PLACES:
            coming.popitem(last=False)
        self._touch(delay.key.recipient)

    def come(self, key: Key) -> None:
        """A sender was let in, from whatever network."""
        coming = self._coming.get(key.recipient, OrderedDict())
        for other in [one for one in coming if one.sender == key.sender]:
            del coming[other]
        shown = self._shown.get(key.recipient, {}).values()
        if found := {one.key for one in shown if one.key.sender == key.sender}:
            self._returned.setdefault(key.recipient, set()).update(found)
            self._touch(key.recipient)

    async def run(self) -> None:
        """Show senders, and let in those that users released, until cancelled."""
        self._shown = await asyncio.to_thread(self._greys.shown)
        async with asyncio.TaskGroup() as group:
            self._group = group
            for account in self._shown:
                self._box(account)
            while True:
                await self._woken.wait()
                await asyncio.sleep(_COLLECTING)
                self._woken.clear()
                touched, self._touched = self._touched, set()
                for account in touched:
                    await self._work(account)

    def _touch(self, account: str) -> None:
        self._touched.add(account)
        self._woken.set()

    def _box(self, account: str) -> Followed:
        """The entries of an account's folder, followed from now on."""
        if account not in self._boxes:
            assert self._group
            self._boxes[account] = box = Followed(
                self._mdird, f"{self._folder}/{account}", KIND, lambda: self._touch(account),
                self._log, event="delayed-stale", beat=_BEAT,
            )  # fmt: skip
            self._group.create_task(box.run())
        return self._boxes[account]

    async def _work(self, account: str) -> None:
        box = self._box(account)
        if not box.is_current:
            return  # it says so when it is
        try:
            await self._release_removed(account, box)
            await self._hide_returned(account)
            await self._show_coming(account, box)
        except (MdirError, OSError) as error:
            self._log("delayed-failed", account=account, reason=error)
            assert self._group
            self._group.create_task(self._again(account))

    async def _again(self, account: str) -> None:
        await asyncio.sleep(_FAILING)
        self._touch(account)

    async def _release_removed(self, account: str, box: Followed) -> None:
        for slot, shown in list(self._shown.get(account, {}).items()):
            is_known = shown.version <= box.version
            if is_known and _url(account, slot) not in box.entries:
                await asyncio.to_thread(self._greys.release, shown.key, self._now())
                await self._forget(account, slot)
                self._log("released", account=account, sender=shown.key.sender)

    async def _hide_returned(self, account: str) -> None:
        """Who was let in is not shown any more, nor who came too long ago."""
        returned, old = self._returned.pop(account, set()), self._now() - MEMORY
        for slot, shown in list(self._shown.get(account, {}).items()):
            if shown.key in returned or shown.at < old:
                # First here: else the removal would be taken for the user's.
                await self._forget(account, slot)
                pattern = Header([("url", _url(account, slot))])
                await self._mdird.remove(f"{self._folder}/{account}", pattern)

    async def _show_coming(self, account: str, box: Followed) -> None:
        places = self._shown.setdefault(account, {})
        coming = self._coming.get(account, OrderedDict())
        while coming:
            key, delay = next(iter(coming.items()))
            slot = _slot(places, key)
            url = _url(account, slot)
            live = box.entries.get(url)
            header = _header(url, account, delay)
            base = live.version if live else 0
            try:
                version = await self._mdird.set(f"{self._folder}/{account}", header, base=base)
            except ConflictReplyError:
                self._touch(account)  # what changed there is on its way to us
                return
            coming.pop(key, None)
            places[slot] = shown = Shown(key, version, delay.at)
            await asyncio.to_thread(self._greys.show, slot, shown)

    async def _forget(self, account: str, slot: int) -> None:
        await asyncio.to_thread(self._greys.hide, account, slot)
        del self._shown[account][slot]


def _slot(places: dict[int, Shown], key: Key) -> int:
    """The place for a sender: its own, a free one, or that of the oldest."""
    own = next((slot for slot, shown in places.items() if shown.key == key), None)
    if own is not None:
        return own
    free = next((slot for slot in range(PLACES) if slot not in places), None)
    return min(places, key=lambda slot: places[slot].at) if free is None else free


def _url(account: str, slot: int) -> str:
    digest = hashlib.sha256(account.encode()).hexdigest()[:32]
    return f"mdir:{slot}.{digest}@delayed.invalid/1"


def _header(url: str, account: str, delay: Delay) -> Header:
    moment = datetime.fromtimestamp(delay.at, UTC)
    fields = [
        ("url", url),
        ("type", KIND),
        ("from", delay.sender),
        ("envelope-to", account),
        ("client-address", delay.client),
        ("helo", delay.helo),
        ("date", format_datetime(moment)),
        ("reason", _REASON),
    ]
    return Header([(name, value) for name, value in fields if value])
