"""Removes contents that nobody names any more. Beside deliveries: none of them loses anything."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import attrs

from mdirclient.url import PartURL

if TYPE_CHECKING:
    from mdirclient.mstore.directory import DirectoryMstore

#: Younger contents stay, in seconds: their entries may be on their way.
KEPT: Final = 30 * 24 * 3600.0


@attrs.frozen
class Garbage:
    """A message that nobody names.

    Attributes:
        anchor: url of its part 1.
        size: bytes of its files.
    """

    anchor: PartURL
    size: int


def collect(
    store: DirectoryMstore,
    is_named: Callable[[PartURL], bool],
    *,
    now: float,
    dry_run: bool = False,
    kept: float = KEPT,
) -> Iterator[Garbage]:
    """Remove each message of which no part is named and that is old; yields them.

    Durable when the iteration has ended. What a collection that was cut had taken away comes
    back first.

    Args:
        store: of which the garbage is.
        is_named: whether an entry, live or in the history, has a url of this message.
        now: seconds since 1970.
        dry_run: only yield them.
        kept: younger ones stay, in seconds.
    """
    store.put_back()
    for segment in list(store.segments()):
        with contextlib.suppress(FileNotFoundError):
            anchor = _anchor(store.base, segment)
            if anchor and _is_garbage(store, anchor, is_named, now - kept):
                found = Garbage(anchor, _size(os.path.join(store.path, "messages", segment)))
                if dry_run or _remove(store, anchor, is_named, now - kept):
                    yield found


def _is_garbage(
    store: DirectoryMstore, anchor: PartURL, is_named: Callable[[PartURL], bool], before: float
) -> bool:
    return store.stored_at(anchor.segment) < before and not is_named(anchor)


def _remove(
    store: DirectoryMstore, anchor: PartURL, is_named: Callable[[PartURL], bool], before: float
) -> bool:
    """Remove a message; False if it was wanted after all."""
    # Race: a delivery of the same mail touches it while it has its name, and stores it anew when
    # it has none. So, once the name is gone, nobody can believe that it is there; and whoever did
    # before has touched it.
    place = store.set_aside(anchor.segment)
    if os.stat(place).st_mtime >= before or is_named(anchor):
        store.put_back()
        return False
    store.drop(place)
    return True


def _anchor(base: str, segment: str) -> PartURL | None:
    message_id, _, variant = segment.partition(";")
    try:
        return PartURL(base, message_id, 1, variant or None)
    except ValueError:
        return None  # somebody put it there


def _size(directory: str) -> int:
    with os.scandir(directory) as entries:
        return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
