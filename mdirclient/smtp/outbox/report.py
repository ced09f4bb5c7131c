"""Delivery status notifications: what a mail's sender is told when it could not be sent. Pure.

Sources: RFC 3464 (message/delivery-status), RFC 6522 (multipart/report), RFC 3834 §5
(Auto-Submitted).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime
from email.utils import format_datetime
from typing import Final

import attrs

from mdirclient.smtp.outbox.outcome import Refused

#: Bytes of the original that are returned; of a larger one its header.
MAX_RETURNED: Final = 1 << 20
_WIDTH: Final = 72


@attrs.frozen
class Failure:
    """What could not be sent.

    Attributes:
        address: of the sender, who is told.
        subject: of the mail, in Unicode.
        recipients: that do not get it.
        status: enhanced status code, such as `5.1.1` (RFC 3463).
        reason: what was said, in Unicode on one line.
        queued: when it was given to be sent.
        attempts: how often it was tried.
        what_now: what its sender can do, as a sentence.
        each: what was said of single recipients, where that is known.
        key: text that is the same for the same failure: a report that is made again is the same.
    """

    address: str
    subject: str
    recipients: tuple[str, ...]
    status: str
    reason: str
    queued: datetime
    attempts: int
    key: str
    what_now: str
    each: tuple[Refused, ...] = ()


def compose_report(failure: Failure, original: bytes, *, host: str, now: datetime) -> bytes:
    """The notification, as a whole mail with CRLF; 8 bits only if the original has them.

    Args:
        failure: what happened.
        original: the mail, or the beginning of it; empty if there is none.
        host: name of this one.
        now: of the failure.
    """
    digest = hashlib.sha256(f"{failure.key} {now.isoformat()}".encode()).hexdigest()[:32]
    boundary = f"=_{digest}"
    head = [
        f"From: Mail delivery <postmaster@{host}>",
        f"To: <{failure.address}>",
        "Subject: Not delivered",
        f"Date: {format_datetime(now)}",
        f"Message-ID: <{digest}@{host}>",
        "Auto-Submitted: auto-replied",
        "MIME-Version: 1.0",
        "Content-Type: multipart/report; report-type=delivery-status;",
        f' boundary="{boundary}"',
    ]
    if not original.isascii():
        head.append("Content-Transfer-Encoding: 8bit")
    parts = [
        _part("text/plain; charset=utf-8", _explained(failure).encode(), "quoted-printable"),
        _part("message/delivery-status", _status(failure, host=host, now=now).encode(), "7bit"),
    ]
    parts += _returned(original)
    delimiter = f"\r\n--{boundary}".encode()
    body = b"".join(delimiter + b"\r\n" + part for part in parts)
    return "\r\n".join(head).encode() + b"\r\n" + body + delimiter + b"--\r\n"


def _explained(failure: Failure) -> str:
    named = f" ({failure.subject})" if failure.subject else ""
    said = {one.recipient: one for one in failure.each}
    lines = [
        f"Your mail{named} could not be sent to:",
        "",
        *(_named(recipient, said.get(recipient)) for recipient in failure.recipients),
        "",
        f"Reason: {failure.reason}",
        "",
        failure.what_now,
        f"It was given to be sent on {format_datetime(failure.queued)}.",
        f"Attempts: {failure.attempts}.",
        "",
    ]
    return "\r\n".join(lines)


def _status(failure: Failure, *, host: str, now: datetime) -> str:
    said = {one.recipient: one for one in failure.each}
    of_mail = [
        f"Reporting-MTA: dns; {host}",
        f"Arrival-Date: {format_datetime(failure.queued)}",
        "",
    ]
    of_recipients = [
        [
            f"Final-Recipient: rfc822; {recipient}",
            "Action: failed",
            f"Status: {said[recipient].status if recipient in said else failure.status}",
            _diagnostic(failure, said.get(recipient)),
            f"Last-Attempt-Date: {format_datetime(now)}",
            "",
        ]
        for recipient in failure.recipients or ("unknown",)
    ]
    lines: Sequence[str] = [*of_mail, *(line for lines in of_recipients for line in lines)]
    return "\r\n".join(lines)


def _named(recipient: str, said: Refused | None) -> str:
    return f"    {recipient}{f': {said.reason}' if said else ''}"


def _diagnostic(failure: Failure, said: Refused | None) -> str:
    return f"Diagnostic-Code: x-mdir; {_ascii(said.reason if said else failure.reason)}"


def _returned(original: bytes) -> list[bytes]:
    """The original, or its header if it is large; nothing if there is none."""
    if not original:
        return []
    if len(original) <= MAX_RETURNED:
        encoding = "7bit" if original.isascii() else "8bit"
        return [_part("message/rfc822", original, encoding)]
    for end in (b"\r\n\r\n", b"\n\n"):
        head, found, _ = original[:MAX_RETURNED].partition(end)
        if found:
            return [_part("text/rfc822-headers", head + end[: len(end) // 2], "8bit")]
    return []


def _part(media_type: str, content: bytes, encoding: str) -> bytes:
    if encoding == "quoted-printable":
        import quopri

        lines = content.replace(b"\r\n", b"\n")
        content = quopri.encodestring(lines).replace(b"\n", b"\r\n")
    head = f"Content-Type: {media_type}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    return head.encode() + content


def _ascii(text: str) -> str:
    """A text as a folded field in ASCII."""
    words = text.encode("ascii", "backslashreplace").decode().split()
    lines, line = [], ""
    for word in words:
        if line and len(line) + len(word) > _WIDTH:
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join([*lines, line]).strip()
