"""One attempt to send a mail of the outbox, from its claim to the record of its end.

Reads and writes the mdir, the store and the directory of the jobs. What has happened is written
down until it is.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Coroutine, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import attrs

from mdirclient import _fs
from mdirclient.errors import (
    ConflictReplyError,
    FormatError,
    LocalProtocolError,
    MdirError,
    PermanentReplyError,
    StoreError,
)
from mdirclient.header import Header
from mdirclient.smtp.accounts import Places
from mdirclient.smtp.followed import Live
from mdirclient.smtp.outbox import item as items
from mdirclient.smtp.outbox.item import Item, Retries
from mdirclient.smtp.outbox.jobs import Jobs
from mdirclient.smtp.outbox.lease import Lease
from mdirclient.smtp.outbox.outcome import Outcome, Refused
from mdirclient.smtp.outbox.prepare import Prepared, Preparer, UnsendableError
from mdirclient.smtp.outbox.report import FAILED, MAX_RETURNED, RELAYED, Notice, compose_report
from mdirclient.smtp.wishes import FAILURE, is_wanted, read_mail, read_recipients

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird
    from mdirclient.service.log import Log
    from mdirclient.smtp.following import Following

#: Seconds between two tries to write down what has happened, and after an attempt that could not
#: be claimed.
_LOOK: Final = 1.0
_FAILING: Final = 5.0
#: Changes of its user that a state may meet before it is given up.
_MAX_CONFLICTS: Final = 100
#: What a mail's sender can do when it failed, and when only some recipients did not get it.
_KEPT: Final = "It is kept in your outbox: mend it there, or remove it."
_OTHERS: Final = "The other recipients are not concerned."
#: What will not be otherwise when it is tried again.
_NEVER: Final = (PermanentReplyError, FormatError, LocalProtocolError)

#: Called with an account, and those to whom it wrote.
Wrote = Callable[[str, Sequence[str]], None]


class Attempts:
    """See the module. Used in one loop.

    Args:
        mdird: with the outbox and the accounts.
        following: the list of accounts.
        way: how mails are sent.
        lease: of this sender.
        current: what is there of a mail now; None: nothing.
        places: the folders agreed on.
        host: name of this host, for notifications.
        retries: when a mail is tried again.
        log: of events.
        wrote: called in a thread, with an account and those to whom it wrote.
    """

    def __init__(
        self,
        mdird: AsyncMdird,
        following: Following,
        way: Jobs,
        lease: Lease,
        current: Callable[[Item], Item | None],
        *,
        wrote: Wrote,
        places: Places,
        host: str,
        retries: Retries,
        log: Log,
    ) -> None:
        self._mdird = mdird
        self._following = following
        self._way = way
        self._lease = lease
        self._current = current
        self._places = places
        self._host = host
        self._retries = retries
        self._log = log
        self._wrote = wrote
        self._preparer = Preparer(mdird.store)

    async def run(self, item: Item) -> None:
        """Try to send a mail; it has a state when this ends, or is as it was."""
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
        has_ended = sender == self._lease.place and job in self._way.ended
        if item.status == items.SENDING and has_ended:
            await self._record_ended(item, job, self._way.ended[job])
        else:
            # What an earlier sender of this place began without an outcome was never told to
            # anybody, or died with the machine.
            job = _job(item)
            try:
                claimed = await self._claim(item, job, now)
            except ConflictReplyError:
                return  # its user changed it: that is on its way to us
            await self._send(claimed, job)
        await asyncio.to_thread(self._way.forget, job)

    async def _send(self, item: Item, job: str) -> None:
        try:
            prepared = await self._prepared(item, job)
        except UnsendableError as error:
            await self._fail(item, Outcome(error.status, str(error)), ())
            return
        except (MdirError, OSError) as error:
            await self._defer(item, Outcome("4.3.0", str(error)), ())
            return
        except Exception as error:  # noqa: BLE001 - a mail that we cannot read must come to an end
            self._log("defect", what="preparing", anchor=item.anchor, error=repr(error))
            await self._defer(item, Outcome("4.3.0", f"a defect of ours: {error!r}"), ())
            return
        if not self._lease.is_held:
            # The machine slept, or the mdird was away: somebody else may have it by now.
            await self._write_state(item, {"status": items.QUEUED, "sending": None})
            return
        if not prepared.recipients:  # its user took away those who were left
            await self._file_sent(item, prepared)
            return
        outcome = await self._way.send(job, prepared)
        await self._record(item, outcome, prepared)

    async def _record_ended(self, item: Item, job: str, outcome: Outcome) -> None:
        """Write down how an attempt of an earlier sender ended; it is not repeated."""
        if not (outcome.is_sent or outcome.refused):
            await self._not_sent(item, outcome, ())
            return
        while True:
            try:
                prepared = await self._prepared(item, job)
            except UnsendableError as error:
                await self._cannot_file(item, error)
                return
            except (MdirError, OSError) as error:
                self._log("outbox-waits", reason=error)
                await asyncio.sleep(_LOOK)
            else:
                await self._record(item, outcome, prepared)
                return

    async def _record(self, item: Item, outcome: Outcome, prepared: Prepared) -> None:
        """Write down how an attempt ended."""
        refused = {one.recipient for one in outcome.refused}
        taken = [one for one in prepared.recipients if one not in refused and outcome.is_sent]
        told: tuple[Header, ...] = ()
        if outcome.relayed:  # of whom nobody else will tell
            sent, now = Outcome("2.0.0"), datetime.now(UTC)
            told = await asyncio.to_thread(
                self._report, item, sent, outcome.relayed, now, action=RELAYED
            )
        if outcome.refused:
            await self._record_each(item, outcome, prepared, told, taken)
        elif outcome.is_sent:
            await self._file_sent(item, prepared, told, taken)
        else:
            await self._not_sent(item, outcome, prepared.recipients)
        if taken:  # last: what happened to the mail does not wait for it
            await self._note_correspondents(item, taken)

    async def _record_each(
        self,
        item: Item,
        outcome: Outcome,
        prepared: Prepared,
        told: tuple[Header, ...],
        taken: Sequence[str],
    ) -> None:
        """Some recipients were not taken: those are tried again, or its user is told of them."""
        now = datetime.now(UTC)
        is_late = now >= items.later(item.queued(now), self._retries.give_up)
        refused = [_given_up(one) if is_late else one for one in outcome.refused]
        failed = tuple(one for one in refused if one.is_permanent)
        waiting = {one.recipient for one in refused} - {one.recipient for one in failed}
        has_any = outcome.is_sent or bool(item.taken)
        if not has_any and not waiting:
            whole = Outcome(failed[0].status, failed[0].reason, failed)
            await self._fail(item, whole, tuple(one.recipient for one in failed))
            return
        if failed:
            addresses = tuple(one.recipient for one in failed)
            whole = Outcome(failed[0].status, failed[0].reason, failed)
            told += await asyncio.to_thread(
                self._failure, item, whole, addresses, now, what_now=_OTHERS
            )
            self._tell(item, "failed", addresses, whole)
        if not waiting:
            await self._file_sent(item, prepared, told, taken)
            return
        never = item.refused.union(one.recipient for one in failed)
        first = next(one for one in refused if not one.is_permanent)
        state = self._later(item, first.reason, now)
        state["settled"] = items.write_settled(item.taken.union(taken), never)
        await self._write_state(item, state, told)
        still = tuple(sorted(waiting))
        self._tell(item, "deferred", still, Outcome(first.status, first.reason))

    def _later(self, item: Item, reason: str, now: datetime) -> dict[str, str | None]:
        """The state of a mail that is tried again later."""
        following = items.later(now, self._retries.after(item.attempts))
        return {
            "status": items.DEFERRED,
            "next-attempt": items.write_time(following),
            "reason": items.shown_reason(reason),
            "sending": None,
        }

    async def _claim(self, item: Item, job: str, now: datetime) -> Item:
        """Say durably that it is being sent; who had the same idea is refused."""
        assert item.head
        state = {
            "status": items.SENDING,
            "queued": items.write_time(item.queued(now)),
            "attempts": str(item.attempts + 1),
            "next-attempt": None,
            "sending": f"{self._lease.place} {job}",
        }
        header = items.with_state(item.header, state)
        folder = self._folder(item)
        version = await self._mdird.set(folder, header, base=item.head.version)
        return attrs.evolve(item, entries=(Live(header, version), *item.entries[1:]))

    async def _prepared(self, item: Item, job: str) -> Prepared:
        path = self._way.path(job)
        await asyncio.to_thread(_fs.remove, path)
        book, now = self._following.book, datetime.now(UTC)
        found = await asyncio.to_thread(self._preparer.prepare, item, path, book=book, now=now)
        left = tuple(one for one in found.recipients if one not in item.settled)
        return attrs.evolve(found, recipients=left)

    async def _not_sent(self, item: Item, outcome: Outcome, recipients: tuple[str, ...]) -> None:
        if outcome.is_permanent:
            await self._fail(item, outcome, recipients)
        else:
            await self._defer(item, outcome, recipients)

    async def _file_sent(
        self,
        item: Item,
        prepared: Prepared,
        told: tuple[Header, ...] = (),
        taken: Sequence[str] = (),
    ) -> None:
        """It leaves the outbox, and the rules of its user file it, with what they are told."""
        try:
            await self._surely(lambda: self._move_sent(item, prepared, told))
        except _NEVER as error:
            await self._cannot_file(item, error)
        self._tell(item, "sent", tuple(sorted(item.taken.union(taken))))

    async def _note_correspondents(self, item: Item, taken: Sequence[str]) -> None:
        """The answers of those who have it are welcome."""
        try:
            await asyncio.to_thread(self._wrote, item.address, taken)
        except StoreError as error:
            self._log("state-failed", error=error)

    async def _cannot_file(self, item: Item, error: Exception) -> None:
        """It stays where it is, but is never sent again."""
        reason = items.shown_reason(f"sent, but it cannot be filed: {error}")
        await self._write_state(item, {"status": items.SENT, "reason": reason})

    async def _move_sent(self, item: Item, prepared: Prepared, told: tuple[Header, ...]) -> None:
        async with self._mdird.batch() as batch:
            for live in item.entries:
                await batch.remove(self._folder(item), Header([("url", live.header["url"])]))
            for header in (*prepared.filed, *told):
                await batch.classify(self._account(item), header)

    async def _defer(self, item: Item, outcome: Outcome, recipients: tuple[str, ...]) -> None:
        """It is tried again later, unless that was tried for too long."""
        now = datetime.now(UTC)
        if now >= items.later(item.queued(now), self._retries.give_up):
            late = Outcome("5.4.7", f"not sent in time; the last reason: {outcome.reason}")
            await self._fail(item, late, recipients)
            return
        await self._write_state(item, self._later(item, outcome.reason, now))
        self._tell(item, "deferred", recipients, outcome)

    async def _fail(self, item: Item, outcome: Outcome, recipients: tuple[str, ...]) -> None:
        """It stays in the outbox, and its user is told."""
        now = datetime.now(UTC)
        reason = items.shown_reason(outcome.reason)
        headers = await asyncio.to_thread(self._failure, item, outcome, recipients, now)
        state = {"status": items.FAILED, "next-attempt": None, "reason": reason, "sending": None}
        try:
            await self._surely(lambda: self._set(item, state, headers))
        except _NEVER as error:
            self._log("report-failed", anchor=item.anchor, reason=error)
            await self._write_state(item, state)
        self._tell(item, "failed", recipients, outcome)

    def _failure(
        self,
        item: Item,
        outcome: Outcome,
        recipients: tuple[str, ...],
        now: datetime,
        *,
        what_now: str = _KEPT,
    ) -> tuple[Header, ...]:
        """What the user is told of recipients that do not get it, if they want to know."""
        wishes = read_recipients(item.header)
        told = tuple(one for one in recipients if is_wanted(wishes.get(one, ()), FAILURE))
        if recipients and not told:
            return ()
        return self._report(item, outcome, told, now, what_now=what_now)

    def _report(
        self,
        item: Item,
        outcome: Outcome,
        recipients: tuple[str, ...],
        now: datetime,
        *,
        what_now: str = "",
        action: str = FAILED,
    ) -> tuple[Header, ...]:
        notice = Notice(
            address=item.address,
            subject=items.shown_reason(item.header.get("subject") or ""),
            recipients=recipients,
            status=outcome.status,
            reason=items.shown_reason(outcome.reason),
            queued=item.queued(now),
            attempts=item.attempts,
            key=f"{item.anchor} {item.attempts} {action}",
            what_now=what_now,
            each=outcome.refused,
            action=action,
            wishes=read_mail(item.header),
            recipient_wishes=read_recipients(item.header),
        )
        original = self._way.beginning(item.job[1], MAX_RETURNED + 1)
        stored = self._mdird.store.add(compose_report(notice, original, host=self._host, now=now))
        return stored.headers(type="delivery-status", envelope_from="<>", envelope_to=item.address)

    async def _write_state(
        self, item: Item, state: dict[str, str | None], told: tuple[Header, ...] = ()
    ) -> None:
        try:
            await self._surely(lambda: self._set(item, state, told))
        except _NEVER as error:  # its folder is gone
            self._log("outbox-failed", anchor=item.anchor, reason=error)

    async def _set(
        self, item: Item, state: dict[str, str | None], headers: tuple[Header, ...] = ()
    ) -> None:
        """Write the state of a mail down, whatever else its user changed meanwhile."""
        current = self._current(item)
        assert item.head
        head = current.head if current else None
        if head and head.version < item.head.version:
            head = item.head  # our own change has not come back yet
        async with self._mdird.batch() as batch:
            if head is not None:  # else its user removed it
                changed = items.with_state(head.header, state)
                await batch.set(self._folder(item), changed, base=head.version)
            for header in headers:
                await batch.classify(self._account(item), header)

    async def _surely(self, write: Callable[[], Coroutine[object, object, None]]) -> None:
        """Write something down that has happened: again and again, until it is.

        Raises:
            PermanentReplyError, FormatError, LocalProtocolError: it never will be.
        """
        said, conflicts = "", 0
        while True:
            try:
                await write()
            except ConflictReplyError:
                # What its user changed is on its way to us.
                conflicts += 1
                if conflicts > _MAX_CONFLICTS:
                    raise
                await asyncio.sleep(_LOOK / 5)
            except _NEVER:
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


def _given_up(one: Refused) -> Refused:
    """A recipient that was tried for too long."""
    if one.is_permanent:
        return one
    return attrs.evolve(one, status="5.4.7", reason=f"not in time; the last reason: {one.reason}")


def _job(item: Item) -> str:
    """A name for an attempt that no other has."""
    text = f"{item.address} {item.anchor} {item.attempts + 1} {os.urandom(8).hex()}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]
