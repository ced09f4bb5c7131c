"""A new database gets what the mdir still has of the mails that came by SMTP.

Reads the accounts' folders: what rules filed elsewhere, what was refused, and who was greylisted or
blocked is not known any more.
"""

from __future__ import annotations

import asyncio
import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from mdirclient.header import Header
from mdirclient.smtp.state import ACCEPTED, Record

if TYPE_CHECKING:
    from mdirclient.interfaces import AsyncMdird
    from mdirclient.smtp.state import State

#: Records that are kept together.
_TOGETHER: Final = 100
#: Digits of the largest size that is believed.
_MAX_DIGITS: Final = 12
#: How a mail came (RFC 3848).
_PROTOCOL: Final = re.compile(r"\bwith ([A-Z0-9]{1,20})\b")


async def rebuild(
    mdird: AsyncMdird, accounts: str, state: State, since: float, before: float
) -> int:
    """Record the mails that are in the accounts; how many entries.

    It can be begun again: what is known is not recorded twice.

    Args:
        mdird: where they are.
        accounts: the folder with a folder for each account.
        state: where they are recorded.
        since, before: seconds since 1970 between which mails came that are recorded.

    Raises:
        MdirError, OSError: it cannot be read, or written, now.
    """
    count, records = 0, list[Record]()
    names = [
        header["name"]
        async for header in mdird.lookup(accounts, Header([("type", "dir")]))
        if "@" in (header.get("name") or "")
    ]
    for name in names:
        async for header in mdird.lookup(f"{accounts}/{name}", Header([("part", "1")])):
            record = record_of(header, name)
            if record and since <= record.at < before:
                records.append(record)
                count += 1
            if len(records) >= _TOGETHER:
                await asyncio.to_thread(state.merge, records)
                records = []
    await asyncio.to_thread(state.merge, records)
    return count


def record_of(header: Header, account: str) -> Record | None:
    """The record of a mail in an account; None: it did not come by SMTP, or nobody knows when."""
    client, received = header.get("client-address"), header.get("received") or ""
    try:
        found = parsedate_to_datetime(received.rpartition(";")[2].strip())
        # `-0000` is UTC, of a host that does not say where it is (RFC 5322 §3.3).
        at = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    size = header.get("message-size") or "0"
    if client is None or not size.isdecimal() or len(size) > _MAX_DIGITS:
        return None
    protocol = _PROTOCOL.search(received[:2_000])
    has_user = protocol is not None and protocol[1].endswith("A")
    sender = header.get("envelope-from") or "<>"
    return Record(
        at=at,
        listener="smtp",
        client=client,
        helo=header.get("helo") or "",
        protocol=protocol[1] if protocol else "",
        user=sender if has_user else "",
        reverse_path=sender,
        recipients=header.get_all("envelope-to"),
        refused=(),
        size=int(size),
        verdict=ACCEPTED,
        reply="250 2.0.0",
        anchor=header.get("anchor") or "",
        accounts=(account,),
    )
