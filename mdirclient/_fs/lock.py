"""The lock of a folder: one file that is never deleted and never stolen."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from typing import Final

from mdirclient.errors import LockTimeoutError

_FIRST_WAIT: Final = 0.001
#: Who has waited long must not be overtaken by all who have just come.
_LONGEST_WAIT: Final = 0.010
#: The file has always this length, so that a shorter line leaves nothing of a longer one.
_RECORD: Final = 320
_FLAGS: Final = os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)


@contextlib.contextmanager
def lock(path: str | os.PathLike[str], *, timeout: float) -> Iterator[None]:
    """Hold the exclusive lock on a file, which is made if missing and never removed.

    While it is held the file says by whom: `pid host`.

    Args:
        path: the lock file.
        timeout: seconds to wait for another holder.

    Raises:
        LockTimeoutError: names the holder's process id and host.
    """
    import portalocker  # 100 ms to import; only writers of folders need it

    descriptor = os.open(path, _FLAGS, 0o666)
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
                    raise LockTimeoutError(os.fspath(path), timeout, _holder(descriptor)) from None
            time.sleep(wait * (0.5 + os.urandom(1)[0] / 256))
            wait = min(wait * 2, _LONGEST_WAIT)
        _note(descriptor, f"{os.getpid()} {_host()}\n")
        try:
            yield
        finally:
            _note(descriptor, "\n")
    finally:
        # Closing releases; an explicit unlock before it would add nothing.
        os.close(descriptor)


def is_abandoned(path: str | os.PathLike[str]) -> bool:
    """Whether nobody holds the lock at this moment; a hint, for readers.

    The kernel is asked, by taking the lock as a reader and letting it go. Where it has no such
    locks the file itself tells who holds it.
    """
    try:
        import fcntl
    except ImportError:
        return _is_holder_gone(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return _is_holder_gone(path)
    finally:
        os.close(descriptor)
    return True


def _is_holder_gone(path: str | os.PathLike[str]) -> bool:
    """Whether the process that a lock file names has ended. Process numbers come again."""
    try:
        with open(path, "rb") as file:
            words = file.read(_RECORD).decode(errors="replace").split()
    except OSError:
        return True
    if len(words) < 2:
        return True
    if words[1] != _host() or not words[0].isdecimal():
        return False
    try:
        os.kill(int(words[0]), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _host() -> str:
    return os.uname().nodename if hasattr(os, "uname") else "localhost"


def _note(descriptor: int, line: str) -> None:
    """Write who holds the lock. To inform; not durable."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, line.encode().ljust(_RECORD))


def _holder(descriptor: int) -> str:
    """The holder for a person, from a lock file which may be new or damaged."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    words = os.read(descriptor, _RECORD).decode(errors="replace").split()
    return f"process {words[0]} on {words[1]}" if len(words) >= 2 else "an unknown process"
