"""What the user changed in a folder by hand, as values. Reads only; notes contents it compared."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import attrs

from mdirclient import _fs
from mdirclient.folder.entry import Entry, Layout
from mdirclient.folder.index import Index
from mdirclient.folder.scan import text_of_stamp
from mdirclient.header import Header
from mdirclient.url import PartURL


class _Last:
    """What comes after all items."""


_LAST: Final = _Last()
#: Content and header of an entry are written within so many nanoseconds.
_TOGETHER: Final = 1_000_000_000
Progress = Callable[[int, int], None]
#: Gives what keeps other threads from the index while it is used.
Guard = Callable[[], AbstractContextManager[object]]


@attrs.frozen
class Renamed:
    """An entry whose file has another name now; its header still has the old one.

    Attributes:
        entry: as its header says.
        name: of the file now.
    """

    entry: Entry
    name: str


@attrs.frozen
class Status:
    """What differs from what was written.

    Attributes:
        new: names of files that have no header.
        missing: entries whose file is gone, with the path where it was.
        renamed: entries whose file was found under another name, by its SHA-256.
        modified: entries whose file is not what the header says (`size`, `sha256`).
        pending: headers of entries whose content could not be had, with `pending-reason`.
    """

    new: tuple[str, ...]
    missing: tuple[Entry, ...]
    renamed: tuple[Renamed, ...]
    modified: tuple[Entry, ...]
    pending: tuple[Header, ...]

    @property
    def is_clean(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.new or self.missing or self.renamed or self.modified or self.pending)


def find_changes(
    layout: Layout, index: Index, guard: Guard, pending: Iterable[Header], progress: Progress | None
) -> Status:
    """Compare the files with the headers.

    A content is read only if its file is not known to be as it was written; what was found
    to be right is not read again. Other threads can use the index while contents are read.
    """
    with guard():
        new = [name for name in index.without_header() if is_regular(layout.content_of(name))]
        gone = [_entry(layout, *found) for found in index.orphans()]
    renamed = tuple(_renamed(layout, gone, new))
    missing = set(gone) - {found.entry for found in renamed}
    return Status(
        tuple(sorted(set(new) - {found.name for found in renamed})),
        tuple(entry for entry in gone if entry in missing),
        renamed,
        tuple(_modified(layout, index, guard, progress or _no_progress)),
        tuple(pending),
    )


def is_modified(path: str, header: Header, header_path: str) -> bool:
    """Whether a physical file is not the content that its header gives size or SHA-256 of.

    Without a SHA-256 a file is that was changed after its header. What is no regular file, or
    cannot be read, is not that content.
    """
    size, sha256 = header.get("size"), header.get("sha256")
    try:
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or size not in (None, str(status.st_size)):
            return True
        if sha256 is not None:
            return sha256_of(path) != sha256
        return status.st_mtime_ns > os.lstat(header_path).st_mtime_ns + _TOGETHER
    except FileNotFoundError:
        return False
    except PermissionError:
        return True


def sha256_of(path: str) -> str:
    """The digest of a regular file's content, in hexadecimal."""
    return content_of(path)[1]


def content_of(path: str) -> tuple[int, str]:
    """Size and SHA-256, in hexadecimal, of a regular file's content."""
    digest = hashlib.sha256()
    size = 0
    with _fs.open_file(path) as file:
        for chunk in _fs.chunks(file):
            digest.update(chunk)
            size += len(chunk)
    return size, digest.hexdigest()


def _renamed(layout: Layout, gone: Iterable[Entry], new: Iterable[str]) -> Iterator[Renamed]:
    """Pairs of an entry without file and a file without header that have the same content."""
    waiting: dict[tuple[str, str], list[Entry]] = {}
    for entry in gone:
        known = entry.header.get("size"), entry.header.get("sha256")
        if known[0] is not None and known[1] is not None:
            waiting.setdefault((known[0], known[1]), []).append(entry)
    sizes = {size for size, _ in waiting}
    for name in sorted(new):
        path = layout.content_of(name)
        with contextlib.suppress(FileNotFoundError, PermissionError):
            size = str(os.lstat(path).st_size)
            if size in sizes and (same := waiting.get((size, sha256_of(path)))):
                yield Renamed(same.pop(0), name)


def _modified(layout: Layout, index: Index, guard: Guard, progress: Progress) -> Iterator[Entry]:
    with guard():
        total = index.count()
        items = index.suspects()
    verified = []
    for done in itertools.count(1):
        with guard():
            item = next(items, _LAST)
        if item is _LAST:
            break
        progress(done, max(done, total))
        if item is None or isinstance(item, _Last):
            continue
        path = layout.content_of(item.name)
        moment = time.time_ns()
        try:
            stamp = text_of_stamp(_fs.stamp_of(os.lstat(path)))
        except FileNotFoundError:
            continue
        if stamp == item.file_stamp:
            continue
        if is_modified(path, item.header, layout.header_of(item.name)):
            yield _entry(layout, item.name, item.header)
        elif "sha256" in item.header:
            verified.append((item.name, stamp, moment))
    with guard():
        index.note_contents(verified)


def _entry(layout: Layout, name: str, header: Header) -> Entry:
    return Entry(PartURL.parse(header["url"]), name, Path(layout.content_of(name)), header)


def is_regular(path: str) -> bool:
    """Whether there is a regular file of this very name."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def _no_progress(_done: int, _total: int) -> None:
    return
