"""The spam box: folders into which users move what they call spam. They are emptied.

Each mail that is there is recorded once, and leaves some time after its record is committed. One
that its user takes back among the mails of the account before was none: its record goes too. One
that is deleted, or thrown into the trash, stays what it was called. Contents stay in the store.
Reads and writes the mdir, and tables of the SMTP server's own database.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import attrs

from mdirclient import _fs
from mdirclient.errors import LockTimeoutError, MdirError
from mdirclient.header import Header
from mdirclient.smtp.followed import ANY, Followed
from mdirclient.smtp.outbox.item import anchor_of
from mdirclient.smtp.spam.back import Search
from mdirclient.smtp.spam.votes import Vote

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird
    from mdirclient.service.log import Log
    from mdirclient.smtp.accounts import Places
    from mdirclient.smtp.following import Following
    from mdirclient.smtp.spam.votes import Votes

#: Seconds that a mail stays in the box.
KEPT: Final = 3_600.0
#: Seconds in which changes are collected, and after which what failed is tried again.
_COLLECTING: Final = 0.2
_FAILING: Final = 10.0
#: Seconds in which the record of a mail may follow it (`mdir-smtp serve` keeps many together), and
#: between two looks whether it has.
_FOLLOWING: Final = 5.0
_LOOKING: Final = 0.5
#: Seconds after which a mail that left by its user is looked for once more: a client may remove it
#: here before it puts it there. The last look is at the end of its time.
_ARRIVING: Final = 5.0
#: Seconds that mails which left are looked for before boxes that changed have their turn.
_TURN: Final = 0.5
#: Seconds between two questions whether a subscription still says everything.
_BEAT: Final = 60.0


@attrs.define
class _Box:
    """One account's folder.

    Attributes:
        followed: its entries.
        votes: anchor → vote, of what is in it, or may come back; None: not read yet.
        away: anchor of what left by its user → when it is looked for yet, before its time ends.
        search: looks for some of these.
        over: those whose time was over when that began.
        leaving: anchor of what was told to leave → the last version of its entries.
        unknown: anchor of a mail without a record → until when one may follow.
        looked: when records for these were looked for.
        due: when the next mail is to leave, in seconds since 1970; None: there is none.
        again: when what failed is tried again; None: it did not.
    """

    followed: Followed
    task: asyncio.Task[None]
    votes: dict[str, Vote] | None = None
    away: dict[str, tuple[float, ...]] = attrs.field(factory=dict)
    search: Search | None = None
    over: frozenset[str] = frozenset()
    leaving: dict[str, int] = attrs.field(factory=dict)
    unknown: dict[str, float] = attrs.field(factory=dict)
    looked: float = 0.0
    due: float | None = None
    again: float | None = None

    def has(self, vote: Vote) -> bool:
        """Whether the mail of a vote is in it."""
        found = (self.votes or {}).get(vote.anchor)
        if found is None or vote.anchor in self.away:
            return False
        return found.account == vote.account

    def wait(self, now: float) -> float | None:
        """Seconds until there is something to do though nothing changes; None: nothing.

        Args:
            now: seconds since 1970; all else is of a clock that nobody turns.
        """
        if self.again is not None:
            return max(0.0, self.again - time.monotonic())
        if self.search:
            return 0.0
        waits = [] if self.due is None else [max(0.0, self.due - now)]
        if self.unknown:
            waits.append(max(0.0, self.looked + _LOOKING - time.monotonic()))
        if looks := [times[0] for times in self.away.values() if times]:
            waits.append(max(0.0, min(looks) - time.monotonic()))
        return min(waits, default=None)


class SpamBox:
    """See the module. Used in one loop.

    Args:
        mdird: with the folders.
        following: the list of accounts; the caller runs it.
        votes: where they are kept.
        places: the folders agreed on.
        kept: seconds that a mail stays in it.
        log: of what happens.
        now: seconds since 1970.
    """

    def __init__(
        self,
        mdird: AsyncMdird,
        following: Following,
        votes: Votes,
        *,
        places: Places,
        kept: float = KEPT,
        log: Log,
        now: Callable[[], float],
    ) -> None:
        self._mdird = mdird
        self._following = following
        self._votes = votes
        self._places = places
        self._folder = places.spam
        self._kept = kept
        self._log = log
        self._now = now
        self._woken = asyncio.Event()
        self._root = Followed(mdird, places.spam, "dir", self._woken.set, log, event="spam-stale")
        self._boxes: dict[str, _Box] = {}
        self._touched: set[str] = set()
        self._group: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Record and empty until cancelled.

        Of several on one database one does, and the others wait: what one empties another would
        take for the user's doing.
        """
        is_waiting = False
        while True:
            try:
                with _fs.lock(f"{self._votes.path}.lock", timeout=0):
                    await self._run()
            except LockTimeoutError as error:
                if not is_waiting:
                    self._log("spam-waits", holder=error.holder)
                is_waiting = True
                await asyncio.sleep(_FAILING)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._root.run())
            wait: float | None = None
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait):
                        await self._woken.wait()
                        await asyncio.sleep(_COLLECTING)
                self._woken.clear()
                self._follow_folders()
                wait = await self._work_all()

    def _follow_folders(self) -> None:
        """A folder for each account: follow what is new, and let go what went."""
        assert self._group
        if not self._root.is_current:
            return
        names = {live.header.get("name") or "" for live in self._root.entries.values()}
        for account in {name for name in names if "@" in name} - self._boxes.keys():
            followed = Followed(
                self._mdird, f"{self._folder}/{account}", ANY, self._toucher(account),
                self._log, event="spam-stale", beat=_BEAT,
            )  # fmt: skip
            self._boxes[account] = _Box(followed, self._group.create_task(followed.run()))
        for account in self._boxes.keys() - names:
            self._boxes.pop(account).task.cancel()

    def _toucher(self, account: str) -> Callable[[], None]:
        def touch() -> None:
            self._touched.add(account)
            self._woken.set()

        return touch

    async def _work_all(self) -> float | None:
        """Work on what changed or is due; seconds until something is due again."""
        if not self._following.is_current:  # whose addresses are whose is not known
            return _FAILING
        touched, self._touched = self._touched, set()
        for account, box in self._boxes.items():
            if account not in touched and box.wait(self._now()) != 0:
                continue
            try:
                await self._work(account, box)
                box.again = None
            except (MdirError, OSError) as error:
                self._fail(account, box, error)
        await self._look()
        # What is not followed for now says so itself when it is again: nothing is due before.
        boxes = (box for box in self._boxes.values() if box.followed.is_current)
        waits = [box.wait(self._now()) for box in boxes]
        return min((one for one in waits if one is not None), default=None)

    def _fail(self, account: str, box: _Box, error: MdirError | OSError) -> None:
        self._log("spam-failed", account=account, reason=error)
        box.again = time.monotonic() + _FAILING

    async def _work(self, account: str, box: _Box) -> None:
        if not box.followed.is_current:
            return
        if box.votes is None:
            box.votes = await asyncio.to_thread(self._votes.of, account)
        clock = time.monotonic()
        entries: dict[str, list[str]] = {}
        present = set()
        for url, live in list(box.followed.entries.items()):
            anchor = anchor_of(live.header) or url
            present.add(anchor)
            if live.version > box.leaving.get(anchor, -1):  # else it is on its way out
                entries.setdefault(anchor, []).append(url)
        box.leaving = {one: last for one, last in box.leaving.items() if one in present}
        box.unknown = {one: until for one, until in box.unknown.items() if one in entries}
        for anchor in entries.keys() - box.votes.keys():
            await self._vote(account, box, anchor)
        for anchor, urls in entries.items():
            if anchor in box.votes and self._is_over(box.votes[anchor]):
                await self._empty(account, box, anchor, urls)
        gone, times = box.votes.keys() - entries.keys(), (clock, clock + _ARRIVING)
        box.away = {one: box.away.get(one, times) for one in gone}
        box.looked = time.monotonic()
        box.due = min((vote.at + self._kept for vote in box.votes.values()), default=None)

    async def _vote(self, account: str, box: _Box, anchor: str) -> None:
        """Record a vote; one on a mail without a record when none has followed in time."""
        assert box.votes is not None
        until = box.unknown.setdefault(anchor, time.monotonic() + _FOLLOWING)
        is_own = self._owner(account)
        is_known = await asyncio.to_thread(self._votes.knows, account, anchor, is_own)
        if not is_known and time.monotonic() < until:
            return
        others = self._following.book.siblings(account)
        vote = await asyncio.to_thread(
            self._votes.add, account, anchor, self._now(), is_own, others
        )
        del box.unknown[anchor]
        box.votes[anchor] = attrs.evolve(vote, at=self._now())
        event = "spam" if vote.is_known else "spam-unknown"
        self._log(
            event, account=account, sender=vote.sender or None, client=vote.client or None,
            anchor=anchor,
        )  # fmt: skip

    def _is_over(self, vote: Vote) -> bool:
        return vote.at + self._kept <= self._now()

    async def _look(self) -> None:
        """Look for what left by its users, for a moment: others have their turn after it."""
        until = time.monotonic() + _TURN
        for account, box in self._boxes.items():
            try:
                while box.again is None and time.monotonic() < until:
                    if not await self._look_for(account, box):
                        break
            except (MdirError, OSError) as error:
                self._fail(account, box, error)

    async def _look_for(self, account: str, box: _Box) -> bool:
        """A step of looking whether mails are back; False: there is nothing to do."""
        if box.votes is None or not box.followed.is_current:
            return False
        clock = time.monotonic()
        if box.search is None:
            over = [one for one in box.away if self._is_over(box.votes[one])]
            due = [one for one, times in box.away.items() if times and times[0] <= clock]
            if not over and not due:
                return False
            folder = f"{self._places.accounts}/{account}"
            box.search = Search(self._mdird, folder, self._places.trash, [*over, *due])
            box.over = frozenset(over)
            for one in due:
                box.away[one] = tuple(at for at in box.away[one] if at > clock)
        if await box.search.step():
            search, box.search = box.search, None
            for anchor in search.anchors & box.away.keys():  # the others are in the box again
                await self._decide(account, box, anchor, is_back=anchor in search.found)
        return True

    async def _decide(self, account: str, box: _Box, anchor: str, *, is_back: bool) -> None:
        """What left by its user is none after all, or is spam for good; or it is too early."""
        assert box.votes is not None
        vote = box.votes[anchor]
        if not is_back and anchor not in box.over:
            return
        if not self._is_held(box, vote):
            if is_back:
                await self._undo(account, vote)
            else:
                await asyncio.to_thread(self._votes.empty, vote.account, anchor)
        del box.votes[anchor], box.away[anchor]

    async def _undo(self, account: str, vote: Vote) -> None:
        is_undone = await asyncio.to_thread(self._votes.undo, vote.account, vote.anchor)
        if is_undone:  # else it left by us, and only the answer was lost
            self._log("spam-undone", account=account, anchor=vote.anchor)

    def _is_held(self, box: _Box, vote: Vote) -> bool:
        """Whether another box of the same user has the mail."""
        names = [vote.account, *self._following.book.siblings(vote.account)]
        boxes = filter(None, map(self._boxes.get, names))
        return any(other.has(vote) for other in boxes if other is not box)

    async def _empty(self, account: str, box: _Box, anchor: str, urls: list[str]) -> None:
        """Let a mail leave a box."""
        assert box.votes is not None
        vote = box.votes[anchor]
        # Before it leaves: of what is gone after a crash it must be known who did that.
        if not self._is_held(box, vote):
            await asyncio.to_thread(self._votes.empty, vote.account, anchor)
        del box.votes[anchor]
        lives = [box.followed.entries.get(url) for url in urls]
        box.leaving[anchor] = max((live.version for live in lives if live), default=0)
        try:
            await self._remove(account, urls)
        except BaseException:  # it may still be there, and still due
            del box.leaving[anchor]
            box.votes[anchor] = vote
            raise

    async def _remove(self, account: str, urls: list[str]) -> None:
        async with self._mdird.batch() as batch:
            for url in urls:
                await batch.remove(f"{self._folder}/{account}", Header([("url", url)]))

    def _owner(self, account: str) -> Callable[[str], bool]:
        """Tells whether a recipient's address is the account's."""
        book = self._following.book

        def is_own(address: str) -> bool:
            local, _, domain = address.rpartition("@")
            found = book.find(local or address, domain)
            return found is not None and found.name == account

        return is_own
