"""Tells the subscriptions of an embedded mdird that somebody committed. Reads only, by polling.

One thread for all of them: each with a poll of its own took half a processor for 200 folders.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from typing import Final

#: Seconds between two looks at the database's change counter (a read of shared memory).
POLL: Final = 0.025
#: The same where the database cannot be read: whoever waits finds out why.
_FAILING: Final = 1.0


class Pulse:
    """Counts commits, roughly: several may be one. May be shared by threads.

    Args:
        connect: opens a connection of its own, which counts the writes of all others.
    """

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        self._connect = connect
        self._condition = threading.Condition()
        self._closed = threading.Event()
        self._count = 0
        self._thread: threading.Thread | None = None

    def now(self) -> int:
        """A number that is another one when something was committed after this call."""
        with self._condition:
            if self._thread is None:
                connection = self._connect()
                # Not in the thread: what is committed before it runs counts too.
                seen = _change_counter(connection)
                self._thread = threading.Thread(
                    target=self._run, args=(connection, seen), daemon=True, name="mdird-pulse"
                )
                self._thread.start()
            return self._count

    def wait(self, seen: int, is_over: Callable[[], bool], timeout: float | None) -> bool:
        """Wait for a commit after `now` gave a number; False when it is over, or out of time."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._count != seen or is_over() or self._closed.is_set(), timeout
            )
            return self._count != seen and not is_over()

    def wake(self) -> None:
        """Let those look who wait, whether it is over."""
        with self._condition:
            self._condition.notify_all()

    def close(self) -> None:
        """End; whoever waits is woken."""
        self._closed.set()
        self.wake()
        if self._thread:
            self._thread.join()

    def _run(self, connection: sqlite3.Connection, seen: int) -> None:
        pause = POLL
        with contextlib.closing(connection):
            while not self._closed.wait(pause):
                found, pause = seen, POLL
                try:
                    found = _change_counter(connection)
                except sqlite3.Error:
                    found, pause = seen - 1, _FAILING
                if found != seen:
                    seen = found
                    with self._condition:
                        self._count += 1
                        self._condition.notify_all()


def _change_counter(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA data_version").fetchone()[0])
