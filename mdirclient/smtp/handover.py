"""A delivery hands its mail over to the resident server, by LMTP on a Unix socket.

Imports nothing of the package, and of the standard library only what Python has loaded anyway or
what is written in C: with `socket` and `re` the hand-over would take twice its time (docs:
decisions/0018).

Sources: RFC 2033 (LMTP), RFC 6531 (SMTPUTF8), Postfix's XFORWARD_README. `XEXACT` is our own: the
line end before the last dot is not of the mail, so it arrives byte for byte as a direct delivery
would have stored it, and the same mail again is the same mail, whichever way it comes.
"""

from __future__ import annotations

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Final

    from mdirclient.smtp.envelope import Envelope

#: Seconds that the server may take for a reply.
TIMEOUT: Final = 200.0
_REPLY: Final = 4096
_MAX_REPLIES: Final = 1 << 16
_MAX_FORWARDED: Final = 255
#: What an address has that needs no quotes (RFC 5321 §4.1.2), besides letters and digits.
_PLAIN: Final = frozenset("@.!#$%&'*+/=?^_`{|}~-")
#: Replies that say that there is certainly no such account.
_UNKNOWN: Final = ("550 5.1.1", "550 5.7.1")


class HandoverError(Exception):
    """The server did not take the mail, or not certainly. Its text says why."""


def is_plain(envelope: Envelope) -> bool:
    """Whether an envelope can be said in LMTP as it is; if not, the mail is delivered directly."""
    addresses = [spelling for spellings in envelope.recipients for spelling in spellings]
    sender = envelope.reverse_path
    is_known = sender == "<>" or (sender is not None and _is_address(sender))
    return bool(addresses) and is_known and all(map(_is_address, addresses))


def hand_over(
    chunks: Iterable[bytes], envelope: Envelope, path: str, *, host: str
) -> tuple[str, ...] | None:
    """Hand one mail over to a server, which answers when it is durable.

    Args:
        chunks: the mail's bytes, in pieces. All are read, unless nobody is there.
        envelope: who sends and who receives; see `is_plain`.
        path: of the server's socket.
        host: name of this host, for LHLO.

    Returns:
        The recipients that certainly have no account; the others have the mail. None: no server
        of ours listens there, and nothing was read.

    Raises:
        HandoverError: something else: try again later.
        OSError: the connection broke.
    """
    client = _connected(path)
    if client is None:
        return None
    try:
        return client.deliver(chunks, envelope, host)
    finally:
        client.socket.close()


