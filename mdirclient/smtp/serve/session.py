"""One connection: an asyncio protocol around the engine.

Reads into one buffer that all connections of a loop share, so an idle one costs almost nothing.
"""

from __future__ import annotations

import asyncio
import asyncio.sslproto
import os
import time
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from mdirclient.smtp.engine import (
    Authenticate,
    Begin,
    Chunk,
    Connection,
    Dropped,
    End,
    Event,
    MailFrom,
    Path,
    Quit,
    RcptTo,
    Reply,
    StartTLS,
    Transaction,
)
from mdirclient.smtp.engine import reply as replies
from mdirclient.smtp.serve import answers
from mdirclient.smtp.serve.certificates import fingerprint_of
from mdirclient.smtp.serve.commit import Mail
from mdirclient.smtp.serve.intake import Intake, Taken
from mdirclient.smtp.serve.note import Note

if TYPE_CHECKING:
    from mdirclient.smtp.serve.server import Listener, Server

#: Bytes that may wait to be looked at while an answer is made.
_MAX_BUFFERED: Final = 8 << 10
_WRITE_LIMIT: Final = 16 << 10
#: Seconds that a client has to read the last reply.
_LINGER: Final = 2.0
#: Seconds that TLS may take.
HANDSHAKE: Final = 30.0


# Deviation: asyncio takes 256 KiB for each TLS connection, before anybody has said who they are.
asyncio.sslproto.SSLProtocol.max_size = 32 << 10


