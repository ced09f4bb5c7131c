"""The bytes of one mail, from its connection to the store.

A small mail waits in memory for its group. Of a larger one a thread takes over: it writes what
came, and goes on with what the socket has, until that is empty or the mail has ended. The loop
never writes, and bytes are not handed from thread to thread one by one.
"""

from __future__ import annotations

import contextlib
import os
from contextlib import AbstractContextManager
from typing import Final

from mdirclient.interfaces import Mstore, Receiver
from mdirclient.smtp.engine import Chunk, Connection, End, Event

#: Bytes that wait in memory before a thread takes over.
BUFFERED: Final = 32 << 10
#: Bytes that a thread reads at once, and how often before another connection has its turn.
_PIECE: Final = 56 << 10
_PIECES: Final = 64

Taken = tuple[Event | None, Exception | None]


class Intake:
    """One mail on its way. Used by one thread at a time.

    Args:
        store: where it goes.
    """

    __slots__ = ("_opened", "_receiver", "_store", "_waiting", "size")

    def __init__(self, store: Mstore) -> None:
        self._store = store
        # One piece: of many small ones each would cost more than its bytes.
        self._waiting = bytearray()
        self._opened: AbstractContextManager[Receiver] | None = None
        self._receiver: Receiver | None = None
        #: Bytes so far.
        self.size = 0

    def write(self, data: bytes) -> None:
        """Take bytes into memory. In the loop."""
        self._waiting += data
        self.size += len(data)

    @property
    def is_full(self) -> bool:
        """Whether a thread is to take over."""
        return len(self._waiting) >= BUFFERED

    @property
    def is_large(self) -> bool:
        """Whether a part of it was written already."""
        return self._opened is not None

    # -- in a thread

    def take(self, engine: Connection, descriptor: int | None) -> Taken:
        """Write what waits, then what comes, until nothing comes or the mail has ended.

        Args:
            engine: of the connection, which nobody else uses meanwhile.
            descriptor: of its socket, which nobody else reads meanwhile; it is closed. None:
                only what waits (with TLS the socket says nothing to us).

        Returns:
            The event that was no bytes, if one came (the whole is prepared if it is the end), and
            why it cannot be stored, if so.
        """
        event: Event | None = None
        try:
            self._write_waiting()
            event = None if descriptor is None else self._go_on(engine, descriptor)
            if isinstance(event, End):
                self.prepare()
        except Exception as error:  # noqa: BLE001 - whatever it is, the client has an answer
            return event, error
        finally:
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        return event, None

    def prepare(self) -> None:
        """Write what waits, and all that takes long before it is published."""
        self._write_waiting()
        assert self._receiver
        self._receiver.prepare()

    def receiver(self) -> Receiver:
        """The receiver with all of it; `drop` closes it."""
        self._write_waiting()
        assert self._receiver
        return self._receiver

    def drop(self) -> None:
        """Nobody wants it any more: what was written and is not published goes."""
        self._waiting = bytearray()
        opened, self._opened, self._receiver = self._opened, None, None
        if opened:
            opened.__exit__(None, None, None)

    def _go_on(self, engine: Connection, descriptor: int) -> Event | None:
        assert self._receiver
        # Nothing there, or the connection broke: the loop will find out.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            for _ in range(_PIECES):
                data = os.read(descriptor, _PIECE)
                if not data:
                    return None
                engine.receive(data)
                while event := engine.next_event():
                    if not isinstance(event, Chunk):
                        return event
                    self.size += len(event.data)
                    self._receiver.write(event.data)
        return None

    def _write_waiting(self) -> None:
        if self._receiver is None:
            self._opened = self._store.receive()
            self._receiver = self._opened.__enter__()
        waiting, self._waiting = self._waiting, bytearray()
        self._receiver.write(bytes(waiting))
