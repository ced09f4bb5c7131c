"""The sender of the outbox: follows its folders, and tries each mail when it is due.

Everything that must survive is in the mdir, in the header of the anchor; what happened in the
moment between sendmail's end and that is in the records of the runner.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import heapq
import os
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import attrs

from mdirclient import _fs
from mdirclient.errors import ConflictReplyError, MdirError, PermanentReplyError
from mdirclient.header import Header
from mdirclient.smtp.accounts import Places
from mdirclient.smtp.followed import Followed, Live
from mdirclient.smtp.outbox import item as items
from mdirclient.smtp.outbox.item import Item, Retries
from mdirclient.smtp.outbox.lease import Lease
from mdirclient.smtp.outbox.prepare import Prepared, Preparer, UnsendableError
from mdirclient.smtp.outbox.report import MAX_RETURNED, Failure, compose_report
from mdirclient.smtp.outbox.sendmail import Outcome, Sendmail

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird
    from mdirclient.service.log import Log
    from mdirclient.smtp.following import Following

#: Seconds after which a mail that another sender began to send, and that has not changed since, is
#: tried again: more than a sendmail may take.
FOREIGN: Final = 900.0
#: Seconds between two looks at such mails, and at what could not be written down.
_LOOK: Final = 1.0
_FAILING: Final = 5.0
#: Seconds between two questions whether the subscription to a folder still says everything: there
#: is one for each address.
_BEAT: Final = 60.0


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
        sendmail: how mails are sent; started.
        places: the folders agreed on.
        place: name of this sender, for the lease and for the state of mails.
        host: name of this host, for notifications.
        options: of the command line.
        log: of events.
    """

    def __init__(
        self,
        mdird: AsyncMdird,
        following: Following,
        sendmail: Sendmail,
        *,
        places: Places,
        place: str,
        host: str,
        options: Options,
        log: Log,
    ) -> None:
        self._mdird = mdird
        self._following = following
        self._sendmail = sendmail
        self._places = places
        self._host = host
        self._options = options
        self._log = log
        self._preparer = Preparer(mdird.store)
        self._woken = asyncio.Event()
        self.lease = Lease(mdird, places.outbox, place, self._woken.set, log)
        self._root = Followed(
            mdird, places.outbox, "dir", self._woken.set, log, event="outbox-stale"
        )
        self._boxes: dict[str, _Box] = {}
        self._due: list[tuple[float, str, str]] = []
        self._foreign: dict[tuple[str, str], tuple[int, float]] = {}
        self._running: dict[tuple[str, str], asyncio.Task[None]] = {}
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
            for address, box in self._boxes.items():
                for anchor in box.changed():
                    self._plan(address, anchor)
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
            self._boxes[address] = _Box(followed, task)
        for address in self._boxes.keys() - names:
            self._boxes.pop(address).task.cancel()

    def _plan(self, address: str, anchor: str) -> None:
        """Note when a mail is to be looked at."""
        item = self._item(address, anchor)
        if item is None or (address, anchor) in self._running:
            return
        now = datetime.now(UTC)
        due = item.due(now)
        if item.status == items.SENDING:
            self._plan_begun(item)
        elif due is not None:
            when = time.monotonic() + max(0.0, (due - now).total_seconds())
            heapq.heappush(self._due, (when, address, anchor))

    def _plan_begun(self, item: Item) -> None:
        """A mail that a sender began to send: when is it known not to go on?"""
        sender, _ = item.job
        now = time.monotonic()
        key = (item.address, item.anchor)
        version, since = self._foreign.get(key, (0, now))
        assert item.head
        if version != item.head.version:
            since = now
        self._foreign[key] = item.head.version, since
        is_ours = sender == self.lease.place
        heapq.heappush(self._due, (now if is_ours else since + self._options.foreign, *key))

    def _item(self, address: str, anchor: str) -> Item | None:
        box = self._boxes.get(address)
        return box.item(address, anchor) if box else None

    # -- when

    def _start_due(self) -> float | None:
        """Begin what is due; seconds to the next that will be, None: nothing will."""
        if not (self.lease.is_held and self._following.is_current) or self._is_stopping:
            return _LOOK if self._due else None
        while self._due and len(self._running) < self._options.jobs:
            when, address, anchor = self._due[0]
            now = time.monotonic()
            if when > now:
                return when - now
            heapq.heappop(self._due)
            item = self._item(address, anchor)
            if item and (address, anchor) not in self._running and self._is_due(item):
                self._begin(item)
        return None

    def _is_due(self, item: Item) -> bool:
        """Whether it still is: many things may have changed since it was noted."""
        now = datetime.now(UTC)
        if item.status != items.SENDING:
            due = item.due(now)
            return due is not None and due <= now
        sender, _ = item.job
        version, since = self._foreign.get((item.address, item.anchor), (0, 0.0))
        is_over = time.monotonic() >= since + self._options.foreign
        is_known = item.head is not None and version == item.head.version
        return sender == self.lease.place or (is_known and is_over)

    def _begin(self, item: Item) -> None:
        assert self._group
        key = (item.address, item.anchor)
        self._foreign.pop(key, None)
        task = self._group.create_task(self._try(item))
        self._running[key] = task
        task.add_done_callback(lambda _: self._ended(key))

    def _ended(self, key: tuple[str, str]) -> None:
        self._running.pop(key, None)
        self._plan(*key)
        self._woken.set()

    # -- one attempt

    async def _try(self, item: Item) -> None:
        """One attempt, from its beginning to the record of its end."""
        try:
            await self._attempt(item)
        except (MdirError, OSError) as error:
            # It is as it was, or begun: then its end is asked for again.
            self._log("outbox-failed", anchor=item.anchor, reason=error)
            await asyncio.sleep(_FAILING)
        except Exception as error:  # noqa: BLE001 - the other mails have nothing to do with it
            self._log("defect", what="sending", anchor=item.anchor, error=repr(error))
            await asyncio.sleep(_FAILING)

    async def _attempt(self, item: Item) -> None:
        now = datetime.now(UTC)
        sender, job = item.job
        has_ended = sender == self.lease.place and job in self._sendmail.ended
        if item.status == items.SENDING and has_ended:
            # It was sent, or not; what is missing is the record.
            claimed, outcome = item, self._sendmail.ended[job]
        else:
            # What an earlier sender of this place began without an outcome was never told to
            # anybody, or died with the machine.
            job = _job(item)
            try:
                claimed = await self._claim(item, job, now)
            except ConflictReplyError:
                return  # its user changed it: that is on its way to us
            outcome = Outcome("")
        try:
            prepared = await self._prepared(claimed, job)
            if not outcome.status:
                outcome = await self._sendmail.send(job, prepared.sender, prepared.recipients)
            await self._record(claimed, prepared, outcome)
        except UnsendableError as error:
            await self._fail(claimed, Outcome(error.status, str(error)), ())
        except (MdirError, OSError) as error:
            await self._defer(claimed, Outcome("4.3.0", str(error)), ())
        await asyncio.to_thread(self._sendmail.forget, job)

    async def _claim(self, item: Item, job: str, now: datetime) -> Item:
        """Say durably that it is being sent; who had the same idea is refused."""
        assert item.head
        state = {
            "status": items.SENDING,
            "queued": items.write_time(item.queued(now)),
            "attempts": str(item.attempts + 1),
            "next-attempt": None,
            "sending": f"{self.lease.place} {job}",
        }
        header = items.with_state(item.header, state)
        folder = self._folder(item)
        version = await self._mdird.set(folder, header, base=item.head.version)
        return attrs.evolve(item, entries=(Live(header, version), *item.entries[1:]))

    async def _prepared(self, item: Item, job: str) -> Prepared:
        path = self._sendmail.path(job)
        await asyncio.to_thread(_fs.remove, path)
        book, now = self._following.book, datetime.now(UTC)
        return await asyncio.to_thread(self._preparer.prepare, item, path, book=book, now=now)

    async def _record(self, item: Item, prepared: Prepared, outcome: Outcome) -> None:
        if outcome.is_sent:
            await self._file_sent(item, prepared)
        elif outcome.is_permanent:
            await self._fail(item, outcome, prepared.recipients)
        else:
            await self._defer(item, outcome, prepared.recipients)

    async def _file_sent(self, item: Item, prepared: Prepared) -> None:
        """It leaves the outbox, and the rules of its user file it."""
        try:
            await self._surely(lambda: self._move_sent(item, prepared))
        except PermanentReplyError as error:
            # It stays where it is, but is never sent again.
            reason = items.shown_reason(f"sent, but it cannot be filed: {error}")
            await self._write_state(item, {"status": items.SENT, "reason": reason})
        self._tell(item, "sent", prepared.recipients)

    async def _move_sent(self, item: Item, prepared: Prepared) -> None:
        async with self._mdird.batch() as batch:
            for live in item.entries:
                await batch.remove(self._folder(item), Header([("url", live.header["url"])]))
            for header in prepared.filed:
                await batch.classify(self._account(item), header)

    async def _defer(self, item: Item, outcome: Outcome, recipients: tuple[str, ...]) -> None:
        """It is tried again later, unless that was tried for too long."""
        now = datetime.now(UTC)
        retries = self._options.retries
        if now >= items.later(item.queued(now), retries.give_up):
            late = Outcome("5.4.7", f"not sent in time; the last reason: {outcome.reason}")
            await self._fail(item, late, recipients)
            return
        following = items.later(now, retries.after(item.attempts))
        state = {
            "status": items.DEFERRED,
            "next-attempt": items.write_time(following),
            "reason": items.shown_reason(outcome.reason),
            "sending": None,
        }
        await self._write_state(item, state)
        self._tell(item, "deferred", recipients, outcome)

    async def _fail(self, item: Item, outcome: Outcome, recipients: tuple[str, ...]) -> None:
        """It stays in the outbox, and its user is told."""
        now = datetime.now(UTC)
        reason = items.shown_reason(outcome.reason)
        headers = await asyncio.to_thread(self._report, item, outcome, recipients, now)
        state = {"status": items.FAILED, "next-attempt": None, "reason": reason, "sending": None}
        try:
            await self._surely(lambda: self._set(item, state, headers))
        except PermanentReplyError as error:
            self._log("report-failed", anchor=item.anchor, reason=error)
            await self._write_state(item, state)
        self._tell(item, "failed", recipients, outcome)

    def _report(
        self, item: Item, outcome: Outcome, recipients: tuple[str, ...], now: datetime
    ) -> tuple[Header, ...]:
        failure = Failure(
            address=item.address,
            subject=items.shown_reason(item.header.get("subject") or ""),
            recipients=recipients,
            status=outcome.status,
            reason=items.shown_reason(outcome.reason),
            queued=item.queued(now),
            attempts=item.attempts,
            key=f"{item.anchor} {item.attempts}",
        )
        original = self._sendmail.beginning(item.job[1], MAX_RETURNED + 1)
        stored = self._mdird.store.add(compose_report(failure, original, host=self._host, now=now))
        return stored.headers(type="delivery-status", envelope_from="<>", envelope_to=item.address)

    async def _write_state(self, item: Item, state: dict[str, str | None]) -> None:
        try:
            await self._surely(lambda: self._set(item, state))
        except PermanentReplyError as error:  # its folder is gone
            self._log("outbox-failed", anchor=item.anchor, reason=error)

    async def _set(
        self, item: Item, state: dict[str, str | None], headers: tuple[Header, ...] = ()
    ) -> None:
        """Write the state of a mail down, whatever else its user changed meanwhile."""
        current = self._item(item.address, item.anchor)
        assert item.head
        head = current.head if current and current.head else item.head
        if head.version < item.head.version:
            head = item.head  # our own change has not come back yet
        async with self._mdird.batch() as batch:
            if current is not None:
                changed = items.with_state(head.header, state)
                await batch.set(self._folder(item), changed, base=head.version)
            for header in headers:
                await batch.classify(self._account(item), header)

    async def _surely(self, write: Callable[[], Coroutine[object, object, None]]) -> None:
        """Write something down that has happened: again and again, until it is.

        Raises:
            PermanentReplyError: it never will be.
        """
        said = ""
        while True:
            try:
                await write()
            except ConflictReplyError:
                # What its user changed is on its way to us.
                await asyncio.sleep(_LOOK / 5)
            except PermanentReplyError:
                raise
            except (MdirError, OSError) as error:
                if str(error) != said:
                    self._log("outbox-waits", reason=error)
                said = str(error)
                await asyncio.sleep(_LOOK)
            else:
                return

    def _tell(
        self, item: Item, event: str, recipients: tuple[str, ...], outcome: Outcome | None = None
    ) -> None:
        self._log(
            event,
            address=item.address,
            recipients=",".join(recipients) or None,
            attempts=item.attempts,
            status=outcome.status if outcome else None,
            reason=outcome.reason if outcome else None,
            anchor=item.anchor,
        )

    def _folder(self, item: Item) -> str:
        return f"{self._places.outbox}/{item.address}"

    def _account(self, item: Item) -> str:
        """The account's folder: it has the same name."""
        return f"{self._places.accounts}/{item.address}"


