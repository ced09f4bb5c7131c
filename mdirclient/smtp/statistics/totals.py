"""Daily totals of what happened at SMTP time: counted with each record, in its transaction.

A row is a number of mails and bytes of one day (UTC), one kind, one name and one verdict. A mail
belongs to the day on which it was answered. Of each mail each kind counts as its names say; `hour`
counts each mail once, `stored` each content. The counting is pure; the table is in the SMTP
server's own database.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

import attrs

from mdirclient.smtp.book import normal_domain

if TYPE_CHECKING:
    from mdirclient.smtp.state import Record

DAY: Final = 86_400
#: Kinds: each mail by hour; by account or user; by network of the client; by domain of the reverse
#: path; of what leaves by domain; replies; greylisting; milliseconds to the answer; contents that
#: are new in the store.
HOUR, RECEIVED, SENT, SOURCE, SITE = "hour", "received", "sent", "source", "site"
DESTINATION, REASON, GREYLISTING, LATENCY = "destination", "reason", "greylisting", "latency"
STORED: Final = "stored"
DELAYED, RETURNED = "delayed", "returned"
#: Names of one kind and day that are kept: when the day is over, and until then. The rest is
#: `OTHERS`.
MAX_NAMES: Final = 1_000
MAX_NEW_NAMES: Final = 10_000
_MAX_COUNTS: Final = 100
#: Kinds whose names others choose.
_BOUNDED: Final = frozenset([RECEIVED, SENT, SOURCE, SITE, DESTINATION, REASON])
OTHERS: Final = ""
_PREFIXES: Final = {4: 24, 6: 48}
_MAX_NAME: Final = 300
TABLE: Final = """CREATE TABLE total (
    day INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    verdict TEXT NOT NULL,
    mails INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (day, kind, name, verdict)
) WITHOUT ROWID;
CREATE TABLE published (report TEXT PRIMARY KEY, at REAL NOT NULL, message BLOB) WITHOUT ROWID;
CREATE TABLE secret (id INTEGER PRIMARY KEY, value BLOB NOT NULL)"""
#: Of these kinds a report tells the days apart.
_BY_DAY: Final = (HOUR, STORED)
_ADD: Final = (
    "INSERT INTO total VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
    " mails = mails + excluded.mails, bytes = bytes + excluded.bytes"
)

Key = tuple[int, str, str, str]


@attrs.frozen
class Total:
    """A row; see the module."""

    day: int
    kind: str
    name: str
    verdict: str
    mails: int
    bytes: int


def counted(records: Iterable[Record]) -> Iterator[Total]:
    """What records add to the totals."""
    mails, sizes = Counter[Key](), Counter[Key]()
    for record in records:
        day, seconds = divmod(int(record.at + record.seconds), DAY)
        for kind, name in _names(record, seconds // 3600):
            key = day, kind, name[:_MAX_NAME], record.verdict
            mails[key] += 1
            sizes[key] += record.size
    return (Total(*key, count, sizes[key]) for key, count in mails.items())


def stored(records: Iterable[Record]) -> Iterator[Total]:
    """What contents add that the store did not have before."""
    for record in records:
        yield Total(int(record.at + record.seconds) // DAY, STORED, "new", "", 1, record.size)


def received(record: Record) -> Iterator[Total]:
    """What a mail adds that is known already, when it came to more accounts."""
    day = int(record.at + record.seconds) // DAY
    for account in record.accounts:
        yield Total(day, RECEIVED, account[:_MAX_NAME], record.verdict, 1, record.size)


def event(at: float, kind: str, name: str) -> Total:
    """Something that happened once and is no mail."""
    return Total(int(at) // DAY, kind, name, "", 1, 0)


def _names(record: Record, hour: int) -> Iterator[tuple[str, str]]:
    yield HOUR, f"{hour:02}"
    if record.user:
        yield SENT, record.user
        domains = {_domain(one) for one in record.foreign}
        yield from ((DESTINATION, domain) for domain in sorted(domains))
    else:
        yield SITE, _domain(record.reverse_path)
        if record.client:
            yield SOURCE, source(record.client)
    yield from ((RECEIVED, account) for account in dict.fromkeys(record.accounts))
    yield from ((REASON, reason) for reason in record.reasons)
    if record.verdict == "accepted" and record.seconds:
        yield LATENCY, str(_bucket(record.seconds))


def _domain(path: str) -> str:
    """That of an address, in ASCII: what a report shows is what it is."""
    return normal_domain(path.rpartition("@")[2]) or path


def _bucket(seconds: float) -> int:
    """The power of two of milliseconds that a time is within."""
    return 1 << max(0, int(seconds * 1_000)).bit_length()


@functools.lru_cache(maxsize=4096)
def source(client: str) -> str:
    """The network that an address counts as: /24 of IPv4, /48 of IPv6."""
    try:
        found = ipaddress.ip_address(client.partition("%")[0])
    except ValueError:
        return client
    found = getattr(found, "ipv4_mapped", None) or found
    return str(ipaddress.ip_network((str(found), _PREFIXES[found.version]), strict=False))


# -- the table


class Adding:
    """Adds to the table, and lets no day have too many names of a kind that others choose."""

    def __init__(self) -> None:
        #: Day and kind → how many names there are, the last ones only.
        self._counts: dict[tuple[int, str], int] = {}

    def add(self, connection: sqlite3.Connection, totals: Iterable[Total]) -> None:
        """Add, in a transaction of the caller."""
        groups: dict[tuple[int, str], list[Total]] = {}
        for total in totals:
            groups.setdefault((total.day, total.kind), []).append(total)
        rows = []
        for (day, kind), group in groups.items():
            names = {one.name for one in group}
            kept = self._kept(connection, (day, kind), names) if kind in _BOUNDED else names
            rows += [
                (day, kind, one.name if one.name in kept else OTHERS, one.verdict, one.mails,
                 one.bytes)
                for one in group
            ]  # fmt: skip
        connection.executemany(_ADD, rows)

    def forget(self) -> None:
        """The transaction came to nothing."""
        self._counts.clear()

    def _kept(
        self, connection: sqlite3.Connection, key: tuple[int, str], names: set[str]
    ) -> set[str]:
        """Those of some names that have a row, or get one."""
        count = self._counts.pop(key, None)
        if count is None:
            query = "SELECT count(DISTINCT name) FROM total WHERE day = ? AND kind = ?"
            (count,) = connection.execute(query, key).fetchone()
        query = "SELECT DISTINCT name FROM total WHERE day = ? AND kind = ? AND name IN"
        rows = connection.execute(
            f"{query} (SELECT value FROM json_each(?))",  # noqa: S608 - of constants
            (*key, json.dumps(sorted(names))),
        )
        known = {name for (name,) in rows}
        new = sorted(names - known)[: max(0, MAX_NEW_NAMES - count)]
        self._counts[key] = count + len(new)  # as the last one
        if len(self._counts) > _MAX_COUNTS:
            del self._counts[next(iter(self._counts))]
        return known.union(new)


def read(connection: sqlite3.Connection, since: int, until: int) -> Iterator[Total]:
    """The totals of some days: each day for itself of what is shown by day, else all together.

    Args:
        connection: to the database.
        since: the first day, counted from 1970-01-01.
        until: the day after the last.
    """
    query = (
        "SELECT CASE WHEN kind IN (?, ?) THEN day ELSE ? END AS one, kind, name, verdict,"
        " sum(mails), sum(bytes) FROM total WHERE day >= ? AND day < ?"
        " GROUP BY one, kind, name, verdict"
    )
    for row in connection.execute(query, (*_BY_DAY, since, since, until)):
        yield Total(*row)


def days(connection: sqlite3.Connection) -> tuple[int, int] | None:
    """The first and the last day of which there is something."""
    first, last = connection.execute(
        "SELECT (SELECT min(day) FROM total), (SELECT max(day) FROM total)"
    ).fetchone()
    return None if first is None else (first, last)


def crowded(connection: sqlite3.Connection, before: int) -> list[tuple[int, str]]:
    """Days before this one, and kinds, that have more names than are kept."""
    query = (
        "SELECT day, kind FROM total WHERE day < ? GROUP BY day, kind"
        " HAVING count(DISTINCT name) > ?"
    )
    return list(connection.execute(query, (before, MAX_NAMES)))


def fold(connection: sqlite3.Connection, day: int, kind: str) -> int:
    """Keep the most frequent names; the rest are others. In a transaction; returns how many."""
    names = connection.execute(
        "SELECT name FROM total WHERE day = ? AND kind = ? AND name <> ? GROUP BY name"
        " ORDER BY sum(mails) DESC, name LIMIT -1 OFFSET ?",
        (day, kind, OTHERS, MAX_NAMES - 1),
    ).fetchall()
    rest = json.dumps([name for (name,) in names])
    where = "day = ? AND kind = ? AND name IN (SELECT value FROM json_each(?))"
    connection.execute(
        "INSERT INTO total SELECT day, kind, ?, verdict, sum(mails), sum(bytes) FROM total"  # noqa: S608
        f" WHERE {where} GROUP BY verdict ON CONFLICT DO UPDATE SET"
        " mails = mails + excluded.mails, bytes = bytes + excluded.bytes",
        (OTHERS, day, kind, rest),
    )
    connection.execute(f"DELETE FROM total WHERE {where}", (day, kind, rest))  # noqa: S608
    return len(names)
