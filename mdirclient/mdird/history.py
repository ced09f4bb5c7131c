"""The history of an mdir: kept as long as it was asked for, and forgotten while others work."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from mdirclient import _sqlite

#: How many removals of a folder are remembered, if nobody says another number.
DEFAULT_HISTORY: Final = 10_000
#: Rows that one transaction deletes: others wait no longer than that.
_STEP: Final = 1_000


def forget(connection: sqlite3.Connection, history: int) -> Iterator[int]:
    """Forget the oldest removals of each folder beyond `history`; yields how many went each time.

    Between two values nothing is locked. A subscriber at an older version gets a listing.
    Versions and their order stay as they are.
    """
    for (number,) in connection.execute("SELECT number FROM folder ORDER BY number").fetchall():
        while gone := _step(connection, number, history):
            yield gone


def _step(connection: sqlite3.Connection, number: int, history: int) -> int:
    last = connection.execute(
        "SELECT version FROM entry WHERE folder = ? AND NOT is_live"
        " ORDER BY version DESC LIMIT 1 OFFSET ?",
        (number, history),
    ).fetchone()
    if not last:
        return 0
    with _sqlite.transaction(connection):
        rows = connection.execute(
            "SELECT version FROM entry WHERE folder = ? AND NOT is_live AND version <= ?"
            " ORDER BY version LIMIT ?",
            (number, last[0], _STEP),
        ).fetchall()
        if not rows:
            return 0
        horizon = rows[-1][0]
        connection.execute("UPDATE folder SET horizon = ? WHERE number = ?", (horizon, number))
        connection.execute(
            "DELETE FROM entry WHERE folder = ? AND NOT is_live AND version <= ?",
            (number, horizon),
        )
    return len(rows)
