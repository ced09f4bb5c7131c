"""The SMTP server in one loop: listeners, connections, and what they share."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import hashlib
import os
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs

from mdirclient.errors import MdirError
from mdirclient.header import Header
from mdirclient.mail.stored import StoredMessage
from mdirclient.service.listen import stop_listening
from mdirclient.service.throttle import network
from mdirclient.smtp.antispam.blocking import Blocking
from mdirclient.smtp.antispam.blocks import Blocks
from mdirclient.smtp.antispam.delayed import Delayed
from mdirclient.smtp.antispam.greylisting import Delay, Greylisting
from mdirclient.smtp.antispam.greys import Greys, Key
from mdirclient.smtp.deliver import Host
from mdirclient.smtp.engine import Profile, Reply, Transaction
from mdirclient.smtp.serve import answers
from mdirclient.smtp.serve.commit import Committer, Mail, Recipient
from mdirclient.smtp.serve.intake import Intake
from mdirclient.smtp.serve.limits import Limits
from mdirclient.smtp.serve.note import Note
from mdirclient.smtp.serve.policy import Policy
from mdirclient.smtp.serve.receipts import send_receipt, wanted
from mdirclient.smtp.serve.session import Session
from mdirclient.smtp.state import ACCEPTED, Record, State
from mdirclient.smtp.statistics import totals
from mdirclient.smtp.statistics.totals import Total
from mdirclient.smtp.trace import received
from mdirclient.smtp.wishes import write_recipient

if TYPE_CHECKING:
    import ssl

    from mdirclient.interfaces import AsyncMdird, Mstore
    from mdirclient.service.log import Log
    from mdirclient.smtp.accounts import Places
    from mdirclient.smtp.antispam.spf import SPF
    from mdirclient.smtp.following import Following

#: Bytes that are read at once; shared by all connections.
_BUFFER: Final = 32 << 10
_BACKLOG: Final = 1024
#: Seconds between two looks at who is late.
_SWEEP: Final = 1.0
_DAY: Final = 86_400.0
#: Seconds in which records are collected: those of a quiet time are there soon, those of a busy one
#: cost less together.
_RECORDING: Final = 0.02
_RECORDING_TOGETHER: Final = 0.5
#: Seconds after which records that could not be kept are tried again, if no other comes before.
_RECORDING_AGAIN: Final = 5.0
_MAX_RECORDS: Final = 10_000
#: Rows after which the oldest are forgotten at once, and not within the hour.
_MAX_NEW: Final = 50_000


@attrs.frozen
class Listener:
    """Where clients come in.

    Attributes:
        kind: `smtp`, `submission`, `submissions` or `lmtp`.
        profile: what is offered.
        is_secured: whether TLS begins with the connection.
        context: gives the TLS context, or None.
    """

    kind: str
    profile: Profile
    is_secured: bool
    context: Callable[[], ssl.SSLContext | None]


class Server:
    """See the module. Used in one loop.

    Args:
        mdird: where the headers go.
        following: the list of accounts; the caller runs it.
        state: where what happened is kept.
        places: the folders agreed on.
        host: this host; its date is not used.
        limits: of clients.
        log: of events.
        has_relay: whether what users send to other hosts is put into the outbox.
        spf: asks for whom a sender's domain vouches; None: nobody is asked.
        now: seconds since 1970, for what keeps unwanted mail out.
    """

    def __init__(
        self,
        mdird: AsyncMdird,
        following: Following,
        state: State,
        *,
        places: Places,
        host: Host,
        limits: Limits,
        log: Log,
        has_relay: bool = False,
        spf: SPF | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.limits = limits
        self.log = log
        self.store: Mstore = mdird.store
        self.buffer = memoryview(bytearray(_BUFFER))
        self.blocking = Blocking(Blocks(state.path), limits, log, now=now)
        self.greylisting = Greylisting(Greys(state.path), limits, spf, log, now=now)
        self.policy = Policy(
            following,
            limits,
            self._over,
            log,
            blocking=self.blocking,
            greylisting=self.greylisting,
            has_relay=has_relay,
        )
        self.committer = Committer(
            mdird,
            mdird.store,
            check=self._check,
            authserv_ids=host.authserv_ids,
            log=log,
        )
        self.sessions: set[Session] = set()
        self.is_stopping = False
        self._mdird = mdird
        self._now = now
        self._state = state
        self._places = places
        self._host = host
        self._per_address: Counter[str] = Counter()
        self._records: list[Record] = []
        self._events: list[Total] = []
        self._is_recording = False
        self._recorded = 0.0  # when, by the loop's clock
        self._kept = 0
        self._recording: asyncio.Task[None] | None = None
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()

    async def start_listening(self, listeners: Iterable[tuple[Listener, socket.socket]]) -> None:
        """Serve on sockets that listen."""
        for listener, one in listeners:
            make = partial(Session, self, listener)
            self._servers.append(await self.loop.create_server(make, sock=one, backlog=_BACKLOG))
        if self.limits.grey_for:
            self.start(self._show_delayed())
        self.start(self._sweep())
        self.start(self._forget_old())

    async def stop(self) -> None:
        """Let the mails on their way end, then close. Takes `Limits.drain` seconds at most."""
        self.is_stopping = True
        await stop_listening(self._servers)
        for session in list(self.sessions):
            session.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.limits.drain):
                while self.sessions or self.committer.count:
                    self._empty.clear()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._empty.wait(), 0.1)
        for session in list(self.sessions):
            session.cut()
        await self.committer.close()
        await self.blocking.close()
        await self.greylisting.close()
        if self._recording:
            await asyncio.wait([self._recording])
        for task in list(self._tasks):
            task.cancel()
        records, self._records = self._records, []
        events, self._events = self._events, []
        try:
            await asyncio.to_thread(self._state.add, records, events)
        except MdirError as error:
            self.log("state-failed", error=error)

    # -- what sessions need

    def admit(self, session: Session) -> Reply | None:
        """Take a new connection in; or why not."""
        if self.is_stopping:
            return answers.STOPPING
        source = network(session.address)
        is_many = self._per_address[source] >= self.limits.per_address
        # Who is refused does not count: so one address cannot take the place of all others.
        if len(self.sessions) >= self.limits.connections or (
            is_many and not self.limits.is_allowed(session.address)
        ):
            return answers.TOO_MANY
        self.sessions.add(session)
        self._per_address[source] += 1
        return None

    def forget(self, session: Session) -> None:
        """A connection is over."""
        if session in self.sessions:
            self.sessions.discard(session)
            source = network(session.address)
            self._per_address[source] -= 1
            if not self._per_address[source]:
                del self._per_address[source]
            self.blocking.end(source)
        self._empty.set()

    def start(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run something beside the sessions."""
        task = self.loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def intake(self, note: Note) -> Intake:
        """What takes the bytes of a mail.

        One that is relayed gets `Received` as its first line (RFC 5321 §4.4), with an id of its
        own: the same mail to other recipients is another mail of the outbox.
        """
        intake = Intake(self.store)
        if note.foreign:
            line = self._received(
                note, None, email.utils.formatdate(), identity=os.urandom(8).hex()
            )
            intake.write(f"Received: {line}\r\n".encode("ascii", "replace"))
        return intake

    def mail(
        self, intake: Intake, note: Note, transaction: Transaction, done: Callable[[Mail], None]
    ) -> Mail:
        """A mail that has ended, as it is committed."""
        each_alone = note.listener.profile.is_lmtp
        now = email.utils.formatdate()
        folders: set[str] = set()
        recipients = []
        for path, account in note.recipients:
            folder = f"{self._places.accounts}/{account.name}"
            # To somebody who has two of these addresses it comes once.
            if folder in folders and not each_alone:
                continue
            folders.add(folder)
            line = self._received(note, str(path), now)
            recipients.append(Recipient(folder, {"envelope_to": str(path), "received": line}))
        if note.foreign:
            folder = f"{self._places.outbox}/{note.foreign[0][1].name}"
            foreign = tuple(str(path) for path, _ in note.foreign)
            trace: dict[str, str | Sequence[str]] = {"envelope_to": foreign}
            if transaction.options:
                trace["envelope_options"] = " ".join(transaction.options)
            trace["recipient_options"] = [
                write_recipient(path, note.wishes[path]) for path in foreign if path in note.wishes
            ]
            recipients.append(Recipient(folder, trace))
        trace_of_all = {
            "envelope_from": str(transaction.reverse_path),
            "client_address": note.address or None,
            "client_name": note.client_name,
            "helo": note.helo or None,
        }
        return Mail(intake, recipients, trace_of_all, each_alone, note, done, transaction.options)

    def record(self, record: Record) -> None:
        """Say what happened to a mail, and keep it in a moment: nobody waits for that."""
        self._records.append(record)
        self._tell(record)
        self._keep_soon()

    def count(self, kind: str, name: str) -> None:
        """Count something that is no mail."""
        self._events.append(totals.event(self._now(), kind, name))
        self._keep_soon()

    def _keep_soon(self) -> None:
        if not self._is_recording:
            self._is_recording = True
            self._recording = self.start(self._keep_records())

    def report(self, mail: Mail) -> None:
        """Say and keep what happened to a mail that ended."""
        record = self._describe(mail)
        self.record(record)
        if record.verdict == ACCEPTED:
            self.blocking.welcome(mail.note)
            if wanted(mail):
                self.start(self._send_receipt(mail))
            source = network(mail.note.address)
            if source not in self._per_address:  # it did not wait for the answer
                self.blocking.end(source)
        for outcome in {id(one): one for one in mail.outcomes if one}.values():
            self.log("not-taken", reason=outcome)

    # -- records

    def _check(self, mail: Mail) -> Exception | None:
        """Why a mail is not taken for what it says; strangers may say what they like."""
        user = mail.note.engine.user
        if user is None or not isinstance(mail.stored, StoredMessage):
            return None
        reply = self.policy.content(user, mail.stored.mail.fields)
        return answers.RefusedError(reply) if reply else None

    def _describe(self, mail: Mail) -> Record:
        replies, now = answers.of_outcomes(mail.all_outcomes()), time.time()
        worst = max(replies, key=lambda reply: reply.code)
        best = min(replies, key=lambda reply: reply.code)
        anchor = "" if isinstance(mail.stored, Exception) or not mail.stored else mail.stored.anchor
        if mail.note.is_overdue:  # the client was told to try again
            return mail.note.record(answers.TRY_AGAIN, now, anchor=str(anchor))
        verdict = ACCEPTED if best.is_positive else ""
        if verdict and mail.each_alone:
            mail.note.settle(replies)
        last = best if verdict else worst
        return mail.note.record(last, now, anchor=str(anchor), verdict=verdict)

    def _tell(self, record: Record) -> None:
        """One line for each mail."""
        self.log(
            "mail",
            verdict=record.verdict,
            reply=record.reply or None,
            client=record.client or None,
            helo=record.helo or None,
            protocol=record.protocol,
            user=record.user or None,
            sender=record.reverse_path,
            recipients=",".join(record.recipients) or None,
            refused=",".join(record.refused) or None,
            size=record.size,
            anchor=record.anchor or None,
        )

    async def _keep_records(self) -> None:
        """Keep records, those of some moments together."""
        try:
            while self._records or self._events:
                busy_until = self._recorded + _RECORDING_TOGETHER
                await asyncio.sleep(max(_RECORDING, busy_until - self.loop.time()))
                records, self._records = self._records, []
                events, self._events = self._events, []
                await asyncio.to_thread(self._state.add, records, events)
                self._recorded = self.loop.time()
                self._kept += len(records)
        except MdirError as error:
            # They are tried again; without end it would be a leak.
            self._records = [*records, *self._records][-_MAX_RECORDS:]
            self._events = [*events, *self._events][-_MAX_RECORDS:]
            self.log("state-failed", error=error)
            self.loop.call_later(_RECORDING_AGAIN, self._keep_soon)
        finally:
            self._is_recording = False
        if self._kept > _MAX_NEW:  # strangers make a row for each MAIL
            self._kept = 0
            self.start(self._forget_most())

    async def _forget_most(self) -> None:
        try:
            await asyncio.to_thread(self._state.forget, 0.0)
        except MdirError as error:
            self.log("state-failed", error=error)

    def _received(self, note: Note, recipient: str | None, date: str, *, identity: str = "") -> str:
        helo = note.helo or "unknown"
        literal = f"IPv6:{note.address}" if ":" in note.address else note.address
        named = f"{note.client_name} [{literal}]" if note.client_name else f"[{literal}]"
        return received(
            client=f"{helo} ({named})" if note.address else helo,
            host=self._host.name,
            protocol=f"{note.protocol} id {identity}" if identity else note.protocol,
            recipient=recipient,
            date=date,
        )

    # -- from time to time

    async def _show_delayed(self) -> None:
        """Show users whom greylisting told to come again."""
        delayed = Delayed(
            self._mdird,
            self.greylisting.greys,
            folder=self._places.delayed,
            log=self.log,
            now=self._now,
        )

        def on_delay(delay: Delay) -> None:
            self.count(totals.GREYLISTING, totals.DELAYED)
            delayed.delay(delay)

        def on_return(_key: Key) -> None:
            self.count(totals.GREYLISTING, totals.RETURNED)

        self.greylisting.on_delay, self.greylisting.on_return = on_delay, on_return
        self.greylisting.on_let_in = delayed.come
        try:
            await delayed.run()
        except Exception as error:  # noqa: BLE001 - mail comes without it
            self.log("defect", what="delayed senders", error=repr(error))

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP)
            now = self.loop.time()
            for session in [one for one in self.sessions if one.is_late(now)]:
                try:
                    session.cut()
                except Exception as error:  # noqa: BLE001 - the others are late too
                    self.log("defect", what="cutting a connection", error=repr(error))

    async def _forget_old(self) -> None:
        while True:
            before = time.time() - self.limits.keep * _DAY
            try:
                await asyncio.to_thread(self._state.forget, before)
                await asyncio.to_thread(self.blocking.forget)
                await asyncio.to_thread(self.greylisting.forget)
            except MdirError as error:
                self.log("state-failed", error=error)
            await asyncio.sleep(_DAY / 24)

    def _over(self, user: str) -> None:
        self.log("over-quota", user=user, limit=self.limits.per_hour)
        self.start(self._report_quota(user))

    async def _send_receipt(self, mail: Mail) -> None:
        user, sender = mail.note.engine.user, mail.note.reverse_path
        account = self.policy.following.book.sending(user or "", sender)
        if account is None:
            return
        folder = f"{self._places.accounts}/{account.name}"
        try:
            await send_receipt(self._mdird, mail, folder, sender, self._host.name)
        except (MdirError, OSError) as error:
            self.log("report-failed", error=error)

    async def _report_quota(self, user: str) -> None:
        """Tell whoever looks after the server: an entry in the account of the postmaster."""
        account = self.policy.following.book.postmaster
        if not account:
            return
        date = email.utils.formatdate()
        what = hashlib.sha256(f"{user} {date}".encode()).hexdigest()[:32]
        reason = f"{user} sent to more than {self.limits.per_hour} recipients in an hour"
        fields = [("type", "report"), ("user", user), ("reason", reason), ("date", date)]
        header = Header([("url", f"mdir:{what}@report.invalid/1"), *fields])
        try:
            await self._mdird.put(f"{self._places.accounts}/{account.name}", header)
        except (MdirError, OSError) as error:
            self.log("report-failed", error=error)
