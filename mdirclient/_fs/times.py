"""Times of change that cannot be confused: what a stamp says and what it does not.

File systems count time in ticks: what changes twice in one tick has the same time after both
(git calls its index racy for that). A time is therefore trusted when it is older than a tick,
or when it is our own: a value between two ticks, which nothing else will ever set.
"""

from __future__ import annotations

import os
import time
from typing import Final

from mdirclient._fs.probe import NETWORK_TYPES, filesystem_type

_SECOND: Final = 1_000_000_000
#: Kernels count file times in ticks of their clock, 10 ms at the most.
_TICK_NS: Final = 20_000_000
_TICKING: Final = frozenset(["btrfs", "ext4", "f2fs", "tmpfs", "xfs"])
#: FAT counts in steps of two seconds; so may what is not known.
_COARSE_NS: Final = 2 * _SECOND
#: Clients of a network file system look at directories again after 60 seconds at the latest
#: (acdirmax in nfs(5)).
_NETWORK_NS: Final = 60 * _SECOND

_BITS: Final = 1 << 63

Stamp = tuple[int, int, int, int]


def grain_ns(path: str | os.PathLike[str]) -> int:
    """How long, in nanoseconds, a change of a file may not show in its times."""
    kind = filesystem_type(path)
    if kind in NETWORK_TYPES:
        return _NETWORK_NS
    return _TICK_NS if kind in _TICKING else _COARSE_NS


def is_older(stamp: Stamp, moment: int, grain: int) -> bool:
    """Whether a change since would show in the times of a stamp taken at `moment`."""
    times = stamp[2:]
    # ext4 with small inodes knows whole seconds only.
    is_coarse = all(time % _SECOND == 0 for time in times)
    return moment - max(times) > (max(grain, _COARSE_NS) if is_coarse else grain)


def stamp_of(status: os.stat_result) -> Stamp:
    """What tells a file from a changed or another one, whatever touch(1) says.

    Returns:
        Inode, size, and nanoseconds of modification and change, each as 64 bits with a sign:
        inodes of some file systems, and times of some people, need one more.
    """
    inode, mtime, ctime = status.st_ino, status.st_mtime_ns, status.st_ctime_ns
    # Made a million times when a large folder is read.
    if inode < _BITS and -_BITS <= mtime < _BITS and ctime < _BITS:
        return inode, status.st_size, mtime, ctime
    return _signed(inode), status.st_size, _signed(mtime), _signed(ctime)


def _signed(number: int) -> int:
    return (number + _BITS) % (2 * _BITS) - _BITS


def mark(target: str | int) -> int | None:
    """Give a file or directory a time of modification that only we can have set.

    Args:
        target: a path, or the descriptor of an open file.

    Returns:
        Nanoseconds; None where the file system does not keep them, or we may not.
    """
    try:
        status = os.stat(target)
        # Between the tick of now and the next one; another number each time.
        wanted = status.st_mtime_ns + 1 + time.perf_counter_ns() % 999_983
        os.utime(target, ns=(status.st_atime_ns, wanted))
        kept = os.stat(target).st_mtime_ns
    except (OSError, TypeError, NotImplementedError):
        return None
    return wanted if kept == wanted else None
