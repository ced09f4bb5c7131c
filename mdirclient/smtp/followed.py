"""One folder of the mdir, kept current by a permanent subscription. Reads the mdir only."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING, Final

import attrs

from mdirclient.errors import MdirError, ReplyError, TransportError, reply_error
from mdirclient.header import Header
from mdirclient.mdird.filing import REPORT
from mdirclient.mdird.rights import STRIBUTION
from mdirclient.mdird.rights import TYPE as RIGHTS
from mdirclient.patch import End, Now, Patch

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
#: In place of a type.
ANY: Final = "*"
_OF_FOLDERS: Final = frozenset(["dir", "lease", RIGHTS, STRIBUTION, REPORT])


@attrs.frozen
class Live:
    """A live entry.

    Attributes:
        header: of it.
        version: of its last change: the `base` of the next SET.
    """

    header: Header
    version: int


class Followed:
    """One folder, and its entries of one type. Used in one loop.

    Args:
        mdird: that has it.
        folder: its path.
        kind: value of `type` of the entries that count; None: those that have none; `ANY`: those
            that have a url, but for what belongs to the folder itself.
        changed: called after changes, and when the entries may not be current any more.
        log: of what happens to the subscription.
        event: under which name.
        beat: seconds between two questions whether the subscription still says everything.
    """

    def __init__(
        self,
        mdird: AsyncMdird,
        folder: str,
        kind: str | None,
        changed: Callable[[], None],
        log: Log,
        *,
        event: str,
        beat: float | None = None,
    ) -> None:
        #: Identity → entry; the oldest first.
        self.entries: dict[str, Live] = {}
        #: Identities of entries that came, changed or went, for who reads and empties it; None:
        #: nobody does.
        self.touched: set[str] | None = None
        #: Whether everything up to now was read.
        self.is_current = False
        self._mdird = mdird
        self._folder = folder
        self._kind = kind
        self._changed = changed
        self._log = log
        self._event = event
        self._pause = beat
        self._version = 0
        self._epoch: str | None = None
        self._folder_id: str | None = None
        self._behind = 0  # a version that the last beat saw, and that had not come yet
        self._lost: MdirError | OSError | None = None
        self._closing: asyncio.Future[None] | None = None  # of one that is not relied on
        #: The one that is read now.
        self.subscription: AsyncSubscription | None = None

    @property
    def version(self) -> int:
        """Of the folder, as far as it was read."""
        return self._version

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
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow())
            group.create_task(self._ask())

    async def _ask(self) -> None:
        while True:
            await asyncio.sleep((self._pause or _BEAT) * random.uniform(0.5, 1))  # noqa: S311
            try:
                async with asyncio.timeout(_BEAT_TIMEOUT):
                    await self.beat()
            except (MdirError, OSError) as error:
                self.lose(error)

    async def _follow(self) -> None:
        """Subscribe again whenever the subscription ends."""
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
                    self._log(self._event, folder=self._folder, reason=error)
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
            is_listed, patches = subscription.is_listing, list[Patch]()
            async for event in subscription:
                if self._lost:
                    return
                if isinstance(event, Patch):
                    patches.append(event)
                elif isinstance(event, Now):
                    if is_listed:
                        if self.touched is not None:
                            self.touched.update(self.entries)
                        self.entries, is_listed = {}, False
                    for patch in patches:
                        self._apply(patch)
                    patches.clear()
                    self._version, self._epoch = event.version, subscription.epoch
                    self.is_current = True
                    self._changed()
                yield event
        finally:
            self.subscription = None
            await subscription.close()

    def _apply(self, patch: Patch) -> None:
        header = patch.header
        identity = header.get("url") or f"{header.get('id')}/{header.get('name')}"
        if self.touched is not None:
            self.touched.add(identity)
        kind = header.get("type")
        is_any = self._kind == ANY and "url" in header and kind not in _OF_FOLDERS
        if patch.action == "+" and (is_any or kind == self._kind):
            self.entries[identity] = Live(header, patch.new_version)
        else:
            self.entries.pop(identity, None)
