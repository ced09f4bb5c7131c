"""url → entry of one folder, and the names that are taken (docs: explanation/index-of-a-folder).

A cache, never trusted against the files. What it answers is checked by stat when it is used; what
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
from typing import Any, Final, TypeVar

import attrs

from mdirclient import _fs, _sqlite
from mdirclient.folder import cache, scan
from mdirclient.folder.entry import Layout
from mdirclient.header import Header
from mdirclient.naming import suffix_key
from mdirclient.url import PartURL

#: How often we look again for what others rename while we look.
_LOOKS: Final = 20
#: Seconds to wait for a writer to note what it has published, before looking for oneself.
_PATIENCE: Final = 0.1
_FIRST_WAIT: Final = 0.0005
#: Of two headers with one url the one that has its file counts, then the first by name.
_FIRST: Final = "has_file DESC, number, name"
_LOOK_UP: Final = (
    f"SELECT name, inode, size, mtime, ctime, is_racy FROM entry WHERE url = ? ORDER BY {_FIRST}"
)
#: The rows whose url another row has, which counts.
_SHADOWED: Final = f"""
    WITH shared AS MATERIALIZED (
        SELECT url FROM entry WHERE url IS NOT NULL GROUP BY url HAVING count(*) > 1
    ), placed AS (
        SELECT id, first_value(name) OVER same AS first, row_number() OVER same AS place
        FROM entry WHERE url IN shared WINDOW same AS (PARTITION BY url ORDER BY {_FIRST})
    ), shadowed AS MATERIALIZED (SELECT id, first FROM placed WHERE place > 1)