class Session(asyncio.BufferedProtocol):
    """See the module."""

    __slots__ = (
        "_asking", "_begun", "_early", "_handshake", "_has_ended", "_intake", "_is_blocked",
        "_is_leaving", "_is_paused", "_late", "_listener", "_mail", "_note", "_server", "_taking",
        "_transport", "address", "deadline", "engine",
    )  # fmt: skip

    def __init__(self, server: Server, listener: Listener) -> None:
        self._server = server
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._intake: Intake | None = None
        self._mail: Mail | None = None  # that ended, and has no answer yet
        self._note: Note | None = None  # of the mail on its way
        self._taking: asyncio.Future[Taken] | None = None  # a thread has the engine
        self._asking: asyncio.Task[None] | None = None  # for a password, or a domain
        self._early: asyncio.TimerHandle | None = None
        self._late: asyncio.TimerHandle | None = None
        self._handshake: asyncio.Task[None] | None = None
        self._has_ended = False  # the client says no more
        self._is_leaving = False
        self._is_paused = False
        self._is_blocked = False  # the client does not read
        self._begun = 0.0  # when the bytes of a mail began to come
        self.address = ""
        self.engine = Connection(listener.profile, is_secured=listener.is_secured)
        #: Of the loop's clock: until then the client must have done something.
        self.deadline = 0.0

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client is there."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) else ""
        transport.set_write_buffer_limits(_WRITE_LIMIT)
        is_lmtp = self._listener.profile.is_lmtp
        self.engine.is_trusted = is_lmtp and self._server.limits.is_trusted(self.address)
        self._wait()
        refusal = self._server.admit(self)
        if refusal:
            self._is_leaving = True
            self._server.log("closed", client=self.address, reply=refusal)
            transport.write(refusal.to_bytes())
            transport.close()
        elif self._listener.is_secured:
            # Not before it is admitted: TLS costs more than a connection.
            self._begin_tls()
        else:
            self._welcome()

    def _is_early_checked(self) -> bool:
        limits = self._server.limits
        return limits.early > 0 and not limits.is_allowed(self.address)

    def _refuse_early(self) -> None:
        """It spoke before it was greeted."""
        if self._early:
            self._early.cancel()
            self._early = None
        self._leave(self.engine.close(answers.TOO_EARLY))

    def _welcome(self) -> None:
        if self._is_early_checked():
            self._early = self._server.loop.call_later(self._server.limits.early, self._greet)
        else:
            self._greet()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """The client is gone. A mail that had ended is stored all the same."""
        for waiting in (self._early, self._late, self._asking):
            if waiting:
                waiting.cancel()
        self._transport = None
        if not self._taking:
            self._lose()
        self._server.forget(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """See `asyncio.BufferedProtocol`."""
        return self._server.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came."""
        try:
            self._receive(nbytes)
        except Exception as error:  # noqa: BLE001 - one client's bytes must not stay unanswered
            self._fail_client(error)

    def _fail_client(self, error: Exception) -> None:
        self._server.log("defect", what="a client's bytes", error=repr(error))
        self._leave(self.engine.close(answers.DEFECT))

    def _receive(self, nbytes: int) -> None:
        if self._early:
            self._refuse_early()
            return
        self.engine.receive(bytes(self._server.buffer[:nbytes]))
        if self._handshake:
            return  # said with the end of the handshake: it is heard when that has ended
        if self.engine.is_in_data:
            self._wait()
        self._go_on()

    def eof_received(self) -> bool:
        """The client says no more. It may still wait for the answer to its mail."""
        self._has_ended = True
        if self._is_leaving and self._transport:
            self._transport.close()
        return self._mail is not None and not self.engine.is_secured

    def pause_writing(self) -> None:
        """The client does not read its replies: nothing more is done for it."""
        self._is_blocked = True

    def resume_writing(self) -> None:
        """It does again."""
        self._is_blocked = False
        self._go_on()

    # -- what the server says

    def stop(self) -> None:
        """The server is stopping: a mail on its way may end, nothing else."""
        is_busy = self._mail or self._taking or self._handshake or self.engine.is_in_data
        if not is_busy and self._is_open():
            self._leave(self.engine.close(answers.STOPPING))

    def cut(self) -> None:
        """It took too long."""
        if not self._transport:
            self._server.forget(self)
        elif self._is_leaving or self._handshake or self._taking:
            self._transport.abort()
        else:
            self._leave(self.engine.close(answers.TOO_SLOW))

    def is_late(self, now: float) -> bool:
        """Whether the client should have done something by now."""
        if self._is_leaving:
            return now > self.deadline
        if self._mail or self._taking:
            return False  # it waits for us
        limits = self._server.limits
        is_slow = now > self._begun + limits.idle + self.engine.received / limits.rate
        return now > self.deadline or (self.engine.is_in_data and is_slow)

    # -- events

    def _greet(self) -> None:
        self._early = None
        self.engine.greet()
        self._flush()

    def _go_on(self) -> None:
        """Do what came, as far as it goes now."""
        if self._is_blocked or self._taking or self._handshake or not self._is_open():
            return
        lines = self.engine.lines
        while not self._is_full() and (event := self.engine.next_event()):
            self._wait()
            self._handle(event)
        if lines != self.engine.lines:  # whole ones
            self._wait()
        self._flush()
        if self._is_open():
            self._pause(self._is_full() or self._has_enough())
            if self._is_full():
                self._hand_over()
            if self._server.is_stopping:
                self.stop()

    def _is_full(self) -> bool:
        return self._intake is not None and self._intake.is_full

    def _has_enough(self) -> bool:
        return self._is_blocked or self.engine.buffered > _MAX_BUFFERED

    def _handle(self, event: Event) -> None:
        match event:
            case Chunk(data):
                assert self._intake
                self._intake.write(data)
            case RcptTo(path, options):
                self._take_recipient(path, options)
            case MailFrom(transaction):
                self._begin(transaction)
            case Begin():
                assert self._note
                self._intake = self._server.intake(self._note)
                self._begun = self._server.loop.time()
                self._answer(replies.START_MAIL)
            case End(transaction, size):
                self._end(transaction, size)
            case Dropped(reply):
                self._drop(reply)
            case StartTLS():
                self._flush()
                self._begin_tls()
            case Authenticate(credentials):
                policy = self._server.policy
                found = policy.authenticate(self.engine, credentials, self.address)
                self._answer_later(found)
            case Quit():
                self._leave(event)

    def _answer(self, *given: Reply) -> None:
        if over := self.engine.answer(*given):
            self._leave(over)

    def _answer_later(self, asking: Coroutine[object, object, Reply]) -> None:
        """Answer with what takes some time to know."""

        async def ask() -> None:
            try:
                reply = await asking
                if self._is_open():
                    self._answer(reply)
                    self._wait()
                    self._go_on()
            except Exception as error:  # noqa: BLE001 - it must not stay unanswered
                self._fail_client(error)

        self._asking = self._server.start(ask())

    def _begin(self, transaction: Transaction) -> None:
        self._give_up()
        reply = self._server.policy.sender(self.engine.user, transaction)
        if reply.is_positive:
            path = str(transaction.reverse_path)
            self._note = Note(self._listener, self.engine, self.address, path, time.time())
            self._note.is_utf8 = transaction.is_utf8
        self._answer(reply)

    def _take_recipient(self, path: Path, options: Sequence[str]) -> None:
        assert self._note
        if options:
            self._note.wishes[str(path)] = tuple(options)
        policy, given = self._server.policy, (self.engine.user, path, self._note)
        if reply := policy.recipient(*given):
            self._answer(reply)
        else:
            self._answer_later(policy.recipient_later(*given))

    # -- a mail

    def _end(
        self,
        transaction: Transaction,
        size: int,
        *,
        is_prepared: bool = False,
        error: Exception | None = None,
    ) -> None:
        """The mail is whole; `error`: but cannot be stored."""
        assert self._intake
        assert self._note
        self._note.size = size
        intake, self._intake = self._intake, None
        self._mail = mail = self._server.mail(intake, self._note, transaction, self._done)
        self._note = None
        self._late = self._server.loop.call_later(self._server.limits.commit, self._is_overdue)
        mail.stored = error
        self._server.committer.submit(mail, is_prepared=is_prepared)

    def _done(self, mail: Mail) -> None:
        """The outcome is known. It may come too late: then it was answered already."""
        if mail is self._mail:
            self._say(*answers.of_outcomes(mail.all_outcomes()))
        self._server.report(mail)

    def _is_overdue(self) -> None:
        assert self._mail
        self._server.log("overdue", client=self.address)
        self._mail.note.is_overdue = True
        count = len(self._mail.recipients) if self._mail.each_alone else 1
        self._say(*[answers.TRY_AGAIN] * count)

    def _say(self, *given: Reply) -> None:
        """Answer the mail that ended."""
        if self._late:
            self._late.cancel()
        self._mail = self._late = None
        if not self._is_open():
            return
        self._answer(*given)
        self._wait()
        if self._has_ended and self._is_open():
            self._leave(self.engine.close(replies.BYE))
        self._go_on()

    def _drop(self, reply: Reply) -> None:
        """What comes of the mail is not wanted."""
        self._drop_intake()
        if self._note:
            self._server.record(self._note.record(reply, time.time()))
            self._note = None

    def _lose(self) -> None:
        """The connection is over: so is the mail on its way."""
        self._drop_intake()
        self._give_up()

    def _drop_intake(self) -> None:
        intake, self._intake = self._intake, None
        if intake and self._note:
            self._note.size = intake.size
        if intake and intake.is_large:
            self._server.committer.drop(intake)

    def _hand_over(self) -> None:
        """A thread takes over, until nothing more comes or the mail has ended."""
        assert self._intake
        assert self._transport
        connected = self._transport.get_extra_info("socket")
        try:
            # A descriptor of its own: nobody else gets the number while the thread reads.
            descriptor = None if self.engine.is_secured else os.dup(connected.fileno())
        except OSError as error:
            self._fail(error)
            self._go_on()
            return
        take = partial(self._intake.take, self.engine, descriptor)
        self._taking = self._server.committer.in_thread(take)
        self._taking.add_done_callback(self._taken)

    def _taken(self, taking: asyncio.Future[Taken]) -> None:
        self._taking = None
        event, error = taking.result()
        if not self._is_open():
            self._lose()
            return
        self._wait()
        if isinstance(event, End):
            self._end(event.transaction, event.size, is_prepared=True, error=error)
        elif error:
            self._fail(error)
        elif event:
            self._handle(event)
        self._go_on()

    def _fail(self, error: Exception) -> None:
        """The mail that is coming cannot be stored."""
        self._server.log("not-taken", reason=error)
        self.engine.drop(answers.TRY_AGAIN)
        self._drop(answers.TRY_AGAIN)

    def _give_up(self) -> None:
        """The mail on its way, if there is one, will not end."""
        if self._note:
            self._server.record(self._note.record(None, time.time()))
            self._note = None

    # -- users and TLS

    def _begin_tls(self) -> None:
        # Nothing is read from now on but through TLS.
        self._pause(True)
        self._handshake = self._server.start(self._secure())

    async def _secure(self) -> None:
        context = self._listener.context()
        assert self._transport
        assert context
        try:
            transport = await self._server.loop.start_tls(
                self._transport, self, context, server_side=True, ssl_handshake_timeout=HANDSHAKE
            )
        except (OSError, EOFError) as error:
            self._server.log("tls-failed", client=self.address, reason=error)
            if not self._is_gone():
                self._transport.abort()
            # asyncio does not say so while it shakes hands.
            self.connection_lost(None)
            return
        finally:
            self._handshake = None
        if transport is None or self._is_gone():
            self.connection_lost(None)
            return
        self._transport = transport
        transport.set_write_buffer_limits(_WRITE_LIMIT)
        # Deviation: what asyncio reads ahead of us through TLS is 256 KiB otherwise.
        if limit := getattr(transport, "set_read_buffer_limits", None):
            limit(high=_WRITE_LIMIT)
        self._is_paused = False
        self._wait()
        self._give_up()
        self.engine.secured(fingerprint_of(transport))
        if self._listener.is_secured and self.engine.buffered and self._is_early_checked():
            self._refuse_early()
            return
        if self._listener.is_secured:
            self._welcome()
        # A client may have said something with the end of its handshake.
        if not self._early:
            self._go_on()

    # -- the connection

    def _is_gone(self) -> bool:
        return self._transport is None

    def _is_open(self) -> bool:
        return self._transport is not None and not self._is_leaving

    def _wait(self) -> None:
        self.deadline = self._server.loop.time() + self._server.limits.idle

    def _flush(self) -> None:
        output = self.engine.take_output()
        if output and self._transport:
            self._transport.write(output)

    def _leave(self, quit: Quit) -> None:  # noqa: A002 - the event
        self._flush()
        if quit.reply is not replies.BYE:
            self._server.log("closed", client=self.address, reply=quit.reply)
        self._is_leaving = True
        self.deadline = self._server.loop.time() + _LINGER
        if not self._transport:
            return
        if quit.reply is replies.BYE or self._has_ended or not self._transport.can_write_eof():
            self._transport.close()
            return
        # A socket that is closed with bytes unread loses its last reply: the client ends it, or
        # its time does.
        self._transport.write_eof()
        self._pause(False)

    def _pause(self, is_full: bool) -> None:
        if is_full == self._is_paused or not self._transport or self._transport.is_closing():
            return
        self._is_paused = is_full
        if is_full:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()
