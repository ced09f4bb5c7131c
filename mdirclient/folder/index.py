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
from mdirclient.naming import fold, safe_name, suffix_key, with_suffix
from mdirclient.url import PartURL

#: How often directories are read again that change while they are read.
_SCANS: Final = 20
#: Seconds to wait for a writer to note what it has published, before looking for oneself.
_PATIENCE: Final = 0.1
_FIRST_WAIT: Final = 0.0005
#: Collision suffixes count up to this; then they are drawn at random.
_LAST_SUFFIX: Final = 999_999_999
#: Of two headers with one url the one that has its file counts, then the first by name.
_LOOK_UP: Final = (
    "SELECT name, inode, size, mtime, ctime, is_racy FROM entry WHERE url = ?"
    " ORDER BY has_file DESC, number, name"
)
_FIRST_OF_ITS_URL: Final = (
    "url IS NOT NULL AND has_file AND NOT EXISTS (SELECT 1 FROM entry AS other"
    " WHERE other.url = entry.url AND other.has_file AND (other.number, other.name)"
    " < (entry.number, entry.name))"
)
#: An order of `entries`.
BY_NAME: Final = "key, number, name"
BY_ANCHOR: Final = "anchor, url"

#: The database is not to be had, but not damaged.
_REFUSALS: Final = frozenset(
    [
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    ]
)

T = TypeVar("T")


