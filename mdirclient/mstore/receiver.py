"""A message that is pushed into a directory store. Takes it apart as it comes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final

from mdirclient.errors import EmptyMessageError
from mdirclient.mail import Decomposed, Decomposer, Limits
from mdirclient.mail.stored import StoredMessage
from mdirclient.mstore.shelf import DirectoryShelf

if TYPE_CHECKING:
    from typing import Self

Keep = Callable[[DirectoryShelf, Decomposed, int, str], StoredMessage]


#: Bytes between two looks at the free disk.
_CHECK_EVERY: Final = 8 << 20


class DirectoryReceiver:
    """Collects one message; memory does not grow with it.

    Args:
        path: a free name in `incoming`.
        limits: of taking it apart.
        keep: publishes what is on the shelf, with the message's size and SHA-256.
        check: called now and then; raises where there is no room for more.
    """

    def __init__(self, path: str, limits: Limits, keep: Keep, check: Callable[[], None]) -> None:
        self._check = check
        self._checked = 0  # bytes up to which there was room
        self._path = path
        self._limits = limits
        self._keep = keep
        self._digest = hashlib.sha256()
        self._size = 0
        self._shelf: DirectoryShelf | None = None
        self._decomposer: Decomposer | None = None
        self._is_broken = False  # its first bytes could not be taken

    def write(self, chunk: bytes) -> None:
        """Append to the message.

        Raises:
            ValueError: it was committed, or a write failed before.
        """
        data = bytes(chunk)
        if not data:
            return
        if self._size >= self._checked:
            self._check()
            self._checked = self._size + _CHECK_EVERY
        self._begin().feed(data)
        self._digest.update(data)
        self._size += len(data)

    def commit(self) -> StoredMessage:
        """Store the message; durable on return.

        Raises:
            EmptyMessageError: nothing was written.
            ValueError: it was committed, or a write failed.
        """
        if self._is_broken:
            raise ValueError("this mail failed; take it from its beginning")
        if not (self._decomposer and self._shelf):
            raise EmptyMessageError
        decomposed = self._decomposer.close()
        return self._keep(self._shelf, decomposed, self._size, self._digest.hexdigest())

    def _begin(self) -> Decomposer:
        """The decomposer, made with the first bytes: a mail without any leaves nothing."""
        if self._is_broken:
            raise ValueError("this mail failed; take it from its beginning")
        if not self._decomposer:
            self._is_broken = True
            self._shelf = DirectoryShelf(self._path)
            self._decomposer = Decomposer(self._shelf, self._limits)
            self._is_broken = False
        return self._decomposer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._shelf:
            self._shelf.remove()
