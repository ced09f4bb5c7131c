"""Making names appear and disappear."""

from __future__ import annotations

import contextlib
import errno
import os

from mdirclient._fs.flush import sync_directory

Path = str | os.PathLike[str]

#: link(2) is refused like this where there are no hard links (FAT, some FUSE and network
#: file systems, Android).
_NO_LINKS = frozenset(
    getattr(errno, name)
    for name in ("EPERM", "EACCES", "ENOTSUP", "EOPNOTSUPP", "EINVAL", "ENOSYS", "EMLINK", "EXDEV")
    if hasattr(errno, name)
)


def publish(staged: Path, path: Path) -> None:
    """Give a staged file a second, visible name, never overwriting. Not durable yet.

    The staged name stays where there are hard links, so that recovery can tell by the
    inode whether this was done. Elsewhere the name is reserved and then replaced.

    Crash: the name is absent or complete; without hard links also an empty file.

    Raises:
        FileExistsError: something has the name already.
    """
    # Race: never look first and name after; link and O_EXCL refuse by themselves.
    try:
        os.link(staged, path, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        _reserve(path)
        os.replace(staged, path)


def _reserve(path: Path) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))


def move(source: Path, target: Path) -> None:
    """Rename a file, never overwriting. Not durable yet.

    Crash: the file has the old name, both or the new one.

    Raises:
        FileExistsError: something has the target name already.
    """
    publish(source, target)
    remove(source)


def publish_directory(staged: Path, path: Path) -> bool:
    """Rename a staged directory that has something in it; False if `path` is there already.

    Nothing is overwritten: rename(2) refuses a target directory that is not empty. The
    name is durable on return, also where another process had published it.

    Crash: the whole directory under the old name or the new one.
    """
    try:
        os.rename(staged, path)
        published = True
    except OSError as error:
        if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):
            raise
        published = False
    sync_directory(os.path.dirname(path))
    return published


def make_directories(path: Path, *, mode: int = 0o777) -> None:
    """Make a directory and its parents where they are missing; durable on return."""
    path = os.fspath(path)
    if os.path.isdir(path):
        return
    parent = os.path.dirname(os.path.abspath(path))
    make_directories(parent, mode=mode)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, mode)
    sync_directory(parent)


def make_directory(path: Path) -> None:
    """Make one directory that must not exist yet. Not durable: for staging."""
    os.mkdir(path)


def remove(path: Path) -> None:
    """Remove a file's name if it is there. Not durable yet."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def remove_tree(path: Path) -> None:
    """Remove a directory of files (one level), if it is there. Not durable yet."""
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(path):
            remove(os.path.join(path, name))
        os.rmdir(path)
