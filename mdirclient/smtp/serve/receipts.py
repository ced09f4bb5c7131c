"""Users are told that a mail was delivered, if they wanted to know (RFC 3461 §4.1)."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs

from mdirclient.mail.stored import StoredMessage
from mdirclient.smtp.engine import NULL_PATH
from mdirclient.smtp.outbox.report import DELIVERED, MAX_RETURNED, Notice, compose_report
from mdirclient.smtp.wishes import SUCCESS, is_wanted

if TYPE_CHECKING:
    from mdirclient.header import Header
    from mdirclient.interfaces import AsyncMdird
    from mdirclient.smtp.serve.commit import Mail


async def send_receipt(mdird: AsyncMdird, mail: Mail, folder: str, address: str, host: str) -> None:
    """File a notification of the recipients of a mail that wanted one.

    Args:
        mdird: where it goes.
        mail: that was delivered.
        folder: of the sender's account.
        address: of the sender.
        host: name of this one.

    Raises:
        MdirError, OSError: it cannot be filed now.
    """
    headers = await asyncio.to_thread(_made, mdird, mail, address, host)
    async with mdird.batch() as batch:
        for header in headers:
            await batch.classify(folder, header)


def wanted(mail: Mail) -> tuple[str, ...]:
    """The recipients of a mail of whose delivery its sender wants to be told."""
    note = mail.note
    if note.engine.user is None or note.reverse_path == str(NULL_PATH):
        return ()
    paths = (str(path) for path, _ in note.recipients)
    return tuple(path for path in paths if is_wanted(note.wishes.get(path, ()), SUCCESS))


def _made(mdird: AsyncMdird, mail: Mail, address: str, host: str) -> tuple[Header, ...]:
    assert isinstance(mail.stored, StoredMessage)
    subject = next((value for name, value in mail.stored.mail.fields if name == "subject"), "")
    notice = Notice(
        address=address,
        subject=subject,
        recipients=wanted(mail),
        status="2.0.0",
        reason="",
        queued=datetime.fromtimestamp(mail.note.at, UTC),
        attempts=1,
        key=f"{mail.stored.anchor} {mail.note.at}",
        what_now="",
        action=DELIVERED,
        wishes=mail.options,
        recipient_wishes=mail.note.wishes,
    )
    with mdird.store.open(attrs.evolve(mail.stored.anchor, part=0)) as file:
        original = file.read(MAX_RETURNED + 1)
    now = datetime.now(UTC)
    stored = mdird.store.add(compose_report(notice, original, host=host, now=now))
    return stored.headers(type="delivery-status", envelope_from="<>", envelope_to=address)
