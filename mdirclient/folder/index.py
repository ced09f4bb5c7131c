"""url → entry of one folder, and the names that are taken. A cache in memory. Reads only.

It is never trusted against the files: what it answers is checked by stat, and what it does
not know is looked up after reading the directories again, unless they cannot have changed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Final

import attrs

from mdirclient.errors import HeaderError, PartURLError
from mdirclient.folder.entry import Layout
from mdirclient.header import Header
from mdirclient.naming import fold, safe_name, suffix_key, with_suffix
from mdirclient.url import PartURL

#: A directory or file that changed less than this before it was read may have changed
#: again in the same tick (FAT counts in steps of two seconds).
GRAIN_NS: Final = 2_000_000_000

#: How often directories are read again that change while they are read.
_SCANS: Final = 20

Stamp = tuple[int, ...]


@attrs.frozen
class Item:
    """An entry as the index knows it.

    Attributes:
        stamp: that of the header's file.
        is_racy: it changed so shortly before it was read that it may have changed again and
            look the same; the next scan reads it again.
    """

    url: PartURL
    name: str
    header: Header
    stamp: Stamp
    is_racy: bool


def _header_stamp(status: os.stat_result) -> Stamp:
    """What tells a header's file from a changed or another one, whatever touch(1) says."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def stamp_of(path: str) -> str:
    """What a physical file looks like, as text for the journal; empty if it is not there.

    Links made and removed by the journal itself do not count, so ctime is left out.
    """
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return ""
    return f"{status.st_ino} {status.st_size} {status.st_mtime_ns}"


