"""A message that is pushed into a directory store. Takes it apart as it comes."""

from __future__ import annotations

import hashlib
from types import TracebackType
from typing import TYPE_CHECKING, Final

import attrs

from mdirclient.errors import EmptyMessageError
from mdirclient.mail import Decomposed, Decomposer
from mdirclient.mail.stored import StoredMessage
from mdirclient.mstore.shelf import DirectoryShelf
from mdirclient.url import PartURL

if TYPE_CHECKING:
    from typing import Self

    from mdirclient.mstore.directory import DirectoryMstore

#: Bytes from which on a message is flushed by itself.
_LARGE: Final = 1 << 20
#: Bytes between two looks at the free disk.
_CHECK_EVERY: Final = 8 << 20


@attrs.frozen
class Staged:
    """A message that is written, and has no name yet.

    Attributes:
        shelf: where it is.
        decomposed: what it consists of.
        size: bytes of the original.
        sha256: of the original, hexadecimal.
    """

    shelf: DirectoryShelf
    decomposed: Decomposed
    size: int
    sha256: str

    @property
    def message_id(self) -> str:
        """Under which it is to be published."""
        return self.decomposed.mail.message_id or f"{self.sha256}@sha256.invalid"

    def stored(self, anchor: PartURL) -> StoredMessage:
        """What it is once it is published."""
        found = self.decomposed
        return StoredMessage(
            anchor, found.parts, found.mail, self.size, self.sha256, found.kept_whole
        )


class DirectoryReceiver:
    """Collects one message; memory does not grow with it.

    Args:
        store: where it goes.
        path: a free name in `incoming`.
    """

    def __init__(self, store: DirectoryMstore, path: str) -> None:
        self._store = store
        self._checked = 0  # bytes up to which there was room
        self._path = path
        self._staged: Staged | None = None
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
            self._store.check_reserve()
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
        return self._store.keep(self.taken())

    def prepare(self) -> None:
        """Write and check the whole; see `Receiver.prepare`.

        A large one is flushed too; what takes no long time is flushed with others.
        """
        staged = self._prepared()
        if self._size >= _LARGE:
            staged.shelf.flush()

    def taken(self) -> Staged:
        """The whole, written and checked, once; flushed only if it was prepared. See `commit`."""
        staged, self._staged = self._prepared(), None
        return staged

    def _prepared(self) -> Staged:
        if self._staged is None:
            if self._is_broken:
                raise ValueError("this mail failed; take it from its beginning")
            if not (self._decomposer and self._shelf):
                raise EmptyMessageError
            self._is_broken = True
            decomposed = self._decomposer.close()
            staged = Staged(self._shelf, decomposed, self._size, self._digest.hexdigest())
            self._store.stage(staged)
            self._staged = staged
        return self._staged

    def _begin(self) -> Decomposer:
        """The decomposer, made with the first bytes: a mail without any leaves nothing."""
        if self._is_broken:
            raise ValueError("this mail failed; take it from its beginning")
        if not self._decomposer:
            self._is_broken = True
            self._shelf = DirectoryShelf(self._path)
            self._decomposer = Decomposer(self._shelf, self._store.limits)
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
