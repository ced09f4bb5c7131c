"""Replies as values, and those that the engine gives by itself. Pure.

Sources: RFC 5321 §4.2 (replies), RFC 3463 and RFC 5248 (enhanced status codes). No reply repeats
what a client sent, or says how the server works inside.
"""

from __future__ import annotations

from typing import Final

import attrs


@attrs.frozen
class Reply:
    """A server's answer.

    Attributes:
        code: of three digits.
        enhanced: status code such as `2.1.0`; empty where there is none (RFC 2034 §4).
        lines: the texts, ASCII without line ends.
    """

    code: int
    enhanced: str
    lines: tuple[str, ...]

    def to_bytes(self) -> bytes:
        """As it is sent: lines with CRLF, `-` after the code of all but the last."""
        *first, last = (f"{self.enhanced} {text}".strip() for text in self.lines)
        texts = [*(f"{self.code}-{text}\r\n" for text in first), f"{self.code} {last}\r\n"]
        return "".join(texts).encode("ascii")

    @property
    def is_positive(self) -> bool:
        """Whether it says yes: 2xx, or 3xx for go on."""
        return self.code < 400

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {' '.join(self.lines)}"


def _reply(code: int, enhanced: str, text: str) -> Reply:
    return Reply(code, enhanced, (text,))


OK: Final = _reply(250, "2.0.0", "Ok")
SENDER_OK: Final = _reply(250, "2.1.0", "Ok")
RECIPIENT_OK: Final = _reply(250, "2.1.5", "Ok")
START_MAIL: Final = _reply(354, "", "End data with <CR><LF>.<CR><LF>")
TAKEN: Final = _reply(250, "2.0.0", "Ok, stored")
BYE: Final = _reply(221, "2.0.0", "Bye")
START_TLS: Final = _reply(220, "2.0.0", "Ready to start TLS")
AUTHENTICATED: Final = _reply(235, "2.7.0", "Welcome")
CANNOT_VERIFY: Final = _reply(252, "2.5.1", "Cannot verify; send some mail, and see")
HELP: Final = _reply(214, "2.0.0", "See RFC 5321")

NOT_IMPLEMENTED: Final = _reply(502, "5.5.1", "Not implemented")
UNKNOWN_COMMAND: Final = _reply(500, "5.5.2", "Unknown command")
BAD_SYNTAX: Final = _reply(501, "5.5.4", "Syntax error in the arguments")
BAD_LINE: Final = _reply(500, "5.5.2", "A line must end with <CR><LF> and have no other one inside")
LONG_LINE: Final = _reply(500, "5.5.2", "The line is too long")
BAD_SENDER: Final = _reply(501, "5.1.7", "The address of the sender cannot be read")
BAD_RECIPIENT: Final = _reply(501, "5.1.3", "The address of the recipient cannot be read")
BAD_PARAMETER: Final = _reply(555, "5.5.4", "A parameter is unknown or wrong")
NEEDS_SMTPUTF8: Final = _reply(553, "5.6.7", "This address needs SMTPUTF8")
NEEDS_HELLO: Final = _reply(503, "5.5.1", "Say EHLO first")
NEEDS_LHLO: Final = _reply(503, "5.5.1", "Say LHLO first")
NEEDS_MAIL: Final = _reply(503, "5.5.1", "Say MAIL first")
NEEDS_RECIPIENT: Final = _reply(554, "5.5.1", "There is no recipient")
IN_TRANSACTION: Final = _reply(503, "5.5.1", "Not during a mail")
NEEDS_TLS: Final = _reply(530, "5.7.0", "Say STARTTLS first")
NEEDS_AUTH: Final = _reply(530, "5.7.0", "Authentication is required")
NO_TLS: Final = _reply(502, "5.5.1", "There is no TLS here")
HAS_TLS: Final = _reply(503, "5.5.1", "This is TLS already")
NO_AUTH: Final = _reply(503, "5.5.1", "There is no authentication here")
HAS_AUTH: Final = _reply(503, "5.5.1", "You are known already")
AUTH_NEEDS_TLS: Final = _reply(538, "5.7.11", "Say STARTTLS first")
BAD_MECHANISM: Final = _reply(504, "5.5.4", "There is no such mechanism here")
BAD_BASE64: Final = _reply(501, "5.5.2", "This is not base64, or not what the mechanism expects")
CANCELLED: Final = _reply(501, "5.7.0", "Cancelled")
TOO_LARGE: Final = _reply(552, "5.3.4", "The mail is too large")
LONG_DATA_LINE: Final = _reply(554, "5.6.0", "A line of the mail has more than 1 MiB")
TOO_MANY_RECIPIENTS: Final = _reply(452, "4.5.3", "Too many recipients; send the rest by itself")
TOO_MANY_ERRORS: Final = _reply(421, "4.7.0", "Too many errors")
BAD_PIPELINING: Final = _reply(554, "5.5.0", "Wait for the answer to DATA; closing")
NOT_SMTP: Final = _reply(554, "5.5.1", "This is SMTP; closing")

#: What an LMTP server says instead (RFC 2033 §4.1).
EXPECTED_LHLO: Final = _reply(500, "5.5.1", "This is LMTP: say LHLO")
EXPECTED_EHLO: Final = _reply(500, "5.5.1", "This is SMTP: say EHLO")


def challenge(text: str = "") -> Reply:
    """Go on with the authentication (RFC 4954 §4); `text` is in base64."""
    return _reply(334, "", text)
