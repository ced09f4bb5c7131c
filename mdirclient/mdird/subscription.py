"""A subscription to a folder of the embedded mdird. Reads only, by polling."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from typing import Final

from mdirclient.errors import reply_error
from mdirclient.header import Header
from mdirclient.mdird.replies import replies
from mdirclient.mdird.schema import ROOT
from mdirclient.patch import End, Now, Patch

#: Seconds between two looks at the database's change counter (a read of shared memory).
POLL: Final = 0.025
_PAGE: Final = 500


class EmbeddedSubscription:
    """See `Subscription`. Owns its connection: the change counter of a connection does not
    count that connection's own writes.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        folder: str,
        number: int,
        version: int,
        *,
        epoch: str | None,
        timeout: float | None,
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._number = number
        self._timeout = timeout
        self._closed = threading.Event()
        self._guard = threading.Lock()
        self._is_iterating = False
        try:
            with replies():
                row = connection.execute(
                    "SELECT id, version, value FROM folder, mdir"
                    " WHERE number = ? AND key = 'epoch'",
                    (number,),
                ).fetchone()
            self._begin(row, version, epoch)
        except BaseException:
            connection.close()
            raise

    def _begin(self, row: tuple[str, int, str], version: int, epoch: str | None) -> None:
        self.folder_id, self.version, self.epoch = row
        is_restored = epoch is not None and epoch != self.epoch
        self.is_listing = version == 0 or is_restored
        if version > self.version and not is_restored:
            raise reply_error(
                409,
                f"version {version} of {self._folder!r} is above its own, {self.version}: the "
                f"counter was counted for another folder, or corrected too far",
            )
        self._sent = 0 if self.is_listing else version

    def __iter__(self) -> Iterator[Patch | Now | End]:
        """See `Subscription.__iter__`."""
        with self._guard:
            if self._closed.is_set() or self._is_iterating:
                return
            self._is_iterating = True
        try:
            with replies():
                yield from self._follow()
        finally:
            self._closed.set()
            self._connection.close()

    def close(self) -> None:
        """End the iteration, also one that another thread waits in."""
        with self._guard:
            self._closed.set()
            if not self._is_iterating:
                self._connection.close()

    def _follow(self) -> Iterator[Patch | Now | End]:
        deadline: float | None = None
        is_first = True
        while not self._closed.is_set():
            seen = self._change_counter()
            if not self._is_there():
                yield End(self._folder, 404, "the folder is gone")
                return
            current, before = self._version(), self._sent
            yield from self._missing()
            if self._closed.is_set():
                return  # in the middle of a page: not all was sent
            if is_first or self._sent != before:
                is_first = False
                # What was committed since `current` was read may not have been sent.
                self._sent = max(self._sent, current)
                yield Now(self._folder, self._sent)
                deadline = None if self._timeout is None else time.monotonic() + self._timeout
            if not self._wait(seen, deadline):
                return

    def _missing(self) -> Iterator[Patch]:
        while not self._closed.is_set():
            rows = self._connection.execute(
                "SELECT version, is_live, header FROM entry WHERE folder = ? AND version > ?"
                " ORDER BY version LIMIT ?",
                (self._number, self._sent, _PAGE),
            ).fetchall()
            if not rows:
                return
            for version, is_live, data in rows:
                old, self._sent = self._sent, version
                if is_live or not self.is_listing or version > self.version:
                    action = "+" if is_live else "-"
                    yield Patch(self._folder, old, version, action, Header.parse(data))  # type: ignore[arg-type]

    def _wait(self, seen: int, deadline: float | None) -> bool:
        """Wait for a commit of any other connection; False when closed or out of time."""
        while not self._closed.is_set():
            if deadline is not None and time.monotonic() >= deadline:
                return False
            if self._change_counter() != seen:
                return True
            self._closed.wait(POLL)
        return False

    def _change_counter(self) -> int:
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def _version(self) -> int:
        row = self._connection.execute(
            "SELECT version FROM folder WHERE number = ?", (self._number,)
        ).fetchone()
        return int(row[0])

    def _is_there(self) -> bool:
        """Whether the folder has a name left."""
        row = self._connection.execute(
            "SELECT 1 FROM entry WHERE target = ? LIMIT 1", (self._number,)
        ).fetchone()
        return self._number == ROOT or row is not None
