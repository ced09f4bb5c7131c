"""url → entry of one folder, and the names that are taken: a cache (docs: explanation/index).

It is never trusted against the files. What it answers is checked by stat when it is used; what
it does not know is unknown only if the directories' times say that it has seen every name in
them. Reads the folder; writes the database under the user's cache directory.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeVar

import attrs

from mdirclient import _fs, _sqlite
from mdirclient.folder import cache, scan
from mdirclient.folder.entry import Layout
from mdirclient.header import Header
from mdirclient.naming import suffix_key
from mdirclient.url import PartURL

#: How often directories are read again that change while they are read.
_SCANS: Final = 20
#: Seconds to wait for a writer to note what it has published, before looking for oneself.
_PATIENCE: Final = 0.1
_FIRST_WAIT: Final = 0.0005
#: Of two headers with one url the one that has its file counts, then the first by name.
_LOOK_UP: Final = (
    "SELECT name, inode, size, mtime, ctime, is_racy FROM entry WHERE url = ?"
    " ORDER BY has_file DESC, number, name"
)
_FIRST_OF_ITS_URL: Final = (
    "(SELECT other.name FROM entry AS other WHERE other.url = entry.url"
    " ORDER BY has_file DESC, number, name LIMIT 1)"
)
_COUNTS: Final = f"url IS NOT NULL AND has_file AND name = {_FIRST_OF_ITS_URL}"
#: An order of `entries`.
BY_NAME: Final = "key, number, name"
BY_ANCHOR: Final = "anchor, url"

T = TypeVar("T")


@attrs.frozen
class Item:
    """An entry as its files are at this moment.

    Attributes:
        file_stamp: of the file when its content was last found to be what the header says.
    """

    url: PartURL
    name: str
    header: Header
    file_stamp: str | None = None


@attrs.frozen
class Written:
    """What this process has written as an entry.

    Attributes:
        header: with a `url`.
        header_mark: the time of its file, which only we can have set; None if it was not kept.
        content_mark: the same of the content, if that is certainly what the header says.
    """

    header: Header
    header_mark: int | None
    content_mark: int | None


@attrs.frozen
class _State:
    """What the index knows of itself; see the columns in `cache`."""

    serial: int
    stamps: str
    is_complete: bool
    is_marked: bool
    settled_at: int


class Index:
    """The index of one folder. Not shared by threads: the folder guards it."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._database = cache.Database(layout.path)

    # -- looking up

    def locate(self, url: str) -> str | None:
        """The name of the entry with a canonical url, both files there now. O(1).

        None says nothing: the index may not have seen it yet.
        """
        return self._guarded(lambda connection: self._locate(connection, url))

    def find(self, url: PartURL) -> Item | None:
        """The entry with a url, as it is at this moment; None if there is none."""
        text = str(url)
        for _ in range(_SCANS):
            serial = self._state().serial
            name = self.locate(text)
            found = scan.read_header(self._layout, name) if name else scan.NOTHING
            if name and found.url == url and found.header is not None:
                return Item(url, name, found.header)
            # Race: what is renamed while we look is under neither name. It is unknown only if
            # the index knew all names when we looked, and they still are all.
            if not name and self._is_current() and self._state().serial == serial:
                self._guarded(self._read_mended)
                if not self.locate(text):
                    return None
            self.catch_up()
        return None

    def known(self, url: PartURL) -> Item | None:
        """The entry with a url; of a caller who holds the folder's lock and has refreshed."""
        name = self.locate(str(url))
        found = scan.read_header(self._layout, name) if name else scan.NOTHING
        if name is None or found.header is None or found.url != url:
            return None
        return Item(url, name, found.header)

    def orphan(self, url: PartURL) -> str | None:
        """The name of the header with this url whose file is gone."""

        def names(connection: sqlite3.Connection) -> list[str]:
            rows = connection.execute("SELECT name FROM entry WHERE url = ?", (str(url),))
            return [name for (name,) in rows]

        for name in self._guarded(names):
            is_gone = not os.path.lexists(self._layout.content_of(name))
            if is_gone and scan.read_header(self._layout, name).url == url:
                return name
        return None

    def count(self) -> int:
        """How many entries there are."""
        self.catch_up()
        query = "SELECT count(DISTINCT url) FROM entry WHERE url IS NOT NULL AND has_file"
        return int(self._database.rows(query)[0][0])

    def items(self, order: str = BY_NAME) -> Iterator[Item]:
        """All entries that have both files, as they were at one moment.

        What was renamed since then comes with its new name, what was removed does not come.
        """
        self.catch_up()
        query = f"SELECT name, url, file_stamp FROM entry WHERE {_COUNTS} ORDER BY {order}"
        for name, url, file_stamp in self._database.snapshot(query):
            try:
                found = scan.read_header(self._layout, name)
            except PermissionError:
                continue  # one bad entry must not stop the folder; check tells of it
            if str(found.url) != url or not self._has_content(name):
                yield from self._moved(name, found, url)
            elif found.header is not None:
                yield Item(PartURL.parse(url), name, found.header, file_stamp)

    def _moved(self, name: str, found: scan.Found, url: str) -> Iterator[Item]:
        """What became of an entry that was renamed, removed or edited since the snapshot."""
        if found.url is not None and found.header is not None and str(found.url) != url:
            self._guarded(lambda connection: self._read_again(connection, name))
            if self.locate(str(found.url)) == name:
                yield Item(found.url, name, found.header)
        if item := self.find(PartURL.parse(url)):
            yield item

    def orphans(self) -> Iterator[tuple[str, Header]]:
        """The names of headers whose file is gone, and the headers."""
        query = (
            "SELECT name FROM entry WHERE url IS NOT NULL AND NOT has_file"
            f" AND name = {_FIRST_OF_ITS_URL} ORDER BY {BY_NAME}"
        )
        for (name,) in self._database.rows(query):
            header = scan.read_header(self._layout, name).header
            if header is not None and not self._has_content(name):
                yield name, header

    def without_header(self) -> list[str]:
        """The names of files that only the user put there."""
        query = f"SELECT name FROM entry WHERE has_file AND inode = 0 ORDER BY {BY_NAME}"
        return [name for (name,) in self._database.rows(query)]

    def unreadable(self) -> list[str]:
        """The names of headers that are none of an entry."""
        query = f"SELECT name FROM entry WHERE url IS NULL AND inode <> 0 ORDER BY {BY_NAME}"
        return [name for (name,) in self._database.rows(query)]

    def duplicates(self) -> list[tuple[str, str]]:
        """The names of headers whose url another one has, and the name of the one that counts."""
        query = (
            f"SELECT name, {_FIRST_OF_ITS_URL} AS first FROM entry"
            f" WHERE url IS NOT NULL AND name <> first ORDER BY {BY_NAME}"
        )
        return self._database.rows(query)

    def note_contents(self, verified: Iterable[tuple[str, str]]) -> None:
        """Note files, by name and stamp, whose content was found to be what the header says."""
        now = time.time_ns()
        rows = [
            (stamp, *suffix_key(name), name)
            for name, stamp in verified
            # A file that was changed in this tick may change again and look the same.
            if _fs.is_older(scan.stamp_of_text(stamp), now, self._database.grain)
        ]
        query = "UPDATE entry SET file_stamp = ? WHERE key = ? AND number = ? AND name = ?"

        def note(connection: sqlite3.Connection) -> None:
            with _sqlite.transaction(connection):
                connection.executemany(query, rows)

        if rows:
            self._guarded(note)

    def highest_number(self, key: str) -> int | None:
        """The highest collision suffix of the names that share a key (`naming.suffix_key`)."""
        query = "SELECT max(number) FROM entry WHERE key = ?"
        (number,) = self._database.rows(query, (key,))[0]
        return None if number is None else int(number)

    def same_numbers(self, name: str) -> list[str]:
        """The names that share key and number with a name."""
        query = "SELECT name FROM entry WHERE key = ? AND number = ?"
        return [found for (found,) in self._database.rows(query, suffix_key(name))]

    # -- keeping up

    def catch_up(self) -> None:
        """See to it that the index knows at least what was there when this was called."""
        self._guarded(self._read_mended)
        first = self._state().serial
        wait = _FIRST_WAIT
        deadline = time.monotonic() + _PATIENCE
        while not self._is_current():
            is_publishing = self._state().stamps != self._stamps()
            is_late = time.monotonic() >= deadline
            if not is_publishing or is_late or _fs.is_abandoned(self._layout.lock):
                self.refresh()
                return
            # A writer has published and not settled yet. Once two have settled, the second
            # has begun after we were called, from an index that was current.
            if self._state().serial >= first + 2:
                return
            time.sleep(wait)
            wait *= 2

    def refresh(self) -> bool:
        """Read the directories again where they may have changed.

        Returns:
            Whether no change can have been overlooked: not even one in the same tick as
            the last one.
        """
        for _ in range(_SCANS):
            if self._is_current() or self._guarded(self._scan):
                break
            # Race: a directory that changes while it is read shows a file twice or not at all.
        self._guarded(self._read_mended)
        return self._state().is_complete

    def row(self, name: str, written: Written | None = None) -> scan.Row:
        """What `settle` notes of a name that was touched.

        Args:
            name: of the entry.
            written: what this process has written there; else the header is read.
        """
        has_file, file_stamp = False, None
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            status = os.lstat(self._layout.content_of(name))
            content = _fs.stamp_of(status)
            has_file = not stat.S_ISDIR(status.st_mode)
            if written and content[2] == written.content_mark:
                file_stamp = scan.text_of_stamp(content)
        if written:
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                stamp = _fs.stamp_of(os.lstat(self._layout.header_of(name)))
                if stamp[2] == written.header_mark:
                    url = PartURL.parse(written.header["url"])
                    found = scan.Found(url, written.header, stamp)
                    return scan.row_of(
                        name, found, has_file=has_file, is_racy=False, file_stamp=file_stamp
                    )
        moment = time.time_ns()
        found = scan.read_header(self._layout, name)
        is_racy = not _fs.is_older(found.stamp, moment, self._database.grain)
        return scan.row_of(name, found, has_file=has_file, is_racy=is_racy)

    def settle(self, rows: Iterable[scan.Row], *, was_complete: bool) -> None:
        """Note what this process has changed, under the folder's lock.

        Args:
            rows: of all names that were touched, as they are now.
            was_complete: what `refresh` said before the change.
        """
        # Race: what a person does while our change is under way is taken for a part of it.
        # The files are as they are, and publishing refuses to overwrite.
        is_marked = all(
            [_fs.mark(self._layout.path) is not None, _fs.mark(self._layout.meta) is not None]
        )
        stamps = self._stamps()
        given = list(rows)

        def note(connection: sqlite3.Connection) -> None:
            with _sqlite.transaction(connection):
                gone = [(row[1], row[2], row[0]) for row in given if not (row[5] or row[10])]
                kept = [row for row in given if row[5] or row[10]]
                connection.executemany(
                    "DELETE FROM entry WHERE key = ? AND number = ? AND name = ?", gone
                )
                connection.executemany(scan.UPSERT, kept)
                connection.execute(
                    "UPDATE state SET serial = serial + 1, stamps = ?, is_complete = ?,"
                    " is_marked = ?, settled_at = ?",
                    (stamps, was_complete and is_marked, is_marked, time.time_ns()),
                )

        self._guarded(note)

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        self._database.close()

    # -- inside

    def _locate(self, connection: sqlite3.Connection, url: str) -> str | None:
        for name, *known, is_racy in connection.execute(_LOOK_UP, (url,)).fetchall():
            try:
                status = os.lstat(self._layout.header_of(name))
            except (FileNotFoundError, NotADirectoryError):
                continue
            # Pitfall: a header that is edited in place changes no directory.
            is_known = not is_racy and list(_fs.stamp_of(status)) == known
            if not is_known and self._read_again(connection, name) != url:
                continue
            if self._has_content(name):
                return str(name)
        return None

    def _has_content(self, name: str) -> bool:
        try:
            return not stat.S_ISDIR(os.lstat(self._layout.content_of(name)).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False

    def _read_again(self, connection: sqlite3.Connection, name: str) -> str | None:
        """Read a header that was edited; returns its url now."""
        row = self.row(name)
        connection.execute(scan.UPSERT, row)
        return row[3]

    def _read_mended(self, connection: sqlite3.Connection) -> None:
        """Read headers again that could not be read, if they were edited since."""
        query = (
            "SELECT name, inode, size, mtime, ctime, is_racy FROM entry"
            " WHERE url IS NULL AND inode <> 0"
        )
        for name, *known, is_racy in connection.execute(query).fetchall():
            with contextlib.suppress(OSError):
                stamp = _fs.stamp_of(os.lstat(self._layout.header_of(name)))
                if is_racy or list(stamp) != known:
                    self._read_again(connection, name)

    def _is_current(self) -> bool:
        """Whether the directories have not changed since the index knew all their names."""
        state = self._state()
        if state.stamps != self._stamps():
            return False
        # Race: what a person does in the tick of our own last change is seen when that tick
        # is over, where the file system does not keep a time of ours.
        return state.is_complete or 0 <= time.time_ns() - state.settled_at <= self._database.grain

    def _scan(self, connection: sqlite3.Connection) -> bool:
        """Read the directories; whether they stayed as they were meanwhile."""
        with _sqlite.transaction(connection):
            if self._is_current():
                return True  # another process was faster
            start, stamps = time.time_ns(), self._stamps()
            if not (self._state().serial and scan.has_same_names(connection, self._layout)):
                scan.note_differences(connection, self._layout, self._database.grain)
            self._note_scan(connection, start, stamps)
        return self._stamps() == stamps

    def read_again(self) -> None:
        """Compare all names and all headers with the files, whatever the times say."""

        def read(connection: sqlite3.Connection) -> None:
            with _sqlite.transaction(connection):
                start, stamps = time.time_ns(), self._stamps()
                scan.note_differences(connection, self._layout, self._database.grain)
                scan.note_edits(connection, self._layout, self._database.grain)
                self._note_scan(connection, start, stamps)

        self.catch_up()
        self._guarded(read)

    def _note_scan(self, connection: sqlite3.Connection, start: int, stamps: str) -> None:
        # Pitfall: the scan's start counts, not its end.
        state = self._state()
        is_marked = state.is_marked and stamps == state.stamps
        connection.execute(
            "UPDATE state SET serial = serial + 1, stamps = ?, is_complete = ?, is_marked = ?,"
            " settled_at = 0",
            (stamps, is_marked or self._is_old(stamps, start), is_marked),
        )

    def _is_old(self, stamps: str, moment: int) -> bool:
        times = [int(word) for word in stamps.split()]
        both = [(0, 0, times[at + 2], times[at + 3]) for at in range(0, len(times), 4)]
        return all(_fs.is_older(stamp, moment, self._database.grain) for stamp in both)

    def _stamps(self) -> str:
        """Device, inode and times of the two directories; a missing one has none."""
        words = []
        for path in (self._layout.path, self._layout.meta):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                times = status.st_mtime_ns, status.st_ctime_ns
                words.append(f"{status.st_dev} {status.st_ino} {times[0]} {times[1]}")
        return " ".join(words)

    def _state(self) -> _State:
        query = "SELECT serial, stamps, is_complete, is_marked, settled_at FROM state"
        return _State(*self._database.rows(query)[0])

    def _guarded(self, use: Callable[[sqlite3.Connection], T]) -> T:
        return self._database.use(use)
