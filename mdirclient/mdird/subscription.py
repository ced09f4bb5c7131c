"""A subscription to a folder of the embedded mdird. Reads only."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Final

from mdirclient.header import Header
from mdirclient.mdird.cursor import Cursor, OvertakenError
from mdirclient.mdird.pulse import Pulse
from mdirclient.mdird.replies import replies
from mdirclient.mdird.tables import Tables
from mdirclient.patch import End, Now, Patch

GONE: Final = (404, "the folder is gone")
OVERTAKEN: Final = (205, "the history that was to come is gone; subscribe again")


class EmbeddedSubscription:
    """See `Subscription`. Owns its connection."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        pulse: Pulse,
        folder: str,
        number: int,
        version: int,
        *,
        epoch: str | None,
        timeout: float | None,
    ) -> None:
        self._connection = connection
        self._pulse = pulse
        self._tables = Tables(connection)
        self._folder = folder
        self._number = number
        self._timeout = timeout
        self._closed = threading.Event()
        self._guard = threading.Lock()
        self._is_iterating = False
        try:
            with replies():
                self._cursor = Cursor(connection, folder, number, version, epoch)
        except BaseException:
            connection.close()
            raise
        self.version = self._cursor.version
        self.folder_id = self._cursor.folder_id
        self.epoch = self._cursor.epoch
        self.is_listing = self._cursor.is_listing

    def __iter__(self) -> Iterator[Patch | Now | End]:
        """See `Subscription.__iter__`."""
        with self._guard:
            if self._closed.is_set() or self._is_iterating:
                return
            self._is_iterating = True
        try:
            with replies():
                yield from self._follow()
        except OvertakenError:
            yield End(self._folder, *OVERTAKEN)
        finally:
            self._closed.set()
            self._connection.close()

    def close(self) -> None:
        """End the iteration, also one that another thread waits in."""
        with self._guard:
            self._closed.set()
            if not self._is_iterating:
                self._connection.close()
        self._pulse.wake()

    def _follow(self) -> Iterator[Patch | Now | End]:
        cursor = self._cursor
        deadline: float | None = None
        is_first = True
        while not self._closed.is_set():
            seen = self._pulse.now()
            if not self._tables.has_name(self._number):
                yield End(self._folder, *GONE)
                return
            current, before = cursor.current(), cursor.sent
            yield from self._missing()
            if self._closed.is_set():
                return  # in the middle of a page: not all was sent
            if is_first or cursor.sent != before:
                is_first = False
                # What was committed since `current` was read may not have been sent.
                cursor.sent = max(cursor.sent, current)
                yield Now(self._folder, cursor.sent)
                deadline = None if self._timeout is None else time.monotonic() + self._timeout
            if not self._wait(seen, deadline):
                return

    def _missing(self) -> Iterator[Patch]:
        while not self._closed.is_set() and (rows := self._cursor.missing()):
            for row in rows:
                yield Patch(
                    self._folder,
                    row.old_version,
                    row.new_version,
                    "+" if row.is_live else "-",
                    Header.parse(row.header),
                )

    def _wait(self, seen: int, deadline: float | None) -> bool:
        """Wait for a commit; False when closed or out of time."""
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        return self._pulse.wait(seen, self._closed.is_set, timeout)
