"""Making names appear and disappear."""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from mdirclient._fs.flush import sync_directory

Path = str | os.PathLike[str]

IS_WINDOWS: Final = os.name == "nt"
#: ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION.
_SHARING: Final = frozenset([5, 32, 33])
_TRIES: Final = 64
_TRY_AGAIN: Final = 0.08

#: link(2) is refused like this where there are no hard links (FAT, some FUSE and network
#: file systems, Android).
_NO_LINKS = frozenset(
    getattr(errno, name)
    for name in ("EPERM", "EACCES", "ENOTSUP", "EOPNOTSUPP", "EINVAL", "ENOSYS", "EMLINK", "EXDEV")
    if hasattr(errno, name)
)


def patiently(act: Callable[[], None]) -> None:
    """Do something that Windows refuses while another program has the file open.

    A virus scanner or an indexer has it for a moment; elsewhere nothing is tried twice.

    Raises:
        OSError: it refuses still after 64 tries, some 5 seconds.
    """
    if not IS_WINDOWS:
        return act()
    for _ in range(_TRIES):
        try:
            return act()
        except PermissionError as error:
            if getattr(error, "winerror", None) not in _SHARING:
                raise
            time.sleep(_TRY_AGAIN)
    return act()


def publish(staged: Path, path: Path) -> bool:
    """Give a staged file a second, visible name, never overwriting. Not durable yet.

    The staged name stays where there are hard links, so that recovery can tell by the
    inode whether this was done. Elsewhere the name is reserved and then replaced.

    Crash: the name is absent or complete; without hard links also an empty file.

    Returns:
        Whether there are hard links.

    Raises:
        FileExistsError: something has the name already.
    """
    # Race: never look first and name after; link and O_EXCL refuse by themselves.
    try:
        os.link(staged, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _reserve_and_replace(staged, path)
        return False
    return True


def _reserve_and_replace(staged: Path, path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    try:
        patiently(partial(os.replace, staged, path))
    except BaseException:
        remove(path)
        raise


def move(path: Path, target: Path) -> None:
    """Rename a file or directory to a name that is known to be free. Not durable yet."""
    patiently(partial(os.rename, path, target))


def has_hard_links(path: Path, probe: Path) -> bool:
    """Whether a file can have a second name, tried with the free name `probe`."""
    try:
        os.link(path, probe, follow_symlinks=False)
    except OSError as error:
        return error.errno == errno.EEXIST
    remove(probe)
    return True


def publish_directory(staged: Path, path: Path, *, durable: bool = True) -> bool:
    """Rename a staged directory that has something in it; False if `path` is there already.

    Nothing is overwritten: rename(2) refuses a target directory that is not empty. The
    name is durable on return, also where another process had published it, unless the caller
    flushes the names of several.

    Crash: the whole directory under the old name or the new one.
    """
    try:
        os.rename(staged, path)
        published = True
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        published = False
    if durable:
        sync_directory(os.path.dirname(path))
    return published


def make_directories(path: Path, *, mode: int = 0o777) -> None:
    """Make a directory and its parents where they are missing; durable on return.

    All names on the way are flushed, also those that are there: whoever made them may have
    died before the flush. So callers make something last, and ask for that first.
    """
    path = os.path.abspath(path)
    os.makedirs(path, mode, exist_ok=True)
    while path != (parent := os.path.dirname(path)):
        # What we may not open was not made by us.
        with contextlib.suppress(PermissionError):
            sync_directory(parent)
        path = parent


def make_directory(path: Path, *, exist_ok: bool = False) -> None:
    """Make one directory. Its name is not durable yet."""
    try:
        os.mkdir(path)
    except FileExistsError:
        if not (exist_ok and os.path.isdir(path)):
            raise


def touch(path: Path) -> None:
    """Give something that is there the time of now.

    Raises:
        FileNotFoundError: it is not there.
    """
    os.utime(path)


def set_mode(path: Path, mode: int) -> None:
    """Give a name its permissions, whatever the umask says."""
    os.chmod(path, mode)


def remove(path: Path) -> None:
    """Remove a file's name if it is there. Not durable yet."""
    with contextlib.suppress(FileNotFoundError):
        patiently(partial(os.unlink, path))


def sweep(path: Path, *, older_than: float) -> None:
    """Remove what crashes left in a directory for work on its way.

    What cannot be removed stays, and is no error for whoever works there.

    Args:
        path: the directory; its own directories have one level of files.
        older_than: a time as in `time.time()`; what is younger may be on its way.
    """
    with os.scandir(path) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime >= older_than:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    # Race: whoever publishes it at this moment fails; nothing half appears.
                    swept = f"{entry.path}.swept"
                    os.rename(entry.path, swept)
                    remove_tree(swept)
                else:
                    remove(entry.path)


def remove_tree(path: Path) -> None:
    """Remove a directory of files (one level), if it is there. Not durable yet."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(path):
            remove(os.path.join(path, name))
        os.rmdir(path)
