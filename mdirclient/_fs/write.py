"""Creating and replacing files."""

from __future__ import annotations

import os
from functools import partial
from types import TracebackType
from typing import IO, TYPE_CHECKING

from mdirclient._fs.flush import Group, sync_directory, sync_file
from mdirclient._fs.publish import patiently, remove
from mdirclient._fs.times import mark

if TYPE_CHECKING:
    from typing import Self

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_NO_FOLLOW = getattr(os, "O_NOFOLLOW", 0)
#: A spooled file stays in memory up to this size.
SPOOL_BYTES = 1 << 20


class NewFile:
    """A file that did not exist, written in pieces; a context manager.

    Leaving the context without `close` having been called removes the file.

    Args:
        path: of the file.
        durable: whether `close` flushes.
        group: flushes the file instead, later, with others.
        mode: permissions, of which the umask takes some.

    Raises:
        FileExistsError: something has the name already, be it a dangling symbolic link.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durable: bool = True,
        group: Group | None = None,
        mode: int = 0o666,
    ) -> None:
        self.path = os.fspath(path)
        self._durable = durable
        self._group = group
        opener = group.open if group else os.open
        self._descriptor: int | None = opener(self.path, _NEW | _BINARY | _NO_FOLLOW, mode)

    def write(self, data: bytes | memoryview) -> None:
        """Append all of `data`; nothing of it is durable yet."""
        if self._descriptor is None:
            raise ValueError(f"{self.path} is closed")
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def mark(self) -> int | None:
        """Give the file, written whole, a time that only we can have set (see `times.mark`)."""
        return None if self._descriptor is None else mark(self._descriptor)

    def close(self) -> None:
        """Close the file; its content is durable on return (its name is not yet).

        With a group it is durable when the group is flushed.
        """
        if self._descriptor is None:
            return
        if self._group:
            descriptor, self._descriptor = self._descriptor, None
            self._group.add(descriptor)
            return
        try:
            if self._durable:
                sync_file(self._descriptor)
        except BaseException:
            self.discard()
            raise
        descriptor, self._descriptor = self._descriptor, None
        os.close(descriptor)

    def discard(self) -> None:
        """Close and remove the file, if it is not closed yet."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        os.close(descriptor)
        os.unlink(self.path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.discard()


def create(
    path: str | os.PathLike[str], data: bytes, *, durable: bool = True, mode: int = 0o666
) -> None:
    """Create a file that must not exist yet. Content durable on return, name not yet.

    Crash: leaves nothing, or a part of the file under this name; so only names that no
    reader looks at (a staging directory) are created like this.

    Raises:
        FileExistsError: something has the name already.
    """
    with NewFile(path, durable=durable, mode=mode) as file:
        file.write(data)
        file.close()


def replace(
    path: str | os.PathLike[str],
    data: bytes,
    *,
    staged: str,
    durable: bool = True,
    mode: int = 0o666,
) -> None:
    """Put a whole file in the place of `path`, whatever is there. Durable on return.

    Crash: the old or the new content, never a mixture or an empty file; and perhaps the
    file `staged`.

    Args:
        path: the file.
        data: its content.
        staged: a name in the same file system that nobody else uses meanwhile; what a crash
            left there goes.
        durable: whether to flush.
        mode: permissions, of which the umask takes some.
    """
    try:
        create(staged, data, durable=durable, mode=mode)
    except FileExistsError:
        remove(staged)
        create(staged, data, durable=durable, mode=mode)
    replace_with(staged, path)
    if durable:
        sync_directory(os.path.dirname(path) or ".")


def replace_with(staged: str | os.PathLike[str], path: str | os.PathLike[str]) -> None:
    """Put the file `staged` in the place of `path`; the name is not durable yet."""
    patiently(partial(os.replace, staged, path))


def spool(directory: str | None = None) -> IO[bytes]:
    """An anonymous file for bytes that are read later: memory first, disk if large.

    Args:
        directory: where on disk; None: where the system has temporary files.
    """
    import tempfile  # most deliveries need none

    return tempfile.SpooledTemporaryFile(SPOOL_BYTES, dir=directory)
