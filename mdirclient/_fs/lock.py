"""The lock of a folder: one file that is never deleted and never stolen."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

from mdirclient.errors import LockTimeoutError

_FIRST_WAIT = 0.001
_LONGEST_WAIT = 0.050


class LockFile:
    """A held lock. `generation` counts the changes made under it, by any process."""

    def __init__(self, descriptor: int, generation: int) -> None:
        self._descriptor = descriptor
        self.generation = generation

    def advance(self) -> None:
        """Count a change, so that other processes know that theirs was not the last."""
        self.generation += 1
        self.note(self.generation)

    def note(self, generation: int) -> None:
        """Write who holds the lock: `pid host generation`. To inform; not durable."""
        host = os.uname().nodename if hasattr(os, "uname") else "localhost"
        line = f"{os.getpid()} {host} {generation}\n".encode()
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        os.write(self._descriptor, line.ljust(_RECORD))


_RECORD = 320


@contextlib.contextmanager
def lock(path: str | os.PathLike[str], *, timeout: float) -> Iterator[LockFile]:
    """Hold the exclusive lock on a file, which is made if missing and never removed.

    Args:
        path: the lock file.
        timeout: seconds to wait for another holder.

    Raises:
        LockTimeoutError: names the holder's process id and host.
    """
    import portalocker  # 100 ms to import; only writers of folders need it

    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        deadline = time.monotonic() + timeout
        wait = _FIRST_WAIT
        while True:
            try:
                portalocker.lock(
                    descriptor, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING
                )
                break
            except portalocker.exceptions.AlreadyLocked:
                if time.monotonic() >= deadline:
                    holder = _read(descriptor)[0]
                    raise LockTimeoutError(os.fspath(path), timeout, holder) from None
            time.sleep(wait)
            wait = min(wait * 2, _LONGEST_WAIT)
        held = LockFile(descriptor, _read(descriptor)[1])
        held.note(held.generation)
        yield held
    finally:
        # Closing releases; an explicit unlock before it would add nothing.
        os.close(descriptor)


def read_generation(path: str | os.PathLike[str]) -> int | None:
    """The generation in a lock file, read without the lock; None if it is not there."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return _read(descriptor)[1]
    finally:
        os.close(descriptor)


def _read(descriptor: int) -> tuple[str, int]:
    """(holder for a person, generation) of a lock file, which may be new or damaged."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    words = os.read(descriptor, _RECORD).decode(errors="replace").split()
    if len(words) != 3 or not words[2].isdecimal():
        return "an unknown process", 0
    return f"process {words[0]} on {words[1]}", int(words[2])
