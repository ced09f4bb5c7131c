"""The figures of a report, from totals and votes. Pure."""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import attrs

from mdirclient.smtp.spam.votes import Vote
from mdirclient.smtp.state import ACCEPTED, GREYLISTED
from mdirclient.smtp.statistics import totals as kinds
from mdirclient.smtp.statistics.totals import DAY, Total, source

#: Rows of each list that have a name; what is beyond is one more, without.
MAX_ROWS: Final = 50
_FIELDS: Final = (
    "server", "period", "from", "until", "mails", "bytes", "sent", "refused", "stored", "spam",
)  # fmt: skip


@attrs.frozen
class Period:
    """Some days.

    Attributes:
        kind: `day`, `month`, or `range`.
        since: the first day (UTC).
        until: the day after the last one.
    """

    kind: str
    since: date
    until: date

    @property
    def name(self) -> str:
        """Such as `2026-11-27`, `2026-11`, or `2026-11-01..2026-11-08` (its last day)."""
        if self.kind == "day":
            return self.since.isoformat()
        return f"{self.since:%Y-%m}" if self.kind == "month" else f"{self.since}..{self.last}"

    @property
    def last(self) -> date:
        """The last day."""
        return self.until - timedelta(days=1)

    @property
    def days(self) -> tuple[int, int]:
        """The first day and the one after the last, counted from 1970-01-01."""
        return self.since.toordinal() - _EPOCH, self.until.toordinal() - _EPOCH

    @property
    def seconds(self) -> tuple[int, int]:
        """When it begins and when it ends, since 1970."""
        first, end = self.days
        return first * DAY, end * DAY


_EPOCH: Final = date(1970, 1, 1).toordinal()


def day_of(day: date) -> Period:
    """One day."""
    return Period("day", day, day + timedelta(days=1))


def month_of(day: date) -> Period:
    """The month of a day."""
    first = day.replace(day=1)
    return Period("month", first, (first + timedelta(days=31)).replace(day=1))


def date_of(at: float) -> date:
    """The day of a time, in UTC."""
    return datetime.fromtimestamp(at, UTC).date()


@attrs.frozen
class Row:
    """One line of a list.

    Attributes:
        name: of it; empty for the rest.
        mails: how many.
        bytes: of these.
    """

    name: str
    mails: int
    bytes: int = 0


@attrs.frozen
class Source:
    """A network that brought mail, or tried to.

    Attributes:
        network: /24 of IPv4, /48 of IPv6; empty for the rest.
        owner: of it; the network itself where that is not known; empty for the rest.
        accepted, refused: mails that were taken, and that were not.
        spam: of the accepted ones, that users called spam.
        share: of all that was refused or called spam in the period, 0 to 1.
    """

    network: str
    owner: str
    accepted: int
    refused: int
    spam: int
    share: float = 0.0

    @property
    def bad(self) -> int:
        """What nobody wanted."""
        return self.refused + self.spam


@attrs.frozen
class Hour:
    """An hour of the day (UTC), of all days of the period together."""

    hour: int
    accepted: int
    refused: int


@attrs.frozen
class Day:
    """A day (UTC) on which something happened.

    Attributes:
        day: such as `2026-11-27`.
        accepted, refused: mails.
        stored: bytes of contents that were new in the store.
    """

    day: str
    accepted: int
    refused: int
    stored: int


@attrs.frozen
class Figures:
    """A report.

    Attributes:
        server: name of the host.
        period: which days.
        mails: that were accepted from others.
        bytes: of these.
        sent: mails that users sent.
        sent_bytes: of these.
        refused: mails that were not taken, for good or for now.
        stored: bytes of contents that were new in the store: what came twice counts once.
        spam: mails that users called spam.
        spam_unknown: of these, that nothing is recorded of: that did not come to the account by
            SMTP, or too long ago.
        verdicts: of all mails.
        hours: 24.
        days: on which something happened.
        received, senders, reporters: by account, by user, and whose votes.
        sources, owners: networks and their owners, the worst first.
        sites, destinations: domains that mail came from, and went to.
        reasons: codes with which recipients or mails were not taken.
        delayed: senders that greylisting told to come again.
        returned: that came again.
        never_returned: the difference, at least 0: who came late may still come, and who came
            again may have come for the first time before the period.
        answered: milliseconds within which one half of the answers were given, and 99 %.
        owner_source: where owners are from.
    """

    server: str
    period: Period
    mails: int
    bytes: int
    sent: int
    sent_bytes: int
    refused: int
    stored: int
    spam: int
    spam_unknown: int
    verdicts: tuple[Row, ...]
    hours: tuple[Hour, ...]
    days: tuple[Day, ...]
    received: tuple[Row, ...]
    senders: tuple[Row, ...]
    reporters: tuple[Row, ...]
    sources: tuple[Source, ...]
    owners: tuple[Source, ...]
    sites: tuple[Row, ...]
    destinations: tuple[Row, ...]
    reasons: tuple[Row, ...]
    delayed: int
    returned: int
    never_returned: int
    answered: tuple[int, int]
    owner_source: str


