"""A mail in the outbox, as the entries of its folder say it. Pure: the clock is an argument.

State is in the header of the anchor, where its user sees it (docs: formats/outbox)::

    status        absent or `queued`, `sending`, `deferred`, `held`, `failed`
    queued        when it was first seen
    attempts      how often it was tried
    next-attempt  not before
    reason        what was said last
    sending       the sender that has it, and the number of the job
    settled       recipients that are not tried again: they have it, or, in brackets, never will
    send-after    not before; the user's own
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Final

import attrs

from mdirclient.errors import PartURLError
from mdirclient.header import MAX_BYTES, MAX_FIELDS, Header
from mdirclient.smtp.followed import Live
from mdirclient.url import PartURL, canonical_url

QUEUED, SENDING, DEFERRED, HELD, FAILED = "queued", "sending", "deferred", "held", "failed"
#: What a mail that was sent has for its rules.
SENT: Final = "sent"
#: Fields of the state, in the order in which they are written.
STATE: Final = (
    "status", "queued", "attempts", "next-attempt", "reason", "sending", "settled",
)  # fmt: skip
_MAX_REASON: Final = 500
#: Bytes that the state may take: with 1,000 recipients `settled` is as long as their addresses.
_ROOM: Final = 300 << 10
_FILE: Final = "@file.invalid"
_NUMBER = re.compile(r"[0-9]{1,9}")


@attrs.frozen
class Retries:
    """When a mail is tried again.

    Attributes:
        first: seconds after the first failure; twice as long after each further one.
        most: seconds between two tries, at most.
        give_up: seconds after which it has failed (RFC 5321 §4.5.4.1: 4 to 5 days at least).
    """

    first: float = 300.0
    most: float = 4 * 3600.0
    give_up: float = 5 * 86_400.0

    def after(self, attempts: int) -> float:
        """Seconds to wait after so many attempts."""
        return min(self.most, self.first * 2.0 ** min(attempts - 1, 60))


@attrs.frozen
class Item:
    """One mail, or what is there of it.

    Attributes:
        address: name of the folder: whose mail it is.
        anchor: url of part 1, or of part 0.
        entries: those that refer to the anchor, the anchor first if it is there.
        count: how many these are; there may be more than in `entries`, if only the anchor was
            asked for.
    """

    address: str
    anchor: str
    entries: tuple[Live, ...]
    count: int

    @property
    def head(self) -> Live | None:
        """The anchor, or None while it is not there."""
        first = self.entries[0]
        return first if url_of(first.header) == self.anchor else None

    @property
    def header(self) -> Header:
        """That of the anchor; that of any part while it is not there."""
        return self.entries[0].header

    @property
    def is_complete(self) -> bool:
        """Whether all parts are there."""
        given = self.header.get("parts") or "1"
        is_whole = self.anchor.endswith("/0") or not _NUMBER.fullmatch(given)
        return self.head is not None and (is_whole or self.count >= int(given))

    @property
    def has_room(self) -> bool:
        """Whether the header of the anchor can take the state."""
        is_short = sum(len(name) + 6 * len(value) for name, value in self.header) < MAX_BYTES // 2
        return len(self.header) <= MAX_FIELDS - len(STATE) and (
            is_short or len(self.header.to_bytes()) <= MAX_BYTES - _ROOM
        )

    @property
    def is_composed(self) -> bool:
        """Whether a mail is made of the parts; else it is there as it is."""
        try:
            return PartURL.parse(self.anchor).message_id.endswith(_FILE)
        except PartURLError:
            return False

    @property
    def status(self) -> str:
        """What becomes of it; what another part says does not count."""
        return (self.head and self.head.header.get("status")) or QUEUED

    @property
    def attempts(self) -> int:
        """How often it was tried."""
        given = self.header.get("attempts") or ""
        return int(given) if _NUMBER.fullmatch(given) else 0

    @property
    def has_odd_time(self) -> bool:
        """Whether its user said a time that cannot be read: it waits until that is mended."""
        given = self.header.get("send-after")
        return bool(given) and read_time(given) is None

    @property
    def job(self) -> tuple[str, str]:
        """Which sender has it, and the number of its job; empty if none has."""
        sender, _, job = (self.header.get("sending") or "").partition(" ")
        return sender, job

    @property
    def settled(self) -> frozenset[str]:
        """Recipients that are not tried again."""
        return self.taken | self.refused

    @property
    def taken(self) -> frozenset[str]:
        """Of these, that have it."""
        words = (self.header.get("settled") or "").split()
        return frozenset(_unpacked(word) for word in words if word[0] != "(")

    @property
    def refused(self) -> frozenset[str]:
        """Of these, that never will."""
        words = (self.header.get("settled") or "").split()
        return frozenset(_unpacked(word.strip("()")) for word in words if word[0] == "(")

    def queued(self, now: datetime) -> datetime:
        """When it was first seen."""
        return read_time(self.header.get("queued")) or now

    def due(self, now: datetime) -> datetime | None:
        """When it may be tried; None: never, as it is."""
        if not (self.is_complete and self.has_room) or self.status in (HELD, FAILED, SENDING, SENT):
            return None
        if self.has_odd_time:
            return None
        times = [read_time(self.header.get(name)) for name in ("next-attempt", "send-after")]
        return max([now, *(one for one in times if one)])


def items_of(address: str, entries: Iterable[Live]) -> dict[str, Item]:
    """The mails of a folder, by anchor."""
    found: dict[str, list[Live]] = {}
    for live in entries:
        if anchor := anchor_of(live.header):
            found.setdefault(anchor, []).append(live)
    return {anchor: make_item(address, anchor, lives) for anchor, lives in found.items()}


def make_item(address: str, anchor: str, entries: Iterable[Live]) -> Item:
    """A mail of its entries."""
    ordered = sorted(entries, key=lambda live: _place(live.header, anchor))
    return Item(address, anchor, tuple(ordered), len(ordered))


def anchor_of(header: Header) -> str | None:
    """The anchor that an entry refers to, canonical; None: it is no part of a mail."""
    return _canonical(header.get("anchor") or header.get("url"))


def url_of(header: Header) -> str | None:
    """The url of an entry, canonical."""
    return _canonical(header.get("url"))


def _canonical(url: str | None) -> str | None:
    try:
        return canonical_url(url or "")
    except PartURLError:
        return None


def _place(header: Header, anchor: str) -> tuple[bool, int]:
    given = header.get("part") or ""
    return url_of(header) != anchor, int(given) if _NUMBER.fullmatch(given) else 1 << 30


# -- state


def with_state(header: Header, state: Mapping[str, str | None]) -> Header:
    """A header with other fields of the state; those that are not named stay."""
    for name in STATE:
        if name in state:
            value = state[name]
            header = header.replace(name, *([] if value is None else [value]))
    return header


def write_settled(taken: Iterable[str], refused: Iterable[str]) -> str:
    """The field `settled`: words, so blanks of quoted local parts are written as `%20`."""
    words = [*map(_packed, sorted(taken)), *(f"({_packed(one)})" for one in sorted(refused))]
    return " ".join(words)


def _packed(address: str) -> str:
    if not address.startswith('"'):
        return address
    return address.replace("%", "%25").replace(" ", "%20")


def _unpacked(word: str) -> str:
    return word.replace("%20", " ").replace("%25", "%") if word.startswith('"') else word


def shown_reason(text: str) -> str:
    """A reason as a field holds it: one line of some length."""
    shown = "".join(char if char.isprintable() else " " for char in " ".join(text.split()))
    return shown[:_MAX_REASON]


def write_time(moment: datetime) -> str:
    """A time as a field: `2026-11-27T06:00:00Z`. Source: RFC 3339."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read_time(text: str | None) -> datetime | None:
    """A time of a field, in the form of RFC 3339 or RFC 5322; None: it is none."""
    if not text:
        return None
    for read in (datetime.fromisoformat, parsedate_to_datetime):
        try:
            found = read(text.strip())
            return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def later(moment: datetime, seconds: float) -> datetime:
    """A time so many seconds after another, or the last one that there is."""
    try:
        return moment + timedelta(seconds=seconds)
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)
