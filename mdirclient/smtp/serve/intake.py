"""The bytes of one mail, from its connection to the store.

A small mail waits in memory for its group; a larger one is written to the store while it comes, by
threads, never in the loop. Writes by a store's receiver only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import AbstractContextManager, ExitStack
from typing import Final

from mdirclient.interfaces import Mstore, Receiver

#: Bytes that wait in memory; twice as many where a thread is writing.
BUFFERED: Final = 24 << 10


class Intake:
    """One mail on its way. Used in the loop, but for what says that it is for a thread.

    Args:
        store: where it goes.
        executor: with the threads that write.
        drained: called in the loop when there is room again, with the error if there was one.
    """

    __slots__ = (
        "_chunks",
        "_drained",
        "_executor",
        "_is_dropped",
        "_opened",
        "_receiver",
        "_size",
        "_store",
        "_writing",
    )

    def __init__(
        self, store: Mstore, executor: Executor, drained: Callable[[Exception | None], None]
    ) -> None:
        self._store = store
        self._executor = executor
        self._drained = drained
        self._chunks: list[bytes] = []
        self._size = 0
        self._opened: AbstractContextManager[Receiver] | None = None
        self._receiver: Receiver | None = None
        self._writing: asyncio.Future[None] | None = None
        self._is_dropped = False

    def write(self, data: bytes) -> None:
        """Take bytes; where `is_full` says so, wait for `drained` before there are more."""
        self._chunks.append(data)
        self._size += len(data)
        if self._size >= BUFFERED and not self._writing:
            self._begin()

    @property
    def is_full(self) -> bool:
        """Whether no more bytes are wanted for now."""
        return self._writing is not None and self._size >= BUFFERED

    @property
    def is_large(self) -> bool:
        """Whether a part of it was written already."""
        return self._writing is not None or self._opened is not None

    async def finish(self) -> None:
        """Write what is left of a large one, so that only its name is missing.

        Raises:
            MdirError, OSError: it cannot be written.
        """
        while writing := self._writing:
            await asyncio.wait([writing])
            writing.result()
        chunks, self._chunks = self._chunks, []
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, self._prepare, chunks)

    def receiver(self, stack: ExitStack) -> Receiver:
        """The receiver with all of it; it is closed with the stack. For a thread."""
        if self._receiver is None:
            self._write_all(self._chunks)
            self._chunks = []
        assert self._opened
        assert self._receiver
        stack.push(self._opened)
        return self._receiver

    def drop(self) -> None:
        """Nobody wants it any more: what was written goes."""
        if not self._is_dropped:
            self._is_dropped = True
            self._chunks = []
            if self._writing:
                self._writing.add_done_callback(lambda _: self._discard())
            else:
                self._discard()

    def _begin(self) -> None:
        chunks, self._chunks, self._size = self._chunks, [], 0
        loop = asyncio.get_running_loop()
        self._writing = loop.run_in_executor(self._executor, self._write_all, chunks)
        self._writing.add_done_callback(self._written)

    def _written(self, writing: asyncio.Future[None]) -> None:
        error = writing.exception()
        if error is None:
            self._writing = None
            if self._size >= BUFFERED and not self._is_dropped:
                self._begin()
        if not self._is_dropped:
            self._drained(error if isinstance(error, Exception) else None)

    def _discard(self) -> None:
        if self._opened:
            opened, self._opened = self._opened, None
            self._executor.submit(opened.__exit__, None, None, None)

    # -- in a thread

    def _prepare(self, chunks: list[bytes]) -> None:
        self._write_all(chunks)
        assert self._receiver
        self._receiver.prepare()

    def _write_all(self, chunks: list[bytes]) -> None:
        if self._receiver is None:
            self._opened = self._store.receive()
            self._receiver = self._opened.__enter__()
        self._receiver.write(b"".join(chunks))