class _Client:
    """One conversation."""

    def __init__(self, connected: _socket.socket) -> None:
        self.socket = connected
        self._received = b""

    def deliver(
        self, chunks: Iterable[bytes], envelope: Envelope, host: str
    ) -> tuple[str, ...] | None:
        """See `hand_over`."""
        offered = self.hello(host)
        if "XEXACT" not in offered:
            return None  # a server of another kind, or one that does not trust us
        accepted, unknown = self.begin(envelope, has_forward="XFORWARD" in offered)
        if not accepted:
            for _ in chunks:  # an MTA may take a closed pipe for a failure
                pass
            return unknown
        self.send(chunks)
        for recipient in accepted:
            self.expect("250", recipient)
        try:  # noqa: SIM105 - contextlib is not imported
            self.socket.sendall(b"QUIT\r\n")
        except OSError:
            pass  # the server has it, and need not hear of the farewell
        return unknown

    def hello(self, host: str) -> set[str]:
        """Greet; the keywords of what the server offers."""
        self.expect("220", "the greeting")
        lines = self._said(f"LHLO {host}", "250")
        return {line[4:].split(" ")[0] for line in lines[1:]}

    def begin(self, envelope: Envelope, *, has_forward: bool) -> tuple[list[str], tuple[str, ...]]:
        """Say whose mail it is: who was accepted, and who is certainly not there."""
        preferred = [spellings[0] for spellings in envelope.recipients]
        forward = _forward(envelope) if has_forward else None
        commands = [*([forward] if forward else []), _mail(envelope), *map(_recipient, preferred)]
        # Together: each reply that is waited for is a tenth of the time that all of it takes.
        self.socket.sendall("".join(f"{command}\r\n" for command in commands).encode())
        if forward:
            self._reply()  # what it says of the client's client does not keep the mail out
        self.expect("250", "MAIL")
        replies = [self._reply()[-1] for _ in preferred]
        accepted, unknown = [], []
        for spellings, reply in zip(envelope.recipients, replies, strict=True):
            if found := self._accepted(spellings, reply):
                accepted.append(found)
            else:
                unknown.append(spellings[0])
        return accepted, tuple(unknown)

    def _accepted(self, spellings: tuple[str, ...], reply: str) -> str | None:
        """The spelling that is accepted; `reply` is that to the first."""
        for spelling, following in zip(spellings, (*spellings[1:], None), strict=True):
            if reply.startswith("250"):
                return spelling
            if not reply.startswith(_UNKNOWN):
                raise HandoverError(f"the server says of {spelling!a}: {reply}")
            if following is not None:
                self.socket.sendall(f"{_recipient(following)}\r\n".encode())
                reply = self._reply()[-1]
        return None

    def send(self, chunks: Iterable[bytes]) -> None:
        """Send the mail, with a dot before each that begins a line (RFC 5321 §4.5.2)."""
        self._said("DATA", "354")
        before = b"\r\n"
        for chunk in chunks:
            whole = before + chunk
            self.socket.sendall(whole.replace(b"\r\n.", b"\r\n..")[len(before) :])
            before = whole[-2:]
        self.socket.sendall(b"\r\n.\r\n")

    def expect(self, code: str, what: str) -> list[str]:
        """The next reply, which must have a code."""
        lines = self._reply()
        if not lines[-1].startswith(code):
            raise HandoverError(f"the server says of {what!a}: {lines[-1]}")
        return lines

    def _said(self, command: str, code: str) -> list[str]:
        self.socket.sendall(command.encode() + b"\r\n")
        return self.expect(code, command.partition(" ")[0])

    def _reply(self) -> list[str]:
        """The lines of the next reply, one at least."""
        lines: list[str] = []
        while not lines or lines[-1][3:4] == "-":
            while b"\n" not in self._received:
                data = self.socket.recv(_REPLY)
                if not data or len(self._received) > _MAX_REPLIES:
                    raise HandoverError("the server closed the connection before it answered")
                self._received += data
            line, _, self._received = self._received.partition(b"\n")
            lines.append(line.decode("ascii", "replace").rstrip())
        return lines


def _forward(envelope: Envelope) -> str | None:
    """What is known of the client of the MTA; None: nothing."""
    known = (
        ("ADDR", _with_prefix(envelope.client_address)),
        ("NAME", envelope.client_name),
        ("HELO", envelope.helo),
    )
    words = [f"{name}={_xtext(value[:_MAX_FORWARDED])}" for name, value in known if value]
    return f"XFORWARD {' '.join(words)}" if words else None


def _mail(envelope: Envelope) -> str:
    addresses = [envelope.reverse_path or "", *(one for s in envelope.recipients for one in s)]
    is_utf8 = not all(address.isascii() for address in addresses)
    sender = "" if addresses[0] == "<>" else addresses[0]
    return f"MAIL FROM:<{sender}> XEXACT{' SMTPUTF8' * is_utf8}"


def _recipient(address: str) -> str:
    return f"RCPT TO:<{address}>"


def _connected(path: str) -> _Client | None:
    connected = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    connected.settimeout(TIMEOUT)
    try:
        connected.connect(path.removeprefix("unix:"))
    except (FileNotFoundError, ConnectionRefusedError):
        connected.close()
        return None
    except BaseException:
        connected.close()
        raise
    return _Client(connected)


def _is_address(address: str) -> bool:
    local, _, domain = address.rpartition("@")
    is_said = all(char.isalnum() or char in _PLAIN for char in address)
    return bool(local and domain) and is_said


def _with_prefix(address: str | None) -> str | None:
    return f"IPV6:{address}" if address and ":" in address else address


def _xtext(value: str) -> str:
    """A value as it stands in a parameter. Source: RFC 3461 §4."""
    return "".join(
        chr(byte) if 33 <= byte <= 126 and chr(byte) not in "+=" else f"+{byte:02X}"
        for byte in value.encode()
    )
