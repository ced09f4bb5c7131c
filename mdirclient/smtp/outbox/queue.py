"""The queue for people: what is in the outbox, and what they want of it.

Reads and writes the mdir.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mdirclient.errors import ConflictReplyError, NotFoundReplyError, UnknownURLError
from mdirclient.header import Header
from mdirclient.patch import Now, Patch
from mdirclient.smtp.accounts import Places
from mdirclient.smtp.followed import Live
from mdirclient.smtp.outbox import item as items
from mdirclient.smtp.outbox.item import Item
from mdirclient.url import PartURL

if TYPE_CHECKING:
    from mdirclient.interfaces import Mdird

_TRIES = 5


def list_queue(mdird: Mdird, places: Places) -> Iterator[Item]:
    """The mails in the outbox, of one address after the other, as they were put."""
    with contextlib.suppress(NotFoundReplyError):
        for folder in mdird.lookup(places.outbox, Header([("type", "dir")])):
            name = folder.get("name") or ""
            if "@" in name:
                yield from items.items_of(name, _live(mdird, f"{places.outbox}/{name}")).values()


def retry(mdird: Mdird, places: Places, url: str) -> Item:
    """Let a mail be tried at once, also one that is held or has failed; the mail.

    Raises:
        UnknownURLError: it is not in the outbox.
        ConflictReplyError: it is being sent, or was.
    """
    now = items.write_time(datetime.now(UTC))
    state = {"status": items.QUEUED, "next-attempt": None, "queued": now, "attempts": "0"}
    return _change(mdird, places, url, state)


def hold(mdird: Mdird, places: Places, url: str) -> Item:
    """Let a mail wait until `retry`; the mail.

    Raises:
        UnknownURLError: it is not in the outbox.
        ConflictReplyError: it is being sent.
    """
    return _change(mdird, places, url, {"status": items.HELD, "next-attempt": None})


def described(item: Item, now: datetime) -> dict[str, Any]:
    """A mail of the queue for scripts."""
    header = item.header
    due = item.due(now)
    return {
        "url": item.anchor,
        "address": item.address,
        "status": _status(item),
        "subject": header.get("subject"),
        "recipients": [
            value for name in ("envelope-to", "to", "cc", "bcc") for value in header.get_all(name)
        ],
        "parts": item.count,
        "size": sum(int(size) for live in item.entries if (size := _size(live.header))),
        "queued": header.get("queued"),
        "attempts": item.attempts,
        "next-attempt": items.write_time(due) if due and due > now else None,
        "reason": header.get("reason"),
    }


def _status(item: Item) -> str:
    if not item.is_complete:
        return "incomplete"
    if item.has_odd_time and item.status in (items.QUEUED, items.DEFERRED):
        return "no time"
    return item.status if item.has_room else "too large"


def _size(header: Header) -> str | None:
    given = header.get("size") or ""
    return given if given.isascii() and given.isdigit() and len(given) < 20 else None


def _live(mdird: Mdird, folder: str) -> list[Live]:
    """The entries of a folder that may be parts of mails, with their versions."""
    subscription = mdird.subscribe(folder, timeout=0)
    lives = []
    for event in subscription:
        if isinstance(event, Patch) and event.action == "+" and "type" not in event.header:
            lives.append(Live(event.header, event.new_version))
        if isinstance(event, Now):
            break
    subscription.close()
    return lives


def _change(mdird: Mdird, places: Places, url: str, state: dict[str, str | None]) -> Item:
    wanted = str(PartURL.parse(url))
    for left in range(_TRIES, 0, -1):
        found = [
            item
            for item in list_queue(mdird, places)
            if wanted in (item.anchor, *(items.url_of(live.header) for live in item.entries))
        ]
        if not found or not found[0].head:
            raise UnknownURLError(places.outbox, url)
        item = found[0]
        assert item.head
        if item.status == items.SENDING:
            raise ConflictReplyError(409, f"{item.anchor} is being sent now")
        if item.status == items.SENT:
            raise ConflictReplyError(409, f"{item.anchor} was sent; put it there anew to repeat it")
        try:
            header = items.with_state(item.head.header, state)
            mdird.set(f"{places.outbox}/{item.address}", header, base=item.head.version)
        except ConflictReplyError:
            if left == 1:
                raise
            continue
        break
    return item