@attrs.frozen
class Item:
    """An entry as its files are at this moment."""

    url: PartURL
    name: str
    header: Header


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
        self._path = ""
        self._connection: sqlite3.Connection | None = None
        self._inherited: sqlite3.Connection | None = None
        self._process = 0
        self._grain = 0
        self._chosen: dict[str, int] = {}
        self._chosen_folds: set[str] = set()

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
        return int(self._guarded(lambda connection: connection.execute(query).fetchone()[0]))

    def items(self, order: str = BY_NAME) -> Iterator[Item]:
        """All entries that have both files, as they were at one moment.

        What was renamed since then comes with its new name, what was removed does not come.
        """
        self.catch_up()
        for name, url in self._snapshot(order):
            try:
                found = scan.read_header(self._layout, name)
            except PermissionError:
                continue  # one bad entry must not stop the folder; check tells of it
            if str(found.url) != url or not self._has_content(name):
                yield from self._moved(name, found, url)
            elif found.header is not None:
                yield Item(PartURL.parse(url), name, found.header)

    def _moved(self, name: str, found: scan.Found, url: str) -> Iterator[Item]:
        """What became of an entry that was renamed, removed or edited since the snapshot."""
        if found.url is not None and found.header is not None and str(found.url) != url:
            self._guarded(lambda connection: self._read_again(connection, name))
            if self.locate(str(found.url)) == name:
                yield Item(found.url, name, found.header)
        if item := self.find(PartURL.parse(url)):
            yield item

    def orphans(self) -> Iterator[str]:
        """The names of headers whose file is gone."""
        self.catch_up()
        query = "SELECT name FROM entry WHERE inode <> 0 AND NOT has_file ORDER BY key, number"
        return iter(self._guarded(lambda c: [name for (name,) in c.execute(query)]))

    # -- names

    def choose_name(self, wanted: str) -> str:
        """A free name for a suggested one; it counts as taken until `settle`. O(1)."""
        name = safe_name(wanted)
        key, number = suffix_key(name)
        candidate = name
        while self._is_taken(candidate):
            number = self._next_number(key)
            candidate = with_suffix(name, number)
        self._chosen_folds.add(fold(candidate))
        self._chosen[key] = max(self._chosen.get(key, 0), suffix_key(candidate)[1])
        return candidate

    def _next_number(self, key: str) -> int:
        query = "SELECT max(number) FROM entry WHERE key = ?"
        highest = self._guarded(lambda connection: connection.execute(query, (key,)).fetchone()[0])
        number = max(highest or 1, self._chosen.get(key, 1)) + 1
        if number <= _LAST_SUFFIX:
            self._chosen[key] = number
            return number
        # Somebody has taken the last one, so there is no next.
        return 2 + int.from_bytes(os.urandom(8)) % (_LAST_SUFFIX - 1)

    def _is_taken(self, name: str) -> bool:
        folded = fold(name)
        if folded in self._chosen_folds:
            return True
        query = "SELECT name FROM entry WHERE key = ? AND number = ?"
        rows = self._guarded(lambda c: c.execute(query, suffix_key(name)).fetchall())
        return any(fold(found) == folded for (found,) in rows)

    # -- keeping up

    def catch_up(self) -> None:
        """See to it that the index knows at least what was there when this was called."""
        self._guarded(self._read_mended)
        first = self._state().serial
        wait = _FIRST_WAIT
        deadline = time.monotonic() + _PATIENCE
        while not self._is_current():
            if time.monotonic() >= deadline or _fs.is_abandoned(self._layout.lock):
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

    def forget(self) -> None:
        """Forget what was chosen."""
        self._chosen = {}
        self._chosen_folds = set()

    def row(self, name: str, header: Header | None = None, mark: int | None = None) -> scan.Row:
        """What `settle` notes of a name that was touched.

        Args:
            name: of the entry.
            header: what was written as its header, with a `url`; None: it is read.
            mark: the time that its file was given.
        """
        has_file = os.path.lexists(self._layout.content_of(name))
        if header is not None and mark is not None:
            with contextlib.suppress(OSError):
                stamp = _fs.stamp_of(os.lstat(self._layout.header_of(name)))
                if stamp[2] == mark:
                    found = scan.Found(PartURL.parse(header["url"]), header, stamp)
                    return scan.row_of(name, found, has_file=has_file, is_racy=False)
        moment = time.time_ns()
        found = scan.read_header(self._layout, name)
        is_racy = not _fs.is_older(found.stamp, moment, self._grain)
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

        self.forget()
        self._guarded(note)

    def close(self) -> None:
        """Close the database."""
        connection, self._connection = self._connection, None
        # What another process has opened is not ours to close.
        if connection and self._process == os.getpid():
            connection.close()

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
        return state.is_complete or 0 <= time.time_ns() - state.settled_at <= self._grain

    def _scan(self, connection: sqlite3.Connection) -> bool:
        """Read the directories; whether they stayed as they were meanwhile."""
        with _sqlite.transaction(connection):
            if self._is_current():
                return True  # another process was faster
            state = self._state()
            # Pitfall: the scan's start counts, not its end.
            start, stamps = time.time_ns(), self._stamps()
            is_marked = state.is_marked and stamps == state.stamps
            if not (state.serial and scan.has_same_names(connection, self._layout)):
                scan.note_differences(connection, self._layout, self._grain)
            connection.execute(
                "UPDATE state SET serial = serial + 1, stamps = ?, is_complete = ?, is_marked = ?,"
                " settled_at = 0",
                (stamps, is_marked or self._is_old(stamps, start), is_marked),
            )
        return self._stamps() == stamps

    def _is_old(self, stamps: str, moment: int) -> bool:
        times = [int(word) for word in stamps.split()]
        both = [(0, 0, times[at + 2], times[at + 3]) for at in range(0, len(times), 4)]
        return all(_fs.is_older(stamp, moment, self._grain) for stamp in both)

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
        return _State(*self._guarded(lambda connection: connection.execute(query).fetchone()))

    def _snapshot(self, order: str) -> Iterator[tuple[str, str]]:
        """Name and url of all entries of this moment, whatever happens to the index later."""
        query = f"SELECT name, url FROM entry WHERE {_FIRST_OF_ITS_URL} ORDER BY {order}"  # noqa: S608
        if self._path == _sqlite.MEMORY:
            yield from self._guarded(lambda connection: connection.execute(query).fetchall())
            return
        # A connection of its own: what it has begun to read stays as it is.
        with contextlib.closing(cache.open_index(self._path)) as connection:
            yield from connection.execute(query)

    def _guarded(self, use: Callable[[sqlite3.Connection], T]) -> T:
        """Use the database; one that is damaged is made anew, and done without at last."""
        for _ in range(2):
            try:
                return use(self._opened())
            except sqlite3.Error as error:
                self._replace(error)
        self._path = _sqlite.MEMORY
        return use(self._opened())

    def _opened(self) -> sqlite3.Connection:
        if self._process != os.getpid():
            # Pitfall: an SQLite connection must neither be used nor closed beyond a fork.
            self._inherited, self._connection = self._connection, None
            self._process = os.getpid()
        if self._connection is None:
            self._path = self._path or cache.index_path(self._layout.path)
            self._connection = cache.open_index(self._path)
            self._grain = self._grain or _fs.grain_ns(self._layout.path)
        return self._connection

    def _replace(self, error: sqlite3.Error) -> None:
        """Give up the database: a damaged one is removed, one that refuses is done without."""
        with contextlib.suppress(sqlite3.Error):
            self.close()
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        if code in _REFUSALS:
            self._path = _sqlite.MEMORY
            return
        with contextlib.suppress(OSError):
            cache.remove_index(self._path or _sqlite.MEMORY)
        self._path = ""
