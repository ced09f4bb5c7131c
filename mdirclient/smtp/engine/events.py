"""What a connection tells its owner, and what it is told of its listener. Pure."""

from __future__ import annotations

import attrs

from mdirclient.smtp.engine.path import Path
from mdirclient.smtp.engine.reply import Reply
from mdirclient.smtp.engine.sasl import Credentials


@attrs.frozen
class Profile:
    """What a listener offers.

    Attributes:
        hostname: of this server.
        is_lmtp: LMTP instead of SMTP.
        is_submission: for users: they must authenticate, on TLS.
        has_tls: whether STARTTLS is possible.
        max_size: bytes of a mail.
        max_recipients: of a mail.
        max_errors: commands that are refused, before the connection is.
    """

    hostname: str
    is_lmtp: bool = False
    is_submission: bool = False
    has_tls: bool = False
    max_size: int = 50 << 20
    max_recipients: int = 100
    max_errors: int = 20


@attrs.frozen
class Transaction:
    """A mail on its way, until its outcome.

    Attributes:
        reverse_path: of the sender.
        forward_paths: of the recipients that were accepted, in their order.
        is_utf8: whether MAIL said SMTPUTF8.
        size: bytes that the client announced; 0: it did not.
        options: what the sender wants to be told, as words `NAME=value` (RFC 3461 §4.3 and 4.4).
        is_exact: whether the line end before the last dot is not of the mail (XEXACT); such a mail
            has no limits of size and lines.
    """

    reverse_path: Path
    forward_paths: tuple[Path, ...] = ()
    is_utf8: bool = False
    size: int = 0
    is_exact: bool = False
    options: tuple[str, ...] = ()


@attrs.frozen
class Forwarded:
    """What an MTA in front says of its own client (XFORWARD); None: it does not know.

    Attributes:
        address: IP address.
        name: verified host name.
        helo: what it called itself.
    """

    address: str | None = None
    name: str | None = None
    helo: str | None = None


@attrs.frozen
class MailFrom:
    """May this sender begin a mail? `answer` it."""

    transaction: Transaction


@attrs.frozen
class RcptTo:
    """Is this a recipient? `answer` it.

    Attributes:
        path: the forward path.
        options: of what the sender wants to be told, as words `NAME=value` (RFC 3461 §4.1, 4.2).
    """

    path: Path
    options: tuple[str, ...] = ()


@attrs.frozen
class Begin:
    """May the mail come? `answer` it, with `START_MAIL` (354) for yes."""

    transaction: Transaction


@attrs.frozen
class Chunk:
    """Bytes of the mail, without the dots that the client added."""

    data: bytes


@attrs.frozen
class Dropped:
    """The rest of the mail is not wanted: drop what came. The reply is given at its end."""

    reply: Reply


@attrs.frozen
class End:
    """The mail is whole. `answer` it; with LMTP a reply for each recipient."""

    transaction: Transaction
    size: int


@attrs.frozen
class StartTLS:
    """The reply is in the output: send it, secure the connection, then say `secured`."""


@attrs.frozen
class Authenticate:
    """Is it this user? If so, set `user` to their name; `answer` it."""

    credentials: Credentials


@attrs.frozen
class Quit:
    """The connection is over; close it when the output was sent."""

    reply: Reply


Event = MailFrom | RcptTo | Begin | Chunk | Dropped | End | StartTLS | Authenticate | Quit
