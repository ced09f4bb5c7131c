"""SMTP and LMTP, server side, sans-I/O: bytes in, events out, replies as values. Pure.

Sources: RFC 5321 (SMTP), RFC 2033 (LMTP), RFC 2920 (PIPELINING), RFC 1870 (SIZE), RFC 6152
(8BITMIME), RFC 6531 (SMTPUTF8), RFC 2034 (ENHANCEDSTATUSCODES), RFC 3207 (STARTTLS), RFC 4954
(AUTH), RFC 8314 (submission), RFC 3461 (DSN, for users only), Postfix's XFORWARD_README.
"""

from mdirclient.smtp.engine.connection import Connection
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
from mdirclient.smtp.engine.path import NULL_PATH, Path, PathError, parse_path
from mdirclient.smtp.engine.reply import Reply

__all__ = [
    "NULL_PATH",
    "Authenticate",
    "Begin",
    "Chunk",
    "Connection",
    "Dropped",
    "End",
    "Event",
    "Forwarded",
    "MailFrom",
    "Path",
    "PathError",
    "Profile",
    "Quit",
    "RcptTo",
    "Reply",
    "StartTLS",
    "Transaction",
    "parse_path",
]
