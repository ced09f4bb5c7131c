"""Delivery status notifications: what a mail's sender is told of its recipients. Pure.

Sources: RFC 3461 §6 (what a notification has), RFC 3464 (message/delivery-status), RFC 6522
(multipart/report), RFC 3834 §5 (Auto-Submitted).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from email.utils import format_datetime
from typing import Final

import attrs

from mdirclient.smtp.outbox.outcome import Refused
from mdirclient.smtp.wishes import Words, decode_xtext, value_of

#: Bytes of the original that are returned; of a larger one its header.
MAX_RETURNED: Final = 1 << 20
_WIDTH: Final = 72
FAILED, DELIVERED, RELAYED = "failed", "delivered", "relayed"
#: Action → subject, and what is said of the recipients that follow.
_SAID: Final = {
    FAILED: ("Not delivered", "could not be sent to:"),
    DELIVERED: ("Delivered", "was delivered to:"),
    RELAYED: ("Relayed", "was taken by a server that will not tell what becomes of it, for:"),
}


@attrs.frozen
class Notice:
    """What became of a mail for some recipients.

    Attributes:
        address: of the sender, who is told.
        subject: of the mail, in Unicode.
        recipients: whom it is about.
        status: enhanced status code, such as `5.1.1` (RFC 3463).
        reason: what was said, in Unicode on one line.
        queued: when it was given to be sent.
        attempts: how often it was tried.
        what_now: what its sender can do, as a sentence.
        each: what was said of single recipients, where that is known.
        action: `failed`, `delivered`, or `relayed` to a host that will tell nothing (RFC 3464
            §2.3.3).
        wishes: of what the sender wanted to be told, as parameters of MAIL (RFC 3461).
        recipient_wishes: the same of recipients, as parameters of RCPT.
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
    action: str = FAILED
    wishes: Words = ()
    recipient_wishes: Mapping[str, Words] = attrs.field(factory=dict)


def compose_report(notice: Notice, original: bytes, *, host: str, now: datetime) -> bytes:
    """The notification, as a whole mail with CRLF; 8 bits only if the original has them.

    Args:
        notice: what happened.
        original: the mail, or the beginning of it; empty if there is none.
        host: name of this one.
        now: of the notice.
    """
    digest = hashlib.sha256(f"{notice.key} {now.isoformat()}".encode()).hexdigest()[:32]
    boundary = f"=_{digest}"
    head = [
        f"From: Mail delivery <postmaster@{host}>",
        f"To: <{notice.address}>",
        f"Subject: {_SAID[notice.action][0]}",
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
        _part("text/plain; charset=utf-8", _explained(notice).encode(), "quoted-printable"),
        _part("message/delivery-status", _status(notice, host=host, now=now).encode(), "7bit"),
    ]
    is_short = notice.action != FAILED or value_of(notice.wishes, "RET") == "HDRS"
    parts += _returned(original, is_short=is_short)
    delimiter = f"\r\n--{boundary}".encode()
    body = b"".join(delimiter + b"\r\n" + part for part in parts)
    return "\r\n".join(head).encode() + b"\r\n" + body + delimiter + b"--\r\n"


def _explained(notice: Notice) -> str:
    named = f" ({notice.subject})" if notice.subject else ""
    said = {one.recipient: one for one in notice.each}
    lines = [
        f"Your mail{named} {_SAID[notice.action][1]}",
        "",
        *(_named(recipient, said.get(recipient)) for recipient in notice.recipients),
        "",
    ]
    if notice.action == FAILED:
        lines += [f"Reason: {notice.reason}", "", notice.what_now]
    lines.append(f"It was given to be sent on {format_datetime(notice.queued)}.")
    if notice.action == FAILED:
        lines.append(f"Attempts: {notice.attempts}.")
    lines.append("")
    return "\r\n".join(lines)


def _status(notice: Notice, *, host: str, now: datetime) -> str:
    said = {one.recipient: one for one in notice.each}
    envelope_id = value_of(notice.wishes, "ENVID")
    of_mail = [
        *([f"Original-Envelope-Id: {_ascii(decode_xtext(envelope_id))}"] if envelope_id else []),
        f"Reporting-MTA: dns; {host}",
        f"Arrival-Date: {format_datetime(notice.queued)}",
        "",
    ]
    of_recipients = [
        [
            *_original_recipient(notice.recipient_wishes.get(recipient, ())),
            f"Final-Recipient: rfc822; {recipient}",
            f"Action: {notice.action}",
            f"Status: {said[recipient].status if recipient in said else notice.status}",
            *([_diagnostic(notice, said.get(recipient))] if notice.action == FAILED else []),
            f"Last-Attempt-Date: {format_datetime(now)}",
            "",
        ]
        for recipient in notice.recipients or ("unknown",)
    ]
    lines: Sequence[str] = [*of_mail, *(line for lines in of_recipients for line in lines)]
    return "\r\n".join(lines)


def _named(recipient: str, said: Refused | None) -> str:
    return f"    {recipient}{f': {said.reason}' if said else ''}"


def _diagnostic(notice: Notice, said: Refused | None) -> str:
    return f"Diagnostic-Code: x-mdir; {_ascii(said.reason if said else notice.reason)}"


def _original_recipient(wishes: Words) -> list[str]:
    kind, found, address = (value_of(wishes, "ORCPT") or "").partition(";")
    return [f"Original-Recipient: {kind}; {_ascii(decode_xtext(address))}"] if found else []


def _returned(original: bytes, *, is_short: bool) -> list[bytes]:
    """The original, or its header if that is enough or it is large; nothing if there is none."""
    if not original:
        return []
    if len(original) <= MAX_RETURNED and not is_short:
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
