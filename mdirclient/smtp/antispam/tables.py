"""Tables of the SMTP server's own database: one connection reads, one writes.

Reads and writes that database. The last changes may be gone after a power cut, each as a whole.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from typing import Final

from mdirclient import _sqlite
from mdirclient.errors import StoreError
from mdirclient.smtp.state import MIGRATIONS, connected, telling

_TIMEOUT: Final = 10.0
#: Rows that are removed in one transaction.
_PAGE: Final = 5_000


class Tables:
    """The two connections. May be shared by threads.

    Who reads waits for another that reads, never for who writes.

    Args:
        path: of the database; made if it is missing.
        read_only: nothing is made, or changed: there are no transactions.

    Raises:
        StoreError: it cannot be opened.
    """

    def __init__(self, path: str, *, read_only: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._reading = threading.RLock()
        if read_only:
            if not os.path.isfile(path):
                raise StoreError(f"{path}: there is none yet; `mdir-smtp serve` makes it")
            with telling(path, "; `mdir-smtp serve` mends it, or makes it new"):
                self._reader = self._writer = _sqlite.connect_to_read(
                    path, MIGRATIONS, timeout=_TIMEOUT
                )
            return
        with telling(path):
            self._writer = connected(path)
            try:
                self._reader = connected(path)
                self._reader.execute("PRAGMA query_only=ON")
                self._reader.execute("PRAGMA busy_timeout=0")
            except BaseException:
                self._writer.close()
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """What is committed, at once.

        Raises:
            StoreError: it cannot be read now.
        """
        with telling(self.path), self._reading:
            yield self._reader

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One transaction. In a thread.

        Raises:
            StoreError: it cannot be written now.
        """
        with telling(self.path), self._lock, _sqlite.transaction(self._writer):
            yield self._writer

    def shrink(self, table: str, key: str, at: str, before: float) -> int:
        """Remove the rows that are older, some in each transaction; returns how many.

        Args:
            table: name of it.
            key: its primary key.
            at: the field with the time.
            before: seconds since 1970.

        Raises:
            StoreError: they cannot be removed now.
        """
        return self._remove(table, key, f"WHERE {at} < ? ORDER BY {at}", before, None)

    def shorten(self, table: str, key: str, at: str, excess: int) -> int:
        """Remove so many of the oldest rows, or all; returns how many.

        Raises:
            StoreError: they cannot be removed now.
        """
        return self._remove(table, key, f"WHERE ? ORDER BY {at}", 1, excess) if excess > 0 else 0

    def close(self) -> None:
        """Close the database, when nobody reads or writes any more."""
        with self._lock, self._reading:
            self._reader.close()
            self._writer.close()

    def _remove(self, table: str, key: str, where: str, value: float, most: int | None) -> int:
        query = (
            f"DELETE FROM {table} WHERE ({key}) IN"  # noqa: S608 - of constants
            f" (SELECT {key} FROM {table} {where} LIMIT ?)"
        )
        count = 0
        while True:
            page = _PAGE if most is None else min(_PAGE, most - count)
            with self.transaction() as connection:
                removed = connection.execute(query, (value, page)).rowcount
            count += removed
            if removed < _PAGE:
                return count
