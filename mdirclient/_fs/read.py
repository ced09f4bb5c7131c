"""Reading files, whatever a stranger or a person put in their place. Writes nothing."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import IO, Final

from mdirclient._fs.times import Stamp, stamp_of

CHUNK: Final = 1 << 20
#: A symbolic link is not followed and a pipe is not waited for.
_READ: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


#: How `read_file` and `open_file` say that something else is in the place of a file: a
#: directory, a symbolic link, a pipe, a socket.
NOT_A_FILE: Final = frozenset([errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO])


def chunks(content: bytes | os.PathLike[str] | IO[bytes]) -> Iterator[bytes]:
    """The bytes of a content, a file at its path, or an open file from where it stands."""
    if isinstance(content, bytes | bytearray | memoryview):
        yield bytes(content)
    elif isinstance(content, os.PathLike):
        with open(content, "rb") as file:
            yield from chunks(file)
    else:
        while chunk := content.read(CHUNK):
            yield chunk


def open_file(path: str) -> IO[bytes]:
    """Open a regular file for reading.

    Raises:
        OSError: it cannot be read, or is no regular file: a directory, a symbolic link.
    """
    descriptor = os.open(path, _READ)
    try:
        _check_regular(os.fstat(descriptor), path)
    except BaseException:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def read_file(path: str, limit: int) -> tuple[bytes, Stamp]:
    """A small file of ours and its stamp, both of one moment.

    Args:
        path: of the file.
        limit: at most this many bytes and one more are read.

    Raises:
        OSError: it cannot be read, or is no regular file: a directory, a symbolic link.
    """
    descriptor = os.open(path, _READ)
    try:
        status = os.fstat(descriptor)
        _check_regular(status, path)
        # Race: what is written while it is read shows in the stamp, or comes after it.
        return _read(descriptor, status.st_size, limit + 1), stamp_of(status)
    finally:
        os.close(descriptor)


def _check_regular(status: os.stat_result, path: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)


def _read(descriptor: int, size: int, limit: int) -> bytes:
    """At least `size` bytes, at most `limit`, or what there is."""
    data = os.read(descriptor, min(size + 1, limit))
    # Nearly always everything has come by now.
    while len(data) < min(size, limit) and (more := os.read(descriptor, limit - len(data))):
        data += more
    return data
