"""Flushing to stable storage. Writes nothing itself."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Final

from mdirclient._fs.probe import filesystem_type

#: syncfs(2) reports contents that could not be written since Linux 5.8, and a journal that
#: could not since 5.17; before, these errors were lost.
_SYNCFS_REPORTS_ERRORS: Final = (5, 17)
#: File systems whose syncfs(2) makes contents and names durable, as fsync(2) does.
_SYNCFS_TYPES: Final = frozenset(["btrfs", "ext4", "f2fs", "tmpfs", "xfs"])
#: So many files are flushed one by one: syncfs(2) waits for everything that any program has
#: written to the file system, which can be much.
_ONE_BY_ONE: Final = 16


def sync_file(descriptor: int) -> None:
    """Make the content of an open file durable.

    Raises:
        OSError: the content may be lost; never sync the same descriptor again (a second
            fsync can report success for pages that the kernel has dropped).
    """
    os.fsync(descriptor)


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Make the names in a directory durable: what was added, renamed or removed.

    Systems that cannot open directories (Windows) keep names durable by themselves.
    """
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def syncfs(descriptor: int) -> None:
    """Make all that was written to the file system of an open file durable.

    Source: syncfs(2).

    Raises:
        OSError: something written since the descriptor was opened may be lost.
    """
    import ctypes

    function = _syncfs()
    if function is None or function(descriptor) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def has_syncfs(path: str | os.PathLike[str]) -> bool:
    """Whether syncfs(2) can take the place of many fsync(2) for the files in a directory."""
    if sys.platform != "linux" or filesystem_type(path) not in _SYNCFS_TYPES:
        return False
    numbers = os.uname().release.split(".")[:2]
    is_new = all(n.isdecimal() for n in numbers) and tuple(map(int, numbers)) >= (
        _SYNCFS_REPORTS_ERRORS
    )
    return is_new and _syncfs() is not None


@functools.cache
def _syncfs() -> Callable[[int], int] | None:
    import ctypes  # only large batches need it

    function = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if function is None:
        return None
    found: Callable[[int], int] = function
    return found


class Group:
    """New files of one directory whose contents and names become durable together.

    A few are flushed one by one, many by one syncfs(2), where there is one that can be
    relied on; else each when it is added.

    Args:
        directory: where the files are.
    """

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._descriptors: list[int] = []
        self._is_whole: bool | None = None
        self.opened_at = 0  # nanoseconds, monotonic; 0: no file was opened yet

    def open(self, path: str, flags: int, mode: int) -> int:
        """Open a new file; to be added when it is written."""
        descriptor = os.open(path, flags, mode)
        # After it was opened, and before anything is written: see `flush_together`.
        self.opened_at = self.opened_at or time.monotonic_ns()
        return descriptor

    def add(self, descriptor: int) -> None:
        """Take over the descriptor of a file that is written. Not durable yet."""
        self._descriptors.append(descriptor)
        if len(self._descriptors) <= _ONE_BY_ONE:
            return
        if self._is_whole is None:
            self._is_whole = has_syncfs(self._directory)
        last = self._descriptors.pop()
        try:
            if not self._is_whole:
                sync_file(last)
        finally:
            os.close(last)

    def flush(self) -> None:
        """Make all files that were added durable, and their names."""
        try:
            if self._is_whole:
                # The first was opened before anything was written, so it knows of all errors.
                syncfs(self._descriptors[0])
            else:
                for descriptor in self._descriptors:
                    sync_file(descriptor)
            sync_directory(self._directory)
        finally:
            self.close()

    def is_empty(self) -> bool:
        """Whether there is nothing to flush."""
        return not self._descriptors

    def first(self) -> int:
        """A descriptor that was open before anything of this group was written."""
        return self._descriptors[0]

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files, flushed or not."""
        while self._descriptors:
            os.close(self._descriptors.pop())
        self._is_whole = None


def flush_together(groups: Sequence[Group], *, at_once: bool) -> None:
    """Flush several groups of one file system. Measured: ten of two files each in 1.3, not 6 ms.

    Args:
        groups: with what is not flushed yet.
        at_once: by one syncfs(2); only where `has_syncfs` says so.

    Raises:
        OSError: of each of them something may be lost.
    """
    found = [group for group in groups if not group.is_empty()]
    if not found:
        return
    # A descriptor knows of the errors since it was opened: the oldest knows of all.
    oldest = min(found, key=lambda group: group.opened_at)
    try:
        if at_once:
            syncfs(oldest.first())
        else:
            for group in found:
                group.flush()
    finally:
        for group in found:
            group.close()
