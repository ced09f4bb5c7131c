"""Flushing to stable storage. Writes nothing itself."""

from __future__ import annotations

import os


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