def figures_of(
    found: Iterable[Total],
    votes: Sequence[Vote],
    *,
    server: str,
    period: Period,
    owner: Callable[[str], str],
    owner_source: str,
    hide: Callable[[str], str] = lambda name: name,
) -> Figures:
    """Put a report together.

    Args:
        found: the totals of the period.
        votes: what users called spam in it.
        server: name of the host.
        period: which days.
        owner: of a network.
        owner_source: where owners are from.
        hide: what is shown of an address or a network.
    """
    by_kind: dict[str, list[Total]] = {}
    for total in found:
        by_kind.setdefault(total.kind, []).append(total)

    def hide_site(domain: str) -> str:
        """Domains are shown; an address in place of one (RFC 5321 §4.1.3) is hidden."""
        literal = domain.strip("[]").removeprefix("ipv6:")
        return hide(literal) if domain[:1] == "[" or _is_address(literal) else domain

    all_mails = by_kind.get(kinds.HOUR, [])
    sent = [one for one in by_kind.get(kinds.SENT, []) if one.verdict == ACCEPTED]
    accepted = [one for one in all_mails if one.verdict == ACCEPTED]
    sent_count, sent_bytes = _sum(sent)
    mails, size = _sum(accepted)
    sources = _sources(by_kind.get(kinds.SOURCE, []), votes, owner, hide)
    events = Counter[str]()
    for total in by_kind.get(kinds.GREYLISTING, []):
        events[total.name] += total.mails
    delayed, returned = events[kinds.DELAYED], events[kinds.RETURNED]
    return Figures(
        server=server,
        period=period,
        mails=mails - sent_count,
        bytes=size - sent_bytes,
        sent=sent_count,
        sent_bytes=sent_bytes,
        refused=_sum(all_mails)[0] - mails,
        stored=_sum(by_kind.get(kinds.STORED, []))[1],
        spam=len(votes),
        spam_unknown=sum(not vote.is_known for vote in votes),
        verdicts=_rows(all_mails, key=lambda one: one.verdict),
        hours=_hours(all_mails),
        days=_days(all_mails, by_kind.get(kinds.STORED, [])),
        received=_rows(_accepted(by_kind, kinds.RECEIVED), hide),
        senders=_rows(sent, hide),
        reporters=_counted(hide(vote.account) for vote in votes),
        sources=worst(_joined(sources, lambda one: one.network and hide(one.network))),
        owners=worst(_joined(sources, lambda one: one.owner)),
        sites=_rows(_accepted(by_kind, kinds.SITE), hide_site),
        destinations=_rows(_accepted(by_kind, kinds.DESTINATION), hide_site),
        reasons=_rows(by_kind.get(kinds.REASON, [])),
        delayed=delayed,
        returned=returned,
        never_returned=max(0, delayed - returned),
        answered=_answered(by_kind.get(kinds.LATENCY, [])),
        owner_source=owner_source,
    )


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def as_json(figures: Figures) -> dict[str, Any]:
    """The same for JSON (docs: formats/statistics)."""
    found = attrs.asdict(figures)
    period = figures.period
    found["period"] = period.kind
    found["name"] = period.name
    found["from"], found["until"] = period.since.isoformat(), period.until.isoformat()
    found["time_zone"] = "UTC"
    found["answered"] = dict(zip(("p50_ms", "p99_ms"), figures.answered, strict=True))
    return found


def _accepted(by_kind: dict[str, list[Total]], kind: str) -> list[Total]:
    return [one for one in by_kind.get(kind, []) if one.verdict == ACCEPTED]


def _sum(totals: Iterable[Total]) -> tuple[int, int]:
    counts = [(one.mails, one.bytes) for one in totals]
    return sum(mails for mails, _ in counts), sum(size for _, size in counts)


def _rows(
    totals: Iterable[Total],
    hide: Callable[[str], str] = lambda name: name,
    key: Callable[[Total], str] = lambda one: one.name,
) -> tuple[Row, ...]:
    """By name, as it is shown: those that look alike are one."""
    mails, sizes = Counter[str](), Counter[str]()
    for total in totals:
        name = hide(key(total)) if key(total) else ""
        mails[name] += total.mails
        sizes[name] += total.bytes
    return first([Row(name, count, sizes[name]) for name, count in mails.items()])


