"""One connection, seen from the server: the order of commands, and what they do. Pure.

Bytes go in by `receive`, events come out by `next_event`. Where the caller decides, the event
waits for its `answer`: until then no other event comes. What is to be sent is in `take_output`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum, auto
from typing import Final

import attrs

from mdirclient.smtp.engine import reply as replies
from mdirclient.smtp.engine.command import (
    FORWARDED,
    MAX_LINE,
    ORDER,
    State,
    parse_command,
    parse_forward,
    parse_hello,
    parse_mail,
    parse_rcpt,
)
from mdirclient.smtp.engine.data import DataDecoder
from mdirclient.smtp.engine.events import (
    Authenticate,
    Begin,
    Chunk,
    Dropped,
    End,
    Event,
    Forwarded,
    MailFrom,
    Profile,
    Quit,
    RcptTo,
    StartTLS,
    Transaction,
)
from mdirclient.smtp.engine.reply import Reply
from mdirclient.smtp.engine.sasl import MAX_AUTH_LINE, MECHANISMS, Exchange, SASLError

#: Commands that are no step of a mail, between two mails.
MAX_IDLE_COMMANDS: Final = 100
#: Refusals of any kind between two mails: what is temporary is our fault, but not for ever.
MAX_REFUSALS: Final = 10_000
#: A mail that is too large is read to its end, unless it is so many times too large.
_MAX_DROPPED: Final = 4


class _Input(Enum):
    """What the next bytes are."""

    COMMAND = auto()
    AUTH = auto()
    DATA = auto()
    ENDED = auto()  # the end of a mail was read, and not told yet
    WAITING = auto()  # for an answer
    TLS = auto()  # of a handshake
    NOTHING = auto()


#: Inputs in which nothing is read.
_PAUSED: Final = frozenset([_Input.WAITING, _Input.TLS, _Input.NOTHING])


class Connection:
    """The server's side of one connection.

    Args:
        profile: of the listener.
        is_secured: whether TLS is there from the beginning (RFC 8314 §3.3).
        is_trusted: whether the client may say whose mail it brings (XFORWARD) and where it ends
            (XEXACT).
    """

    __slots__ = (
        "_auth",
        "_buffer",
        "_data",
        "_errors",
        "_idle",
        "_input",
        "_output",
        "_profile",
        "_refusals",
        "_state",
        "_transaction",
        "_verdict",
        "_waiting",
        "fingerprint",
        "forwarded",
        "helo",
        "is_extended",
        "is_secured",
        "is_trusted",
        "lines",
        "user",
    )

    def __init__(
        self, profile: Profile, *, is_secured: bool = False, is_trusted: bool = False
    ) -> None:
        self._profile = profile
        self.is_trusted = is_trusted
        #: What the client says of its own client, for the next mail.
        self.forwarded = Forwarded()
        #: What the client calls itself, or None.
        self.helo: str | None = None
        #: Whether it said EHLO or LHLO.
        self.is_extended = False
        #: Whether this is TLS.
        self.is_secured = is_secured
        #: SHA-256 of the client's certificate, hexadecimal, if it has a valid one.
        self.fingerprint: str | None = None
        #: Who authenticated, or None; set by who answers `Authenticate`.
        self.user: str | None = None
        self._input = _Input.COMMAND
        self._state = State.START
        self._transaction: Transaction | None = None
        self._waiting: Event | None = None
        self._data: DataDecoder | None = None
        self._verdict: Reply | None = None
        self._auth: Exchange | None = None
        self._buffer = b""
        self._output = b""
        self._errors = 0
        self._refusals = 0
        self._idle = 0
        #: Whole lines of commands that came.
        self.lines = 0

    # -- bytes and events

    def greet(self) -> None:
        """Send the greeting."""
        kind = "LMTP" if self._profile.is_lmtp else "ESMTP"
        self._send(Reply(220, "", (f"{self._profile.hostname} {kind}",)))

    def receive(self, data: bytes) -> None:
        """Take bytes from the client; get the events after that."""
        if self._input is not _Input.NOTHING:
            self._buffer = self._buffer + data if self._buffer else data

    def take_output(self) -> bytes:
        """What is to be sent now."""
        output, self._output = self._output, b""
        return output

    @property
    def buffered(self) -> int:
        """Bytes that came and were not looked at yet."""
        return len(self._buffer)

    @property
    def is_waiting(self) -> bool:
        """Whether an event waits for its answer, or TLS for its handshake."""
        return self._input in (_Input.WAITING, _Input.TLS)

    @property
    def is_in_data(self) -> bool:
        """Whether the bytes of a mail are coming."""
        return self._input is _Input.DATA

    @property
    def received(self) -> int:
        """Bytes of the mail that is coming, also of one that is dropped."""
        return self._data.size if self._data else 0

    def next_event(self) -> Event | None:
        """The next event; None: nothing to do until there are more bytes, or an answer."""
        while self._input not in _PAUSED:
            if self._input is _Input.DATA:
                found = self._of_data() if self._buffer else None
            elif self._input is _Input.ENDED:
                found = self._at_end()
            else:
                found = self._of_line()
            if not isinstance(found, Reply):
                return found
            self._send(found)
            self._count(found)
            if self._has_enough():
                return self.close(replies.TOO_MANY_ERRORS)
        return None

    # -- answers

    def answer(self, *given: Reply) -> Quit | None:
        """Answer the event that waits. With LMTP, `End` takes a reply for each recipient.

        Returns:
            Set if the connection is over by it: too many refusals, or a reply 421.
        """
        event, self._waiting = self._waiting, None
        self._input = _Input.COMMAND
        for one in given:
            self._send(one)
        reply = given[-1]
        if isinstance(event, End):
            if any(one.is_positive for one in given):
                self._errors = self._refusals = self._idle = 0
            self._reset()
        elif isinstance(event, Begin) and not reply.is_positive:
            self._reset()
        elif event and reply.is_positive:
            self._accept(event)
        if not isinstance(event, End):
            self._count(reply)
        if reply.code == 421:
            self._end()
            return Quit(reply)
        return self.close(replies.TOO_MANY_ERRORS) if self._has_enough() else None

    def drop(self, reply: Reply) -> None:
        """The mail that is coming is not wanted: the rest is read and dropped, then refused."""
        self._verdict = self._verdict or reply

    def secured(self, fingerprint: str | None = None) -> None:
        """TLS is there. Nothing that was said before counts (RFC 3207 §4.2).

        What was received since `StartTLS` came through TLS: the caller reads nothing else.
        """
        self.is_secured, self.fingerprint = True, fingerprint
        self.helo, self.is_extended = None, False
        self._reset()
        self._state, self._input = State.START, _Input.COMMAND

    def close(self, reply: Reply) -> Quit:
        """End the connection with a reply."""
        self._send(reply)
        self._end()
        return Quit(reply)

    def _accept(self, event: Event) -> None:
        match event:
            case MailFrom(transaction):
                self._transaction, self._state = transaction, State.MAIL
            case RcptTo(path):
                assert self._transaction
                paths = (*self._transaction.forward_paths, path)
                self._transaction = attrs.evolve(self._transaction, forward_paths=paths)
                self._state = State.RCPT
            case Begin():
                assert self._transaction
                self._data = DataDecoder(is_exact=self._transaction.is_exact)
                self._input = _Input.DATA

    # -- the bytes of a mail

    def _of_data(self) -> Event | Reply | None:
        assert self._data
        data, self._buffer = self._buffer, b""
        content, rest = self._data.feed(data)
        if rest is not None:
            self._buffer, self._input = rest, _Input.ENDED
        if self._verdict is None and (too_much := self._too_much()):
            self._verdict = too_much
            return Dropped(too_much)
        if self._verdict and self._data.size > _MAX_DROPPED * self._profile.max_size:
            return self.close(self._verdict)
        if content and self._verdict is None:
            return Chunk(content)
        return None if rest is None else self._at_end()

    def _too_much(self) -> Reply | None:
        assert self._data
        assert self._transaction
        if self._transaction.is_exact:
            return None  # it would be taken directly, and nobody else could take it
        if self._data.size > self._profile.max_size:
            return replies.TOO_LARGE
        return replies.LONG_DATA_LINE if self._data.is_long else None

    def _at_end(self) -> Event | Reply:
        assert self._transaction
        assert self._data
        verdict = self._verdict
        if verdict is None:
            return self._wait(End(self._transaction, self._data.size))
        count = len(self._transaction.forward_paths) if self._profile.is_lmtp else 1
        for _ in range(count - 1):
            self._send(verdict)
        self._reset()
        self._input = _Input.COMMAND
        return verdict

    # -- commands

    def _of_line(self) -> Event | Reply | None:
        is_auth = self._input is _Input.AUTH
        is_long = is_auth or (self._mechanisms() and self._buffer[:5].upper() == b"AUTH ")
        line = self._next_line(MAX_AUTH_LINE if is_long else MAX_LINE)
        if line is None:
            return None
        self.lines += 1
        if isinstance(line, Reply):
            return self.close(line)
        return self._of_auth(line) if is_auth else self._of_command(line)

    def _next_line(self, limit: int) -> str | Reply | None:
        """The next line, without its end; None if it is not whole, a reply if it never will be."""
        end = self._buffer.find(b"\n")
        if end > limit or (end < 0 and len(self._buffer) > limit):
            return replies.LONG_LINE
        if end < 0:
            return None
        line, self._buffer = self._buffer[:end], self._buffer[end + 1 :]
        # Whoever reads lines in another way than we do is not talked to.
        if not line.endswith(b"\r") or b"\r" in line[:-1]:
            return replies.BAD_LINE
        return line[:-1].decode("utf-8", "surrogateescape")

    def _of_command(self, line: str) -> Event | Reply:
        command = parse_command(line)
        if command is replies.NOT_SMTP:
            return self.close(replies.NOT_SMTP)
        if isinstance(command, Reply):
            return command
        verb, argument = command
        if not_now := ORDER[verb].get(self._state):
            is_lmtp = self._profile.is_lmtp and not_now is replies.NEEDS_HELLO
            return replies.NEEDS_LHLO if is_lmtp else not_now
        if verb in ("NOOP", "HELP", "VRFY", "RSET", "HELO", "EHLO", "LHLO"):
            self._idle += 1
            if self._idle > MAX_IDLE_COMMANDS:
                return self.close(replies.TOO_MANY_ERRORS)
        return _COMMANDS[verb](self, verb, argument)

    def _hello(self, verb: str, argument: str) -> Reply:
        if (verb == "LHLO") != self._profile.is_lmtp:
            return replies.EXPECTED_LHLO if self._profile.is_lmtp else replies.EXPECTED_EHLO
        name = parse_hello(argument)
        if isinstance(name, Reply):
            return name
        self.helo, self.is_extended = name, verb != "HELO"
        self._reset()
        self._state = State.READY
        return Reply(250, "", (self._profile.hostname, *self._offered()))

    def _offered(self) -> tuple[str, ...]:
        if not self.is_extended:
            return ()
        keywords = ["PIPELINING", f"SIZE {self._profile.max_size}", "8BITMIME", "SMTPUTF8"]
        keywords.append("ENHANCEDSTATUSCODES")
        if self._profile.is_submission:
            keywords.append("DSN")
        if self._profile.has_tls and not self.is_secured:
            keywords.append("STARTTLS")
        if self._mechanisms():
            keywords.append(f"AUTH {' '.join(self._mechanisms())}")
        if self.is_trusted:
            keywords += [f"XFORWARD {' '.join(FORWARDED)}", "XEXACT"]
        return tuple(keywords)

    def _mechanisms(self) -> tuple[str, ...]:
        if not (self._profile.is_submission and self.is_secured) or self.user:
            return ()
        return MECHANISMS if self.fingerprint else MECHANISMS[:2]

    def _mail(self, _verb: str, argument: str) -> Event | Reply:
        if self._profile.is_submission and not self.user:
            return replies.NEEDS_AUTH if self.is_secured else replies.NEEDS_TLS
        found = parse_mail(argument, self._profile, is_trusted=self.is_trusted)
        return found if isinstance(found, Reply) else self._wait(MailFrom(found))

    def _rcpt(self, _verb: str, argument: str) -> Event | Reply:
        assert self._transaction
        found = parse_rcpt(argument, self._transaction, self._profile)
        return found if isinstance(found, Reply) else self._wait(found)

    def _begin(self, _verb: str, _argument: str) -> Event | Reply:
        assert self._transaction
        if self._buffer:
            # RFC 2920 §3.1: DATA is the last of what is sent together. What follows it without
            # waiting comes from somebody who does not read our answers.
            return self.close(replies.BAD_PIPELINING)
        return self._wait(Begin(self._transaction))

    def _start_tls(self, _verb: str, _argument: str) -> Event | Reply:
        if self.is_secured:
            return replies.HAS_TLS
        if not self._profile.has_tls:
            return replies.NO_TLS
        self._send(replies.START_TLS)
        # CVE-2011-0411: what came with the command, before the handshake, may be from another
        # than the client that TLS will vouch for.
        self._buffer, self._input = b"", _Input.TLS
        return StartTLS()

    def _noop(self, verb: str, _argument: str) -> Reply:
        return _SAYING[verb]

    def _forward(self, _verb: str, argument: str) -> Reply:
        if not self.is_trusted:
            return replies.NOT_IMPLEMENTED
        found = parse_forward(argument, self.forwarded)
        if isinstance(found, Reply):
            return found
        self.forwarded = found
        return replies.OK

    def _rset(self, _verb: str, _argument: str) -> Reply:
        self._reset()
        return replies.OK

    def _quit(self, _verb: str, _argument: str) -> Event:
        return self.close(replies.BYE)

    # -- authentication

    def _authenticate(self, _verb: str, argument: str) -> Event | Reply:
        mechanism, _, initial = argument.partition(" ")
        if not self._profile.is_submission:
            return replies.NO_AUTH
        if self.user or not self.is_secured:
            return replies.HAS_AUTH if self.user else replies.AUTH_NEEDS_TLS
        if mechanism.upper() not in self._mechanisms():
            return replies.BAD_MECHANISM
        exchange = Exchange(mechanism.upper())
        return self._go_on(exchange, initial) if initial else self._ask(exchange)

    def _of_auth(self, line: str) -> Event | Reply:
        assert self._auth
        if line == "*":
            self._input = _Input.COMMAND
            return replies.CANCELLED
        return self._go_on(self._auth, line)

    def _go_on(self, exchange: Exchange, line: str) -> Event | Reply:
        self._input = _Input.COMMAND
        try:
            credentials = exchange.take(line)
        except SASLError:
            return replies.BAD_BASE64
        return self._ask(exchange) if credentials is None else self._wait(Authenticate(credentials))

    def _ask(self, exchange: Exchange) -> Reply:
        self._auth, self._input = exchange, _Input.AUTH
        return replies.challenge(exchange.challenge)

    # -- state

    def _count(self, reply: Reply) -> None:
        self._errors += reply.code >= 500
        self._refusals += not reply.is_positive

    def _has_enough(self) -> bool:
        return self._errors > self._profile.max_errors or self._refusals > MAX_REFUSALS

    def _send(self, reply: Reply) -> None:
        self._output += reply.to_bytes()

    def _wait(self, event: Event) -> Event:
        self._waiting, self._input = event, _Input.WAITING
        return event

    def _reset(self) -> None:
        """No mail is on its way: of the last one nothing stays."""
        self._transaction = self._data = self._verdict = self._auth = None
        self.forwarded = Forwarded()
        if self._state is not State.START:
            self._state = State.READY

    def _end(self) -> None:
        self._reset()
        self._buffer, self._input = b"", _Input.NOTHING


_COMMANDS: Final[Mapping[str, Callable[[Connection, str, str], Event | Reply]]] = {
    "HELO": Connection._hello,  # noqa: SLF001 - the table of this class
    "EHLO": Connection._hello,  # noqa: SLF001
    "LHLO": Connection._hello,  # noqa: SLF001
    "MAIL": Connection._mail,  # noqa: SLF001
    "RCPT": Connection._rcpt,  # noqa: SLF001
    "DATA": Connection._begin,  # noqa: SLF001
    "STARTTLS": Connection._start_tls,  # noqa: SLF001
    "AUTH": Connection._authenticate,  # noqa: SLF001
    "RSET": Connection._rset,  # noqa: SLF001
    "QUIT": Connection._quit,  # noqa: SLF001
    "NOOP": Connection._noop,  # noqa: SLF001
    "HELP": Connection._noop,  # noqa: SLF001
    "VRFY": Connection._noop,  # noqa: SLF001
    "XFORWARD": Connection._forward,  # noqa: SLF001
}
_SAYING: Final = {"NOOP": replies.OK, "HELP": replies.HELP, "VRFY": replies.CANNOT_VERIFY}