"""
#: An order of `items`.
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
class _State:
    """What the index knows of itself; see the columns in `cache`."""

    serial: int
    stamps: str
    is_complete: bool
    is_marked: bool
    settled_at: int


@attrs.frozen
class Ready:
    """What `settle` has to know of the index before the change.

    Attributes:
        serial: of the index.
        is_complete: no change can have been overlooked, not even one in the same tick.
    """

    serial: int
    is_complete: bool


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
        return self._ask(lambda connection: self._locate(connection, url))

    def find(self, url: PartURL) -> Item | None:
        """The entry with a url, as it is at this moment; None if there is none."""
        text = str(url)
        for look in range(_LOOKS):
            serial = self._state().serial
            name = self.locate(text)
            found = scan.read_header(self._layout, name) if name else scan.NOTHING
            if name and found.url == text and found.header is not None:
                return Item(url, name, found.header)
            # Race: what is renamed while we look is under neither name. It is unknown only if
            # the index knew all names when we looked, and they still are all.
            if not name and self._is_current() and self._state().serial == serial:
                self._ask(self._read_mended)
                if not self.locate(text):
                    return None
            # The index is not older than this call, so what it has never heard of is unknown.
            if look and not name and not self.has_rows(url):
                return None
            self.catch_up()
        return None

    def known(self, url: PartURL) -> Item | None:
        """The entry with a url; of a caller who holds the folder's lock and has refreshed."""
        text = str(url)
        name = self.locate(text)
        found = scan.read_header(self._layout, name) if name else scan.NOTHING
        if name is None or found.header is None or found.url != text:
            return None
        return Item(url, name, found.header)

    def has_rows(self, url: PartURL) -> bool:
        """Whether the index has heard of a url; see `known` for who may ask."""
        return bool(self._rows("SELECT 1 FROM entry WHERE url = ? LIMIT 1", (str(url),)))

    def orphan(self, url: PartURL) -> str | None:
        """The name of the header with this url whose file is gone."""
        for (name,) in self._rows("SELECT name FROM entry WHERE url = ?", (str(url),)):
            is_gone = not os.path.lexists(self._layout.content_of(name))
            if is_gone and scan.read_header(self._layout, name).url == str(url):
                return str(name)
        return None

    def count(self) -> int:
        """How many entries there are."""
        self.catch_up()
        query = "SELECT count(DISTINCT url) FROM entry WHERE url IS NOT NULL AND has_file"
        return int(self._rows(query)[0][0])

    def items(self, order: str = BY_NAME) -> Iterator[Item]:
        """All entries that have both files, as they were at one moment.

        What was renamed since then comes with its new name, what was removed does not come.

        Raises:
            OSError: the index was damaged meanwhile.
        """
        self._read_edits()
        query = (
            f"{_SHADOWED} SELECT name, url, file_stamp FROM entry WHERE url IS NOT NULL"
            f" AND has_file AND id NOT IN (SELECT id FROM shadowed) ORDER BY {order}"
        )
        for name, url, file_stamp in self._snapshot(query):
            try:
                found = scan.read_header(self._layout, name)
            except PermissionError:
                continue  # one bad entry must not stop the folder; check tells of it
            if found.url == url and found.header is not None and self._has_content(name):
                yield Item(PartURL.parse(url), name, found.header, file_stamp)
            elif item := self.find(PartURL.parse(url)):
                # Race: it was renamed since. What was edited or removed is in the next listing.
                yield item

    def suspects(self) -> Iterator[Item | None]:
        """Entries whose file may not be what the header says; None for each of the others.

        Headers are read only of those.
        """
        self._read_edits()
        query = (
            f"{_SHADOWED} SELECT name, url, file_stamp FROM entry WHERE url IS NOT NULL"
            f" AND has_file AND id NOT IN (SELECT id FROM shadowed) ORDER BY {BY_NAME}"
        )
        for name, url, file_stamp in self._snapshot(query):
            item = None
            with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                stamp = _fs.stamp_of(os.lstat(self._layout.content_of(name)))
                if scan.text_of_stamp(stamp) != file_stamp:
                    found = scan.read_header(self._layout, name)
                    if found.url == url and found.header is not None:
                        item = Item(PartURL.parse(url), name, found.header, file_stamp)
            yield item

    def renamed(self, is_renamed: Callable[[Item], bool]) -> list[Item]:
        """Entries that have a name of the user's own; looked for when the names have changed."""
        self.catch_up()
        stamps = self.stamps()
        (named,) = self._rows("SELECT named FROM state")[0]
        if named == stamps:
            return []
        moment = time.time_ns()
        found = [item for item in self.items() if is_renamed(item)]
        if not found and self._is_old(stamps, moment):
            self._ask(lambda c: c.execute("UPDATE state SET named = ?", (stamps,)).rowcount)
        return found

    def orphans(self) -> Iterator[tuple[str, Header]]:
        """The names of headers whose file is gone, and the headers."""
        self.catch_up()
        query = (
            f"{_SHADOWED} SELECT name FROM entry WHERE url IS NOT NULL AND NOT has_file"
            f" AND id NOT IN (SELECT id FROM shadowed) ORDER BY {BY_NAME}"
        )
        for (name,) in self._rows(query):
            header = scan.read_header(self._layout, name).header
            if header is not None and not self._has_content(name):
                yield name, header

    def without_header(self) -> list[str]:
        """The names of files that only the user put there."""
        self.catch_up()
        query = f"SELECT name FROM entry WHERE has_file AND inode = 0 ORDER BY {BY_NAME}"
        return [name for (name,) in self._rows(query)]

    def doubtful(self) -> list[str]:
        """The names of headers that are none of an entry, or may not be any longer."""
        query = (
            "SELECT name FROM entry WHERE inode <> 0 AND (url IS NULL OR is_racy)"
            f" ORDER BY {BY_NAME}"
        )
        return [name for (name,) in self._rows(query)]

    def duplicates(self) -> list[tuple[str, str]]:
        """The names of headers whose url another one has, and the name of the one that counts."""
        return self._rows(
            f"{_SHADOWED} SELECT name, first FROM entry JOIN shadowed USING (id) ORDER BY {BY_NAME}"
        )

    def highest_number(self, key: str) -> int | None:
        """The highest collision suffix of the names that share a key (`naming.suffix_key`)."""
        (number,) = self._rows("SELECT max(number) FROM entry WHERE key = ?", (key,))[0]
        return None if number is None else int(number)

    def same_numbers(self, key: str, number: int) -> list[str]:
        """The names that share a key and a collision suffix."""
        query = "SELECT name FROM entry WHERE key = ? AND number = ?"
        return [found for (found,) in self._rows(query, (key, number))]

    # -- keeping up

    def catch_up(self) -> None:
        """See to it that the index knows at least what was there when this was called."""
        first = self._state().serial
        wait = _FIRST_WAIT
        deadline = time.monotonic() + _PATIENCE
        while not self._is_current():
            is_publishing = self._state().stamps != self.stamps()
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

    def refresh(self) -> Ready:
        """Read the directories again where they may have changed."""
        # Race: a directory that changes while it is read shows a file twice or not at all.
        # Whoever changes it all the time is not waited for.
        for _ in range(2):
            if self._is_current() or self._scanned():
                break
        self._ask(self._read_mended)
        state = self._state()
        return Ready(state.serial, state.is_complete)

    def read_again(self) -> None:
        """Compare all names and all headers with the files, whatever the times say."""

        def read(connection: sqlite3.Connection) -> None:
            if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
                raise sqlite3.DatabaseError("damaged")
            with _sqlite.transaction(connection):
                start, stamps = time.time_ns(), self.stamps()
                scan.note_differences(connection, self._layout, self._database.grain)
                self._note_scan(connection, start, stamps)

        self.catch_up()
        self._ask(read)

    def row(self, name: str, written: scan.Written | None = None) -> scan.Row:
        """What `settle` notes of a name that was touched; see `scan.row_now`."""
        return scan.row_now(self._layout, name, written, self._database.grain)

    def settle(self, rows: Iterable[scan.Row], ready: Ready) -> None:
        """Note what this process has changed, under the folder's lock.

        Args:
            rows: of all names that were touched, as they are now.
            ready: what `refresh` said before the change.
        """
        # Race: what a person does while our change is under way is taken for a part of it.
        # The files are as they are, and publishing refuses to overwrite.
        marks = [_fs.mark(self._layout.path), _fs.mark(self._layout.meta)]
        stamps = self.stamps()
        is_marked = [str(mark) for mark in marks] == stamps.split()[2::4]
        given = list(rows)

        def note(connection: sqlite3.Connection) -> None:
            with _sqlite.transaction(connection):
                # Race: a database that is not the one that was refreshed knows less.
                is_same = self._state().serial == ready.serial
                gone = [(row[1], row[2], row[0]) for row in given if not (row[5] or row[10])]
                connection.executemany(
                    "DELETE FROM entry WHERE key = ? AND number = ? AND name = ?", gone
                )
                scan.note_rows(connection, [row for row in given if row[5] or row[10]])
                connection.execute(
                    "UPDATE state SET serial = serial + 1, stamps = ?, is_complete = ?,"
                    " is_marked = ?, settled_at = ?",
                    (
                        stamps if is_same else "",
                        is_same and ready.is_complete and is_marked,
                        is_marked,
                        time.time_ns(),
                    ),
                )

        # What could not be noted is seen at the next look: the stamps do not fit.
        with contextlib.suppress(cache.RenewedError):
            self._database.use(note)

    def note_contents(self, verified: Iterable[tuple[str, str, int]]) -> None:
        """Note files whose content was found to be what the header says.

        Args:
            verified: name, stamp, and the moment in nanoseconds before it was read.
        """
        rows = [
            (stamp, *suffix_key(name), name)
            for name, stamp, moment in verified
            # A file that was changed in this tick may change again and look the same.
            if _fs.is_older(scan.stamp_of_text(stamp), moment, self._database.grain)
        ]
        query = "UPDATE entry SET file_stamp = ? WHERE key = ? AND number = ? AND name = ?"

        def note(connection: sqlite3.Connection) -> None:
            with _sqlite.transaction(connection):
                connection.executemany(query, rows)

        if rows:
            self._ask(note)

    def close(self) -> None:
        """Close the database; the next use opens it again."""
        self._database.close()

    # -- inside

    def _ask(self, use: Callable[[sqlite3.Connection], T]) -> T:
        """Use a database that knows all names: if it had to be replaced, they are read first."""
        while True:
            try:
                return self._database.use(use)
            except cache.RenewedError:
                self._scanned()

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        return self._ask(lambda connection: connection.execute(query, values).fetchall())

    def _snapshot(self, query: str) -> Iterator[Any]:
        while True:
            rows = self._database.snapshot(query)
            try:
                first = next(rows, None)
            except cache.RenewedError:
                self._scanned()
                continue
            if first is not None:
                yield first
                yield from rows
            return

    def _state(self) -> _State:
        query = "SELECT serial, stamps, is_complete, is_marked, settled_at FROM state"
        while True:
            # One that was replaced says that it knows nothing.
            with contextlib.suppress(cache.RenewedError):
                return self._database.use(lambda c: _State(*c.execute(query).fetchone()))

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
        if row[5]:
            # Race: one that is gone may be under another name by now, as the directories tell.
            scan.note_rows(connection, [row])
        return row[3]

    def _read_mended(self, connection: sqlite3.Connection) -> None:
        """Read headers again that could not be read, if they were edited since."""
        scan.note_edits(connection, self._layout, self._database.grain, "url IS NULL")

    def _read_edits(self) -> None:
        """Read all headers again that were edited in place."""
        self.catch_up()
        grain = self._database.grain
        self._ask(lambda connection: scan.note_edits(connection, self._layout, grain, "TRUE"))

    def _is_current(self) -> bool:
        """Whether the directories have not changed since the index knew all their names."""
        state = self._state()
        if state.stamps != self.stamps():
            return False
        # Race: what a person does in the tick of our own last change is seen when that tick
        # is over, where the file system does not keep a time of ours.
        is_ours = 0 <= time.time_ns() - state.settled_at <= self._database.grain
        return state.is_complete or is_ours

    def _scanned(self) -> bool:
        """Read the directories; whether they stayed as they were meanwhile."""
        try:
            return self._database.use(self._scan)
        except cache.RenewedError:
            return False

    def _scan(self, connection: sqlite3.Connection) -> bool:
        with _sqlite.transaction(connection):
            if self._is_current():
                return True  # another process was faster
            start, stamps = time.time_ns(), self.stamps()
            state = self._state()
            # The second half is that of `.meta`.
            is_known = state.is_complete and state.stamps.split()[4:] == stamps.split()[4:]
            if not state.serial or not scan.has_same_names(
                connection, self._layout, with_headers=not is_known
            ):
                scan.note_differences(connection, self._layout, self._database.grain)
            self._note_scan(connection, start, stamps)
        return self.stamps() == stamps

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
        # Anybody can set a time of modification; a time of change only the system can.
        changed = [int(time) for time in stamps.split()[3::4]]
        grain = self._database.grain
        return all(_fs.is_older((0, 0, time, time), moment, grain) for time in changed)

    def stamps(self) -> str:
        """Device, inode and times of the two directories; a missing one has none."""
        words = []
        for path in (self._layout.path, self._layout.meta):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(path)
                times = status.st_mtime_ns, status.st_ctime_ns
                words.append(f"{status.st_dev} {status.st_ino} {times[0]} {times[1]}")
        return " ".join(words)