class _Box:
    """The folder of one address."""

    def __init__(self, followed: Followed, task: asyncio.Task[None]) -> None:
        self._followed = followed
        self.task = task
        self._anchors: dict[str, str] = {}  # of each entry
        self._urls: dict[str, dict[str, None]] = {}  # of each anchor

    def changed(self) -> set[str]:
        """The anchors of what changed since the last call."""
        touched, self._followed.touched = self._followed.touched, set()
        found = set()
        for url in touched:
            before = self._anchors.pop(url, None)
            if before is not None:
                found.add(before)
                self._urls[before].pop(url, None)
                if not self._urls[before]:
                    del self._urls[before]
            live = self._followed.entries.get(url)
            anchor = items.anchor_of(live.header) if live else None
            if anchor is not None:
                self._anchors[url] = anchor
                self._urls.setdefault(anchor, {})[url] = None
                found.add(anchor)
        return found

    def item(self, address: str, anchor: str) -> Item | None:
        """The mail with an anchor."""
        urls = self._urls.get(anchor, {})
        lives = [self._followed.entries[url] for url in urls if url in self._followed.entries]
        return items.make_item(address, anchor, lives) if lives else None


def _job(item: Item) -> str:
    """A name for an attempt that no other has."""
    text = f"{item.address} {item.anchor} {item.attempts + 1} {os.urandom(8).hex()}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]