def _counted(names: Iterable[str]) -> tuple[Row, ...]:
    return first([Row(name, count) for name, count in Counter(names).items()])


def first(rows: Iterable[Row], most: int = MAX_ROWS) -> tuple[Row, ...]:
    """The most frequent first; the rest, and what has no name already, is one without."""
    named = sorted(rows, key=lambda row: (not row.name, -row.mails, row.name))
    count = min(most, sum(bool(row.name) for row in named))
    rest = named[count:]
    others = Row(kinds.OTHERS, sum(row.mails for row in rest), sum(row.bytes for row in rest))
    return (*named[:count], *([others] if rest else []))


def _hours(totals: Iterable[Total]) -> tuple[Hour, ...]:
    counts = Counter[tuple[int, bool]]()
    for total in totals:
        if total.name:
            counts[int(total.name), total.verdict == ACCEPTED] += total.mails
    return tuple(Hour(hour, counts[hour, True], counts[hour, False]) for hour in range(24))


def _days(mails: Iterable[Total], stored: Iterable[Total]) -> tuple[Day, ...]:
    counts = Counter[tuple[int, bool]]()
    for total in mails:
        counts[total.day, total.verdict == ACCEPTED] += total.mails
    sizes = Counter[int]()
    for total in stored:
        sizes[total.day] += total.bytes
    days = sorted({day for day, _ in counts} | sizes.keys())
    return tuple(
        Day(date_of(day * DAY).isoformat(), counts[day, True], counts[day, False], sizes[day])
        for day in days
    )


def _sources(
    totals: Iterable[Total],
    votes: Iterable[Vote],
    owner: Callable[[str], str],
    hide: Callable[[str], str],
) -> list[Source]:
    """By network, as it is; where its owner is not known that is what is shown of it."""

    def named(network: str) -> str:
        found = owner(network) if network else kinds.OTHERS
        return hide(network) if network and found == network else found

    accepted, refused = Counter[str](), Counter[str]()
    for total in totals:
        (accepted if total.verdict == ACCEPTED else refused)[total.name] += total.mails
    spam = Counter(source(vote.client) for vote in votes if vote.client)
    names = {*accepted, *refused, *spam}
    return [Source(name, named(name), accepted[name], refused[name], spam[name]) for name in names]


def _joined(sources: Iterable[Source], key: Callable[[Source], str]) -> list[Source]:
    """By what is shown of them, as their network: those that look alike are one."""
    found: dict[str, Source] = {}
    for one in sources:
        name = key(one)
        found[name] = _sum_of(name, [found[name], one] if name in found else [one])
    return list(found.values())


def _sum_of(name: str, sources: Sequence[Source]) -> Source:
    owners = {one.owner for one in sources}
    return Source(
        name,
        owners.pop() if len(owners) == 1 else name,  # it has several
        sum(one.accepted for one in sources),
        sum(one.refused for one in sources),
        sum(one.spam for one in sources),
    )


def worst(sources: Sequence[Source], most: int = MAX_ROWS) -> tuple[Source, ...]:
    """Those that brought most of what nobody wanted first; the rest is one without a name."""
    named = sorted(sources, key=lambda one: (not one.network, -one.bad, -one.accepted, one.network))
    count = min(most, sum(bool(one.network) for one in named))
    rest = [attrs.evolve(one, owner=kinds.OTHERS) for one in named[count:]]
    found = [*named[:count], *([_sum_of(kinds.OTHERS, rest)] if rest else [])]
    whole = sum(one.bad for one in found) or 1
    return tuple(attrs.evolve(one, share=one.bad / whole) for one in found)


def _answered(totals: Iterable[Total]) -> tuple[int, int]:
    """The buckets of half and of 99 % of the answers; 0 if there are none."""
    counts = sorted((int(one.name), one.mails) for one in totals if one.name)
    whole = sum(count for _, count in counts)
    found = []
    for share in (0.5, 0.99):
        passed, value = 0, 0
        for bucket, count in counts:
            value, passed = bucket, passed + count
            if passed >= share * whole:
                break
        found.append(value)
    return found[0], found[1]


def fields_of(found: dict[str, Any]) -> dict[str, str]:
    """The figures on which rules can file a report, of its JSON."""
    greylisted = sum(row["mails"] for row in found["verdicts"] if row["name"] == GREYLISTED)
    return {**{name: str(found[name]) for name in _FIELDS}, "greylisted": str(greylisted)}