class Index:
    """The index of one folder. Not shared by threads: the folder's lock guards it."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._items: dict[PartURL, Item] = {}
        self._by_name: dict[str, Item | None] = {}
        self._unreadable: dict[str, Stamp] = {}
        self._folds: set[str] = set()
        self._suffixes: dict[str, int] = {}
        self._directories: tuple[int, int] | None = None
        self._scanned_at = 0
        self._generation = -1

    def refresh(self, generation: int | None = None) -> None:
        """Read the directories again where they may have changed.

        Args:
            generation: what the lock file counts now, if it was read: when no other
                process has changed the folder since, the index knows its own changes.
        """
        stamps = self._directory_stamps()
        if stamps is not None and stamps == self._directories:
            is_old = self._scanned_at - max(stamps) > GRAIN_NS
            # Race: what a person does in the tick of our own last change is seen when that
            # tick is over. It is safe all the same: publishing refuses to overwrite.
            is_ours = generation == self._generation and time.time_ns() - max(stamps) <= GRAIN_NS
            if is_old or is_ours:
                return
        for _ in range(_SCANS):
            self._scan(stamps)
            # Race: a directory that changes while it is read shows a file twice or not at all.
            stamps, before = self._directory_stamps(), stamps
            if stamps == before:
                break
        self._generation = -1 if generation is None else generation

    def known(self, url: PartURL) -> Item | None:
        """The entry with a url if the index knows it and both files are there; O(1)."""
        item = self._items.get(url)
        item = self._current(item) if item else None
        has_file = item and os.path.lexists(self._layout.content_of(item.name))
        return item if item and has_file and item.url == url else None

    def find(self, url: PartURL, generation: int | None = None) -> Item | None:
        """The entry with a url, header and file on disk at this moment; None if there is none."""
        if item := self.known(url):
            return item
        for _ in range(_SCANS):
            self.refresh(generation)
            self._read_mended()
            if item := self.known(url):
                return item
            # Race: what was renamed since the directories were read is under neither name.
            if self._directory_stamps() == self._directories:
                break
        return None

    def items(self) -> list[Item]:
        """All entries that have both files, by name."""
        for _ in range(_SCANS):
            self._read_mended()
            for item in list(self._items.values()):
                self._current(item)  # one that was edited may have another url now
            found = [item for item in map(self.known, list(self._items)) if item]
            # Race: what was renamed since the directories were read is under neither name.
            if self._directory_stamps() == self._directories:
                break
            self.forget()
            self.refresh()
        return sorted(found, key=lambda item: item.name)

    def orphan(self, url: PartURL) -> Item | None:
        """The header with this url whose file is gone."""
        item = self._items.get(url)
        has_file = item and os.path.lexists(self._layout.content_of(item.name))
        return None if has_file else item

    def choose_name(self, wanted: str) -> str:
        """A free name for a suggested one; it counts as taken from now on. O(1)."""
        name = safe_name(wanted)
        key, number = suffix_key(name)
        candidate = name
        while fold(candidate) in self._folds:
            number = max(self._suffixes.get(key, 1), number) + 1
            self._suffixes[key] = number
            candidate = with_suffix(name, number)
        self._take(candidate)
        return candidate

    def put(self, name: str) -> None:
        """Note that this process has written an entry."""
        try:
            stamp = _header_stamp(os.stat(self._layout.header_of(name)))
        except FileNotFoundError:
            self.drop(name)  # a person was faster
            return
        item = self._read(name, stamp)
        self._by_name[name] = item
        self._take(name)
        if item:
            self._items[item.url] = item

    def drop(self, name: str) -> None:
        """Note that this process has removed an entry."""
        item = self._by_name.pop(name, None)
        if item and self._items.get(item.url) == item:
            del self._items[item.url]
        if not os.path.lexists(self._layout.content_of(name)):
            self._folds.discard(fold(name))

    def forget(self) -> None:
        """Note that the directories may be in any state."""
        self._directories = None
        self._generation = -1

    def settle(self, generation: int) -> None:
        """Note that the directories are now as this process left them."""
        self._directories = self._directory_stamps()
        self._scanned_at = 0
        self._generation = generation

    def _read_mended(self) -> None:
        """Read headers again that could not be read, if they were edited since."""
        for name, stamp in list(self._unreadable.items()):
            try:
                found = _header_stamp(os.stat(self._layout.header_of(name)))
            except OSError:
                continue
            if found != stamp and (item := self._read(name, found)):
                self._items.setdefault(item.url, item)
                self._by_name[name] = item

    def _current(self, item: Item) -> Item | None:
        """The item as its header's file is now; None if that is gone or cannot be read.

        A header that is edited in place changes no directory.
        """
        try:
            stamp = _header_stamp(os.stat(self._layout.header_of(item.name)))
        except OSError:
            return None
        if stamp == item.stamp:
            return item
        changed = self._read(item.name, stamp)
        self._by_name[item.name] = changed
        if self._items.get(item.url) is item:
            del self._items[item.url]
        if changed:
            self._items[changed.url] = changed
        return changed

    def _directory_stamps(self) -> tuple[int, int] | None:
        try:
            return (
                os.stat(self._layout.path).st_mtime_ns,
                os.stat(self._layout.meta).st_mtime_ns,
            )
        except FileNotFoundError:
            return None

    def _scan(self, stamps: tuple[int, int] | None) -> None:
        # Pitfall: the scan's start counts, not its end.
        self._scanned_at = time.time_ns()
        self._directories = stamps
        known, self._by_name = self._by_name, {}
        self._unreadable = {}
        self._items = {}
        files = {name for name, _ in self._listed(self._layout.path)}
        self._folds = set()
        self._suffixes = {}
        for name, stamp in sorted(self._listed(self._layout.meta)):
            item = known.get(name)
            if item is None or item.is_racy or item.stamp != stamp:
                item = self._read(name, stamp)
            self._by_name[name] = item
            if item:
                # Of two headers with one url the one that has its file counts.
                held = self._items.get(item.url)
                if held is None or held.name not in files:
                    self._items[item.url] = item
        for name in files | self._by_name.keys():
            self._take(name)

    def _take(self, name: str) -> None:
        self._folds.add(fold(name))
        key, number = suffix_key(name)
        if number > self._suffixes.get(key, 0):
            self._suffixes[key] = number

    def _listed(self, path: str) -> Iterator[tuple[str, Stamp]]:
        """Names that are not the folder's own. The stamps matter for headers only."""
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        try:
                            yield entry.name, _header_stamp(entry.stat(follow_symlinks=False))
                        except FileNotFoundError:
                            continue
        except FileNotFoundError:
            return

    def _read(self, name: str, stamp: Stamp) -> Item | None:
        path = self._layout.header_of(name)
        self._unreadable.pop(name, None)
        try:
            name.encode()  # a name that is no UTF-8 cannot be journaled
            with open(path, "rb") as file:
                header = Header.parse(file.read(), source=path)
            url = PartURL.parse(header["url"])
        except (OSError, HeaderError, PartURLError, KeyError, UnicodeEncodeError):
            self._unreadable[name] = stamp
            return None
        return Item(url, name, header, stamp, is_racy=self._scanned_at - stamp[2] < GRAIN_NS)
