"""Networks that are blocked, those that brought good mail, and whom they asked for in vain.

Reads and writes tables of the SMTP server's own database. What is decided from them is decided
elsewhere.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from mdirclient.smtp.antispam.tables import Tables

#: Table → its key and its time; in the order in which they shrink when there are too many rows:
#: what costs a stranger least goes first.
_TABLES: Final = (
    ("unknown", "network, recipient", "at"),
    ("blocked", "network", "until"),
    ("good", "network", "at"),
)
_FIELDS: Final = "network, until, count, last, reason"


@attrs.frozen
class Block:
    """A network that is blocked, or was.

    Attributes:
        network: an IPv4 address or an IPv6 /64.
        until: seconds since 1970.
        count: how many times it was, by the server itself.
        last: when the last one began.
        reason: for a person.
    """

    network: str
    until: float
    count: int
    last: float
    reason: str


class Blocks(Tables):
    """The tables. May be shared by threads; `find` and `good_at` by one thread only.

    These two never wait for who writes.

    Args:
        path: of the database; made if it is missing.

    Raises:
        StoreError: it cannot be opened.
    """

    # -- quick: by primary key, without waiting

    def find(self, network: str) -> Block | None:
        """The block of a network, also one that is over.

        Raises:
            StoreError: it cannot be read now.
        """
        with self.reading() as connection:
            return _find(connection, network)

    def good_at(self, network: str) -> float:
        """When a network brought good mail; 0: never.

        Raises:
            StoreError: it cannot be read now.
        """
        with self.reading() as connection:
            return _good_at(connection, network)

    # -- in a thread

    @contextlib.contextmanager
    def writing(self) -> Iterator[Writing]:
        """One transaction.

        Raises:
            StoreError: it cannot be written now.
        """
        with self.transaction() as connection:
            yield Writing(connection)

    def listed(self, now: float) -> Iterator[Block]:
        """The blocks that are not over; the first to end comes first.

        Raises:
            StoreError: they cannot be read.
        """
        query = f"SELECT {_FIELDS} FROM blocked WHERE until > ? ORDER BY until, network"  # noqa: S608
        with self.reading() as connection:
            for row in connection.execute(query, (now,)):
                yield Block(*row)

    def remove(self, network: str, now: float) -> bool:
        """Unblock a network, and forget whom it asked for; whether it was blocked.

        Raises:
            StoreError: it cannot be written now.
        """
        with self.writing() as writing:
            found = writing.find(network)
            writing.remove(network)
        return found is not None and found.until > now

    def forget(self, before: dict[str, float], most: int) -> int:
        """Remove what is older, and the oldest of what is too much; returns how many.

        Args:
            before: table → seconds since 1970.
            most: rows of all tables.

        Raises:
            StoreError: it cannot be written now.
        """
        count = sum(self.shrink(table, key, at, before[table]) for table, key, at in _TABLES)
        with self.writing() as writing:
            excess = writing.count() - most
        for table, key, at in _TABLES:
            removed = self.shorten(table, key, at, excess)
            excess -= removed
            count += removed
        return count


class Writing:
    """What may be done in a transaction.

    Args:
        connection: in which it was begun.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def find(self, network: str) -> Block | None:
        """The block of a network, also one that is over."""
        return _find(self._connection, network)

    def good_at(self, network: str) -> float:
        """When a network brought good mail; 0: never."""
        return _good_at(self._connection, network)

    def put(self, block: Block) -> None:
        """Block a network; forget whom it asked for."""
        self._connection.execute(
            f"INSERT OR REPLACE INTO blocked ({_FIELDS}) VALUES (?, ?, ?, ?, ?)",  # noqa: S608
            attrs.astuple(block),
        )
        self._connection.execute("DELETE FROM unknown WHERE network = ?", (block.network,))

    def add(self, block: Block) -> None:
        """Block a network by hand: how many times it was blocked stays as it is."""
        found = self.find(block.network)
        self.put(attrs.evolve(block, count=found.count) if found else block)

    def remove(self, network: str) -> None:
        """Forget that a network is blocked, and whom it asked for."""
        for table in ("blocked", "unknown"):
            self._connection.execute(f"DELETE FROM {table} WHERE network = ?", (network,))  # noqa: S608

    def welcome(self, network: str, at: float) -> None:
        """A network brought good mail."""
        self._connection.execute("INSERT OR REPLACE INTO good VALUES (?, ?)", (network, at))

    def miss(self, network: str, recipients: Iterable[tuple[str, float]]) -> None:
        """A network asked for recipients that there are not, each at its time."""
        self._connection.executemany(
            "INSERT OR REPLACE INTO unknown VALUES (?, ?, ?)",
            ((network, recipient, at) for recipient, at in recipients),
        )

    def missed(self, network: str, since: float) -> int:
        """How many different ones it asked for from a time on."""
        query = "SELECT count(*) FROM unknown WHERE network = ? AND at > ?"
        (found,) = self._connection.execute(query, (network, since)).fetchone()
        return int(found)

    def count(self) -> int:
        """The rows of all tables."""
        queries = [f"SELECT count(*) FROM {table}" for table, _, _ in _TABLES]  # noqa: S608
        return sum(self._connection.execute(query).fetchone()[0] for query in queries)


def _find(connection: sqlite3.Connection, network: str) -> Block | None:
    query = f"SELECT {_FIELDS} FROM blocked WHERE network = ?"  # noqa: S608 - of constants
    rows = connection.execute(query, (network,)).fetchall()
    return Block(*rows[0]) if rows else None


def _good_at(connection: sqlite3.Connection, network: str) -> float:
    rows = connection.execute("SELECT at FROM good WHERE network = ?", (network,)).fetchall()
    return float(rows[0][0]) if rows else 0.0
