"""A message on its way into a directory store. Writes to the store's `incoming`."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final

from mdirclient import _fs
from mdirclient.errors import EmptyMessageError
from mdirclient.mail.block import Buffer
from mdirclient.mail.stored import StoredMessage

if TYPE_CHECKING:
    from typing import Self

#: A message stays in memory up to this size.
IN_MEMORY: Final = 1 << 20

Store = Callable[[Buffer, int, str], StoredMessage]


class DirectoryReceiver:
    """Collects the bytes of one message and hands them to the store.

    Args:
        path: a free name in `incoming`, for a message that is too large for memory.
        store: takes the message, its size and its SHA-256.
    """

    def __init__(self, path: str, store: Store) -> None:
        self._path = path
        self._store = store
        self._digest = hashlib.sha256()
        self._size = 0
        self._chunks: list[bytes] = []
        self._file: _fs.NewFile | None = None

    def write(self, chunk: bytes) -> None:
        """Append to the message."""
        self._digest.update(chunk)
        self._size += len(chunk)
        if self._file:
            self._file.write(chunk)
            return
        self._chunks.append(bytes(chunk))
        if self._size > IN_MEMORY:
            # The parts are made durable, not this.
            self._file = _fs.NewFile(self._path, durable=False)
            self._file.write(b"".join(self._chunks))
            self._chunks = []

    def commit(self) -> StoredMessage:
        """Store the message; durable on return.

        Raises:
            EmptyMessageError: nothing was written.
        """
        if not self._size:
            raise EmptyMessageError
        sha256 = self._digest.hexdigest()
        if not self._file:
            return self._store(b"".join(self._chunks), self._size, sha256)
        self._file.close()
        with (
            open(self._path, "rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return self._store(data, self._size, sha256)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file:
            self._file.discard()
            _fs.remove(self._path)
