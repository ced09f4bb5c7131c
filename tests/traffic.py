"""A scripted month of mail with known truth: records, events and votes, as a server makes them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import pytest

from mdirclient.smtp.spam.votes import Vote, Votes
from mdirclient.smtp.state import Record, State
from mdirclient.smtp.statistics import totals
from mdirclient.smtp.statistics.totals import DAY

MONTH = datetime(2026, 10, 1, tzinfo=UTC).timestamp()
DAYS = 31
ACCOUNTS = tuple(f"user{number}@ours.test" for number in range(8))
_NUMBERS: Final = (
    "mails", "bytes", "sent", "sent_bytes", "refused", "stored", "spam", "spam_unknown", "delayed",
    "returned",
)  # fmt: skip
_LISTS: Final = (
    "verdicts", "received", "senders", "reporters", "sites", "destinations", "reasons",
)  # fmt: skip
_CODES = {"unknown": "550 5.1.1", "greylisted": "450 4.2.0", "blocked": "450 4.7.0",
          "deferred": "451 4.3.0", "refused": "550 5.7.1"}  # fmt: skip


@attrs.define
class Truth:
    """What the reports must say, counted another way than they do."""

    mails: int = 0
    bytes: int = 0
    sent: int = 0
    sent_bytes: int = 0
    refused: int = 0
    stored: int = 0
    spam: int = 0
    spam_unknown: int = 0
    site_bytes: int = 0
    seconds: tuple[float, ...] = ()
    delayed: int = 0
    returned: int = 0
    verdicts: Counter[str] = attrs.field(factory=Counter)
    hours: Counter[tuple[int, bool]] = attrs.field(factory=Counter)
    received: Counter[str] = attrs.field(factory=Counter)
    senders: Counter[str] = attrs.field(factory=Counter)
    reporters: Counter[str] = attrs.field(factory=Counter)
    networks: Counter[tuple[str, str]] = attrs.field(factory=Counter)
    sites: Counter[str] = attrs.field(factory=Counter)
    destinations: Counter[str] = attrs.field(factory=Counter)
    reasons: Counter[str] = attrs.field(factory=Counter)


def record(source: random.Random, at: float, number: int) -> Record:
    """One transaction."""
    kind = source.choices(["accepted", "sent", *_CODES, "abandoned"], [50, 12, 12, 15, 5, 2, 3, 1])[
        0
    ]
    client = f"192.0.{source.randrange(40)}.{source.randrange(1, 255)}"
    domain = f"site{min(source.randrange(80), source.randrange(80))}.test"
    accounts = tuple(source.sample(ACCOUNTS, source.choice([1, 1, 1, 2])))
    usual = Record(
        at=at, listener="smtp", client=client, helo="x", protocol="ESMTP", user="",
        reverse_path=f"a{number}@{domain}", recipients=accounts, refused=(),
        size=source.randrange(500, 50_000), verdict="accepted", reply="250 2.0.0",
        anchor=f"mdir:{number}@{domain}/1", accounts=accounts, seconds=source.random() / 10,
    )  # fmt: skip
    if kind == "accepted":
        return usual
    if kind == "sent":
        user = source.choice(ACCOUNTS)
        to = (f"x@{domain}", f"y@{domain}")  # it counts once
        return attrs.evolve(
            usual, listener="submission", user=user, reverse_path=user, recipients=to,
            accounts=(), foreign=to,
        )  # fmt: skip
    reply = _CODES.get(kind, "")
    return attrs.evolve(
        usual, recipients=(), accounts=(), size=0, verdict=kind, reply=reply, anchor="",
        reasons=(reply,) if reply else (), refused=(f"{reply[:3]} x@ours.test",) if reply else (),
    )  # fmt: skip


def month(count: int, seed: int = 1) -> Iterator[Record]:
    """So many transactions of a month, in the order of their time."""
    source = random.Random(seed)
    times = sorted(MONTH + source.random() * DAYS * DAY for _ in range(count))
    for number, at in enumerate(times):
        yield record(source, at, number)


def play(state: State, votes: Votes, records: list[Record], truths: dict[int, Truth]) -> None:
    """Keep some records as a server does, with the events and votes that come of them."""
    source = random.Random(len(records))
    events = []
    for one in records:
        truth = truths.setdefault(int(one.at - MONTH) // DAY, Truth())
        note(truth, one)
        if one.verdict == "greylisted":
            truth.delayed += 1
            events.append(totals.event(one.at, totals.GREYLISTING, totals.DELAYED))
        elif one.verdict == "accepted" and not one.user and source.random() < 0.2:
            truth.returned += 1
            events.append(totals.event(one.at, totals.GREYLISTING, totals.RETURNED))
    state.add(records, events)
    for one in records:
        if one.accounts and source.random() < 0.1:
            vote = votes.add(one.accounts[0], one.anchor, one.at + 1, lambda _: True)
            if source.random() < 0.2:
                votes.undo(vote.account, vote.anchor)  # they moved it back
            else:
                mark(truths.setdefault(int(one.at + 1 - MONTH) // DAY, Truth()), vote)


def note(truth: Truth, one: Record) -> None:
    """Count a record."""
    is_accepted = one.verdict == "accepted"
    truth.verdicts[one.verdict] += 1
    truth.hours[datetime.fromtimestamp(one.at, UTC).hour, is_accepted] += 1
    truth.reasons.update(one.reasons)
    if is_accepted:
        truth.seconds += (one.seconds,)
    truth.stored += one.size  # each content is another one
    if one.user:
        truth.sent += 1
        truth.sent_bytes += one.size
        truth.senders[one.user] += 1
        truth.destinations[one.foreign[0].partition("@")[2]] += 1
        return
    truth.refused += not is_accepted
    network = one.client.rpartition(".")[0] + ".0/24"
    truth.networks[network, "accepted" if is_accepted else "refused"] += 1
    if is_accepted:
        truth.mails += 1
        truth.bytes += one.size
        truth.received.update(one.accounts)
        truth.sites[one.reverse_path.partition("@")[2]] += 1
        truth.site_bytes += one.size


def mark(truth: Truth, vote: Vote) -> None:
    """Count a vote."""
    truth.spam += 1
    truth.reporters[vote.account] += 1
    truth.networks[vote.client.rpartition(".")[0] + ".0/24", "spam"] += 1


def whole(truths: dict[int, Truth]) -> Truth:
    """All days together."""
    total = Truth()
    for truth in truths.values():
        for field in attrs.fields(Truth):
            value = getattr(truth, field.name)
            setattr(total, field.name, getattr(total, field.name) + value)
    return total


def compare(truth: Truth, found: dict[str, Any]) -> None:
    """Every figure of a report, as JSON has it."""
    for name in _NUMBERS:
        assert (name, getattr(truth, name)) == (name, found[name])
    assert max(0, truth.delayed - truth.returned) == found["never_returned"]
    for name in _LISTS:
        _compare_rows(getattr(truth, name), _counts(found[name], "name", "mails"))
    for name, size in (("sites", truth.site_bytes), ("senders", truth.sent_bytes)):
        assert (name, size) == (name, sum(row["bytes"] for row in found[name]))
    _compare_answers(truth.seconds, found["answered"])
    hours = Counter[tuple[int, bool]]()
    for hour in found["hours"]:
        hours[hour["hour"], True], hours[hour["hour"], False] = hour["accepted"], hour["refused"]
    assert +truth.hours == +hours
    bad = truth.refused + truth.spam - truth.spam_unknown
    for kind in ("accepted", "refused", "spam"):
        _compare_networks(truth, kind, _counts(found["sources"], "network", kind))
    for source in found["sources"]:
        assert source["share"] == pytest.approx((source["refused"] + source["spam"]) / bad)


def compare_days(truths: dict[int, Truth], found: dict[str, Any]) -> None:
    """What a report of some days says of each."""
    days = {
        int(datetime.fromisoformat(f"{one['day']}T00:00Z").timestamp()): one
        for one in found["days"]
    }
    for number, truth in truths.items():
        one = days[int(MONTH) + number * DAY]
        counts = truth.mails + truth.sent, truth.refused, truth.stored
        assert counts == (one["accepted"], one["refused"], one["stored"])
    assert len(truths) == len(days)


def _counts(rows: list[dict[str, Any]], name: str, count: str) -> Counter[str]:
    return +Counter({row[name]: row[count] for row in rows})


def _compare_networks(truth: Truth, kind: str, found: Counter[str]) -> None:
    counts = Counter({name: n for (name, one), n in truth.networks.items() if one == kind})
    _compare_rows(counts, found)


def _compare_answers(seconds: tuple[float, ...], found: dict[str, int]) -> None:
    """Each is the power of two of milliseconds that its share of the answers is within."""
    for name, share in (("p50_ms", 0.5), ("p99_ms", 0.99)) if seconds else ():
        limit = found[name]
        within = sum(one * 1_000 < limit for one in seconds) / len(seconds)
        below = sum(one * 1_000 < limit / 2 for one in seconds) / len(seconds)
        assert below < share <= within, (name, limit)


def _compare_rows(counts: Counter[str], found: Counter[str]) -> None:
    """Those that are named are what they did; the others together did the rest."""
    others = found.pop("", 0)
    assert found == Counter({name: counts[name] for name in found})
    assert others == counts.total() - found.total()
