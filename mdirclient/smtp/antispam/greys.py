"""What greylisting knows: who came, which networks are good, and to whom accounts wrote.

Reads and writes tables of the SMTP server's own database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import attrs

from mdirclient.smtp.antispam.tables import Tables

DAY: Final = 86_400.0
#: Seconds after which a sender that came back is new again.
MEMORY: Final = 35 * DAY
#: The same of people to whom an account wrote.
_CORRESPONDENCE: Final = 400 * DAY
#: Table → its key, its time, and how long a row is kept; in the order in which they shrink when
#: there are too many rows: what costs a stranger least goes first.
_TABLES: Final = (
    ("grey", "source, sender, recipient", "last", MEMORY),
    ("known", "network", "at", MEMORY),
    ("correspondent", "account, address", "at", _CORRESPONDENCE),
)
_KEY: Final = "source = ? AND sender = ? AND recipient = ?"
_FIELDS: Final = "source, sender, recipient, first, last, passed, domain"
#: Values of `passed`: it is told to come again; it came; it may come, for somebody let it in.
_WAITING, _PASSED, _RELEASED = 0, 1, 2


@attrs.frozen
class Key:
    """What greylisting tells apart.

    Attributes:
        source: network of the client (/24, /64), or `@domain` where SPF vouches for that.
        sender: the reverse path, lower-case; empty where the source is a domain.
        recipient: name of the account.
    """

    source: str
    sender: str
    recipient: str


@attrs.frozen
class Grey:
    """What is known of one.

    Attributes:
        first: when it came first; seconds since 1970.
        last: when it came last.
        is_passed: whether it is let in.
        domain: for which SPF vouched, or empty.
        is_awaited: whether it was told to come again, and did not yet.
    """

    first: float
    last: float
    is_passed: bool
    domain: str = ""
    is_awaited: bool = False


@attrs.frozen
class Shown:
    """A sender that its user sees in a folder.

    Attributes:
        key: of it.
        version: of the folder since which it is there.
        at: seconds since 1970.
    """

    key: Key
    version: int
    at: float


class Greys(Tables):
    """The tables. May be shared by threads; what is quick, by one thread only."""

    # -- quick: by primary key, without waiting

    def find(self, key: Key) -> Grey | None:
        """What is known of a key.

        Raises:
            StoreError: it cannot be read now.
        """
        query = f"SELECT first, last, passed, domain FROM grey WHERE {_KEY}"  # noqa: S608
        with self.reading() as connection:
            row = connection.execute(query, attrs.astuple(key)).fetchone()
        return _grey(*row) if row else None

    def passes(self, network: str) -> tuple[int, float]:
        """How many keys of a network came back, and when the last mail was let in.

        Raises:
            StoreError: it cannot be read now.
        """
        query = "SELECT passes, at FROM known WHERE network = ?"
        with self.reading() as connection:
            row = connection.execute(query, (network,)).fetchone()
        return (int(row[0]), float(row[1])) if row else (0, 0.0)

    def wrote_at(self, account: str, address: str) -> float:
        """When an account wrote to an address last; 0: never.

        Raises:
            StoreError: it cannot be read now.
        """
        query = "SELECT at FROM correspondent WHERE account = ? AND address = ?"
        with self.reading() as connection:
            row = connection.execute(query, (account, address)).fetchone()
        return float(row[0]) if row else 0.0

    # -- in a thread

    def put(self, greys: Mapping[Key, Grey], passes: Mapping[str, tuple[int, float]]) -> None:
        """Keep what came. What somebody released meanwhile stays so.

        Args:
            greys: of each key what is known now.
            passes: network → how many more keys of it came back, and when.

        Raises:
            StoreError: it cannot be written now.
        """
        rows = [
            (*attrs.astuple(key), grey.first, grey.last, grey.is_passed, grey.domain)
            for key, grey in greys.items()
        ]
        with self.transaction() as connection:
            connection.executemany(
                f"INSERT INTO grey ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?)"  # noqa: S608
                " ON CONFLICT DO UPDATE SET first = excluded.first,"
                " passed = CASE WHEN excluded.passed THEN excluded.passed"
                f" WHEN last > excluded.last - {MEMORY} THEN passed ELSE 0 END,"
                " last = excluded.last, domain = excluded.domain",
                rows,
            )
            connection.executemany(
                "INSERT INTO known VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET"
                " passes = passes + excluded.passes, at = excluded.at",
                ((network, count, at) for network, (count, at) in passes.items()),
            )

    def release(self, key: Key, now: float) -> None:
        """Let a key in from now on, and the domain that SPF vouched for.

        Raises:
            StoreError: it cannot be written now.
        """
        with self.transaction() as connection:
            where = f"WHERE {_KEY}"
            _release(connection, where, attrs.astuple(key), now)

    def release_sender(self, sender: str, recipient: str | None, now: float) -> int:
        """The same of all keys of a sender that wait.

        Args:
            sender: the reverse path.
            recipient: name of the account; None: all.
            now: seconds since 1970.

        Returns:
            How many.

        Raises:
            StoreError: it cannot be written now.
        """
        where, values = "WHERE sender = ? AND NOT passed", [sender.lower()]
        if recipient is not None:
            where, values = f"{where} AND recipient = ?", [*values, recipient]
        with self.transaction() as connection:
            return _release(connection, where, values, now)

    def waiting(self, since: float) -> Iterable[tuple[Key, Grey]]:
        """The senders that were told to come again, and did not yet; the oldest first.

        Args:
            since: those that came first at this time, or later.

        Raises:
            StoreError: it cannot be read now.
        """
        query = (
            f"SELECT {_FIELDS} FROM grey"  # noqa: S608 - of constants
            " WHERE NOT passed AND sender <> '' AND first >= ? ORDER BY first"
        )
        with self.reading() as connection:
            for row in connection.execute(query, (since,)):
                yield Key(*row[:3]), _grey(*row[3:])

    def wrote(self, account: str, addresses: Iterable[str], now: float) -> None:
        """An account wrote to people: their answers are let in.

        Raises:
            StoreError: it cannot be written now.
        """
        with self.transaction() as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO correspondent VALUES (?, ?, ?)",
                ((account, address.lower(), now) for address in addresses),
            )

    # -- what users see

    def shown(self) -> dict[str, dict[int, Shown]]:
        """Account → place in its folder → the sender that is shown there.

        Raises:
            StoreError: it cannot be read now.
        """
        found: dict[str, dict[int, Shown]] = {}
        with self.transaction() as connection:
            for account, slot, source, sender, version, at in connection.execute(
                "SELECT account, slot, source, sender, version, at FROM delayed"
            ):
                key = Key(source, sender, account)
                found.setdefault(account, {})[slot] = Shown(key, version, at)
        return found

    def show(self, slot: int, shown: Shown) -> None:
        """A sender is shown at a place.

        Raises:
            StoreError: it cannot be written now.
        """
        key = shown.key
        row = (key.recipient, slot, key.source, key.sender, shown.version, shown.at)
        with self.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO delayed VALUES (?, ?, ?, ?, ?, ?)", row)

    def hide(self, account: str, slot: int) -> None:
        """Nobody is shown at a place any more.

        Raises:
            StoreError: it cannot be written now.
        """
        with self.transaction() as connection:
            query = "DELETE FROM delayed WHERE account = ? AND slot = ?"
            connection.execute(query, (account, slot))

    def forget(self, now: float, most: int) -> int:
        """Remove what is old, and the oldest of what is too much; returns how many.

        Args:
            now: seconds since 1970.
            most: rows of each table.

        Raises:
            StoreError: it cannot be written now.
        """
        count = 0
        for table, key, at, kept in _TABLES:
            count += self.shrink(table, key, at, now - kept)
            with self.transaction() as connection:
                query = f"SELECT count(*) FROM {table}"  # noqa: S608 - of constants
                (rows,) = connection.execute(query).fetchone()
            # Who was let in stays longer than strangers, however many come.
            order = "passed, last" if table == "grey" else at
            count += self.shorten(table, key, order, rows - most)
        return count


def _grey(first: float, last: float, passed: int, domain: str) -> Grey:
    return Grey(first, last, passed != _WAITING, domain, passed != _PASSED)


def _release(
    connection: sqlite3.Connection, where: str, values: Sequence[object], now: float
) -> int:
    connection.execute(
        f"INSERT OR REPLACE INTO grey ({_FIELDS})"  # noqa: S608 - of constants
        f" SELECT '@' || domain, '', recipient, ?, ?, 1, domain FROM grey {where} AND domain <> ''",
        (now, now, *values),
    )
    passed = f"iif(passed = {_PASSED}, passed, {_RELEASED})"
    query = f"UPDATE grey SET passed = {passed}, last = ? {where}"  # noqa: S608 - of constants
    return connection.execute(query, (now, *values)).rowcount
