"""What users called spam: one vote for each mail and user, with the facts of its SMTP time.

Reads and writes tables of the SMTP server's own database. The facts are those that were kept when
the mail came, found by its anchor; what its header says does not count.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import attrs

from mdirclient.service.throttle import network as network_of
from mdirclient.smtp.antispam.greylisting import subnet
from mdirclient.smtp.antispam.tables import Tables
from mdirclient.smtp.state import ACCEPTED

_FIELDS: Final = "account, anchor, at, client, sender, is_known, is_emptied"
_KEY: Final = "account = ? AND anchor = ?"


@attrs.frozen
class Vote:
    """A mail that a user called spam.

    Attributes:
        account: name of the account that got it; of a user's several, the one that said so first.
        anchor: url of part 1.
        at: seconds since 1970.
        client: address that brought it; empty if that is not known.
        sender: the reverse path; empty if it is not known.
        is_known: whether it came to this account by SMTP.
        is_emptied: whether it is for good: its mail leaves the box by us, or did not come back.
    """

    account: str
    anchor: str
    at: float
    client: str = ""
    sender: str = ""
    is_known: bool = False
    is_emptied: bool = False

    @property
    def domain(self) -> str:
        """That of the reverse path."""
        return self.sender.rpartition("@")[2].lower()


class Votes(Tables):
    """The table. May be shared by threads."""

    def listed(self, since: float = 0.0) -> Iterator[Vote]:
        """The votes from a time on, the oldest first.

        Raises:
            StoreError: they cannot be read.
        """
        query = f"SELECT {_FIELDS} FROM vote WHERE at >= ? ORDER BY at, anchor"  # noqa: S608
        with self.reading() as connection:
            for row in connection.execute(query, (since,)):
                yield _vote(row)

    def of(self, account: str) -> dict[str, Vote]:
        """Anchor → vote of an account that is not for good yet.

        Raises:
            StoreError: they cannot be read now.
        """
        query = f"SELECT {_FIELDS} FROM vote WHERE account = ? AND NOT is_emptied"  # noqa: S608
        with self.reading() as connection:
            return {row[1]: _vote(row) for row in connection.execute(query, (account,))}

    def knows(self, account: str, anchor: str, is_own: Callable[[str], bool]) -> bool:
        """Whether a mail came to an account by SMTP, as far as is recorded.

        Args:
            account, anchor, is_own: see `add`.

        Raises:
            StoreError: it cannot be read now.
        """
        with self.reading() as connection:
            return _found(connection, Vote(account, anchor, 0.0), is_own).is_known

    def add(
        self,
        account: str,
        anchor: str,
        now: float,
        is_own: Callable[[str], bool],
        others: Sequence[str] = (),
    ) -> Vote:
        """Record that a user calls a mail spam; the first time counts.

        Whoever brought it has to show anew that it brings good mail: for blocking, and for
        greylisting.

        Args:
            account: name of the one that got the mail.
            anchor: of the mail, canonical.
            now: seconds since 1970.
            is_own: whether a recipient's address is the account's.
            others: further accounts of the same user.

        Returns:
            The vote: this one, or the earlier one, perhaps of another account.

        Raises:
            StoreError: it cannot be written now.
        """
        with self.transaction() as connection:
            query = (
                f"SELECT {_FIELDS} FROM vote WHERE anchor = ?"  # noqa: S608 - of constants
                " AND account IN (SELECT value FROM json_each(?)) AND (account = ? OR is_known)"
                " ORDER BY account <> ?"
            )
            values = anchor, json.dumps([account, *others]), account, account
            if row := connection.execute(query, values).fetchone():
                connection.execute(
                    f"UPDATE vote SET is_emptied = 0 WHERE {_KEY}",  # noqa: S608
                    (row[0], anchor),
                )
                return attrs.evolve(_vote(row), is_emptied=False)
            vote = _found(connection, Vote(account, anchor, now), is_own)
            if vote.is_known:  # what the same user said elsewhere of the same mail
                connection.executemany(
                    f"DELETE FROM vote WHERE {_KEY}",  # noqa: S608 - of constants
                    [(other, anchor) for other in others],
                )
            connection.execute(
                f"INSERT INTO vote ({_FIELDS}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
                attrs.astuple(vote),
            )
            if vote.client:
                struck = json.dumps(_distrust(connection, vote))
                connection.execute(
                    f"UPDATE vote SET struck = ? WHERE {_KEY}",  # noqa: S608 - of constants
                    (struck, account, anchor),
                )
            return vote

    def undo(self, account: str, anchor: str) -> bool:
        """A mail is none after all: the vote is gone, and what was known before is known again.

        Returns:
            Whether it is so: not of one that is for good.

        Raises:
            StoreError: it cannot be written now.
        """
        with self.transaction() as connection:
            where = f"WHERE {_KEY} AND NOT is_emptied"
            query = f"SELECT client, at, struck FROM vote {where}"  # noqa: S608 - of constants
            row = connection.execute(query, (account, anchor)).fetchone()
            connection.execute(f"DELETE FROM vote {where}", (account, anchor))  # noqa: S608
            if row and row[2]:
                _trust(connection, row[0], row[1], json.loads(row[2]))
            return row is not None

    def empty(self, account: str, anchor: str) -> None:
        """A vote is for good: its mail leaves the box by us, or did not come back.

        Raises:
            StoreError: it cannot be written now.
        """
        with self.transaction() as connection:
            query = f"UPDATE vote SET is_emptied = 1 WHERE {_KEY}"  # noqa: S608
            connection.execute(query, (account, anchor))

    def forget(self, before: float) -> int:
        """Remove the votes that are older; returns how many.

        Raises:
            StoreError: they cannot be removed now.
        """
        return self.shrink("vote", "account, anchor", "at", before)


def _vote(row: tuple[str, str, float, str, str, int, int]) -> Vote:
    return Vote(*row[:5], bool(row[5]), bool(row[6]))


def _found(connection: sqlite3.Connection, vote: Vote, is_own: Callable[[str], bool]) -> Vote:
    """The vote, with the facts of the mail as it came to this account."""
    query = (
        "SELECT iif(user = '', client, ''), reverse_path, recipients FROM mail"
        " WHERE anchor = ? AND verdict = ? AND anchor <> '' ORDER BY id DESC"
    )
    for client, sender, recipients in connection.execute(query, (vote.anchor, ACCEPTED)):
        if any(map(is_own, json.loads(recipients))):
            return attrs.evolve(vote, client=client, sender=sender, is_known=True)
    return vote


def _distrust(connection: sqlite3.Connection, vote: Vote) -> dict[str, list[list[object]]]:
    """What was known to be good of a client, and of the sender, is not any more.

    Returns:
        Table → the rows that were taken from it.
    """
    source = subnet(vote.client)
    known = {
        "good": ("network = ?", (network_of(vote.client),)),
        "known": ("network = ?", (source,)),
        "grey": (
            "source = ? AND sender = ? AND recipient = ?",
            (source, vote.sender.lower(), vote.account),
        ),
    }
    struck = {}
    for table, (where, values) in known.items():
        query = f"SELECT * FROM {table} WHERE {where}"  # noqa: S608 - of constants
        struck[table] = [list(row) for row in connection.execute(query, values)]
        connection.execute(f"DELETE FROM {table} WHERE {where}", values)  # noqa: S608
    return struck


def _trust(
    connection: sqlite3.Connection, client: str, at: float, struck: dict[str, list[list[object]]]
) -> None:
    """The same backwards; what was learned meanwhile stays.

    Where a vote of the same time or a later one says the same of the network, it is that one now
    which took the rows. What an earlier vote said did not hold any more.
    """
    query = "SELECT account, anchor, client, struck FROM vote WHERE at >= ? AND client <> ''"
    for account, anchor, other, known in connection.execute(query, (at,)).fetchall():
        if subnet(other) == subnet(client):
            rows = json.loads(known or "{}")
            joined = {table: [*struck[table], *rows.get(table, ())] for table in struck}
            connection.execute(
                f"UPDATE vote SET struck = ? WHERE {_KEY}",  # noqa: S608 - of constants
                (json.dumps(joined), account, anchor),
            )
            return
    for table, found in struck.items():
        for row in found:
            marks = ", ".join("?" * len(row))
            connection.execute(f"INSERT OR IGNORE INTO {table} VALUES ({marks})", row)  # noqa: S608
