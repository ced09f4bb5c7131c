"""Finds out what a file system can do, by trying. Writes to a directory of its own."""

from __future__ import annotations

import contextlib
import os

from mdirclient._fs.probe import FileSystem, filesystem_type, is_network_filesystem
from mdirclient._fs.publish import has_hard_links, remove, remove_tree
from mdirclient._fs.times import mark
from mdirclient._fs.write import create

_LONGEST = 255


def try_file_system(path: str) -> FileSystem:
    """Try what the file system of a directory can do, in a new directory that goes again.

    Args:
        path: a directory that no reader looks at.
    """
    kind, is_network = filesystem_type(path), is_network_filesystem(path)
    place = os.path.join(path, os.urandom(8).hex())
    try:
        os.mkdir(place)
    except OSError:
        return FileSystem(kind, is_network)
    try:
        first = os.path.join(place, "caf\u00e9")
        create(first, b"", durable=False)
        return FileSystem(
            kind,
            is_network,
            is_writable=True,
            has_hard_links=has_hard_links(first, os.path.join(place, "link")),
            is_case_sensitive=not os.path.lexists(os.path.join(place, "CAF\u00c9")),
            keeps_normal_forms=not os.path.lexists(os.path.join(place, "cafe\u0301")),
            keeps_times=mark(first) is not None,
            longest_name=_longest_name(place),
        )
    except OSError:
        return FileSystem(kind, is_network)
    finally:
        with contextlib.suppress(OSError):
            remove_tree(place)


def _longest_name(place: str) -> int:
    """By halves: what file systems say of themselves is not always so (encfs)."""
    works, fails = 1, _LONGEST + 1
    while fails - works > 1:
        length = (works + fails) // 2
        name = os.path.join(place, "x" * length)
        try:
            create(name, b"", durable=False)
        except OSError:
            fails = length
        else:
            works = length
            remove(name)
    return works
