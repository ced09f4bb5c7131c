"""Reads a folder's directories into its index. Reads only; writes the index.

Names come with the directories, and headers are read where their stamps tell of a change. Memory
does not grow with the folder: what has to be compared is compared by the database.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from mdirclient import _fs, _sqlite
from mdirclient.errors import HeaderError, PartURLError
from mdirclient.folder import cache
from mdirclient.folder.entry import Layout, anchor_of
from mdirclient.header import MAX_BYTES, Header
from mdirclient.naming import suffix_key
from mdirclient.url import canonical_url

#: Rows that are written at once.
_BATCH: Final = 1000
#: In the place of the size of a header that could not be read.
UNREADABLE: Final = -1
NO_STAMP: Final[_fs.Stamp] = (0, 0, 0, 0)

#: name, key, number, url, anchor, inode, size, mtime, ctime, is_racy, has_file, file_stamp
Row = tuple[str, str, int, str | None, str | None, int, int, int, int, bool, bool, str | None]

_INSERT: Final = """
    INSERT INTO entry
        (name, key, number, url, anchor, inode, size, mtime, ctime, is_racy, has_file, file_stamp)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (key, number, name) DO UPDATE SET
"""
UPSERT: Final = f"""{_INSERT}
        url = excluded.url, anchor = excluded.anchor, inode = excluded.inode,
        size = excluded.size, mtime = excluded.mtime, ctime = excluded.ctime,
        is_racy = excluded.is_racy, has_file = excluded.has_file,
        file_stamp = excluded.file_stamp
"""
#: Of a header that could not be read: the url that it had is not forgotten.
UPSERT_MUTE: Final = f"{_INSERT} is_racy = 1, has_file = excluded.has_file"


def text_of_stamp(stamp: _fs.Stamp) -> str:
    """A stamp as the index keeps that of a content."""
    return " ".join(map(str, stamp))


def stamp_of_text(text: str) -> _fs.Stamp:
    """The inverse of `text_of_stamp`."""
    inode, size, mtime, ctime = map(int, text.split())
    return inode, size, mtime, ctime


@attrs.frozen
class Found:
    """The header of a name as it was read.

    Attributes:
        url: of the entry, canonical; None if there is no header or it is none of an entry.
        header: what was read, with `url`.
        stamp: of the header's file; `NO_STAMP` if there is none.
    """

    url: str | None
    header: Header | None
    stamp: _fs.Stamp


NOTHING: Final = Found(None, None, NO_STAMP)


def read_header(layout: Layout, name: str) -> Found:
    """Read the header of a name.

    Raises:
        OSError: it is there and cannot be read; nothing is known of it then.
    """
    path = layout.header_of(name)
    try:
        data, stamp = _fs.read_file(path, MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return NOTHING
    except OSError as error:
        if error.errno not in _fs.NOT_A_FILE:
            raise
        return no_header(layout, name)
    try:
        header = Header.parse(data)
        return Found(canonical_url(header["url"]), header, stamp)
    except (HeaderError, PartURLError, KeyError):
        return Found(None, None, stamp)


def no_header(layout: Layout, name: str) -> Found:
    """What is known of something in the place of a header."""
    try:
        return Found(None, None, _fs.stamp_of(os.lstat(layout.header_of(name))))
    except FileNotFoundError:
        return NOTHING


def row_of(
    name: str, found: Found, *, has_file: bool, is_racy: bool, file_stamp: str | None = None
) -> Row:
    """A row of the index."""
    key, number = suffix_key(name)
    anchor = None
    if found.url and found.header is not None:
        anchor = anchor_of(found.url, found.header)
    return (name, key, number, found.url, anchor, *found.stamp, is_racy, has_file, file_stamp)


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


def row_now(layout: Layout, name: str, written: Written | None, grain: int) -> Row:
    """A row of the index for a name as its files are now.

    Args:
        layout: of the folder.
        name: of the entry.
        written: what this process has written there; else the header is read.
        grain: see `_fs.grain_ns`.
    """
    has_file, file_stamp = False, None
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        status = os.lstat(layout.content_of(name))
        content = _fs.stamp_of(status)
        has_file = not stat.S_ISDIR(status.st_mode)
        if written and content[2] == written.content_mark:
            file_stamp = text_of_stamp(content)
    if written:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            stamp = _fs.stamp_of(os.lstat(layout.header_of(name)))
            if stamp[2] == written.header_mark:
                found = Found(canonical_url(written.header["url"]), written.header, stamp)
                return row_of(name, found, has_file=has_file, is_racy=False, file_stamp=file_stamp)
    moment = time.time_ns()
    found = read_header(layout, name)
    is_racy = not _fs.is_older(found.stamp, moment, grain)
    return row_of(name, found, has_file=has_file, is_racy=is_racy)


def has_same_names(connection: sqlite3.Connection, layout: Layout, *, with_headers: bool) -> bool:
    """Whether the directories have what the index knows, names and stamps of headers.

    Compared are sums of hashes, keyed anew by each process, so nobody can make two that are
    equal by accident or on purpose (2**-61).

    Args:
        connection: of the index.
        layout: of the folder.
        with_headers: else `.meta` is known to be as it was.
    """
    contents = sum(hash(name) for name, is_directory in _listed(layout.path) if not is_directory)
    if not with_headers:
        for (name,) in connection.execute("SELECT name FROM entry WHERE has_file"):
            contents -= hash(name)
        return contents == 0
    headers = sum(map(hash, _listed_stamps(layout.meta)))
    query = "SELECT name, inode, size, mtime, ctime, has_file FROM entry"
    for name, *stamp, has_file in connection.execute(query):
        if has_file:
            contents -= hash(name)
        if stamp[0]:
            headers -= hash((name, *stamp))
    return contents == 0 and headers == 0


def note_differences(connection: sqlite3.Connection, layout: Layout, grain: int) -> None:
    """Bring the index to what the directories have; in a transaction of the caller's."""
    connection.execute(
        "CREATE TEMP TABLE IF NOT EXISTS listed (name TEXT PRIMARY KEY, has_file INTEGER,"
        " inode INTEGER, size INTEGER, mtime INTEGER, ctime INTEGER) WITHOUT ROWID"
    )
    connection.execute("DELETE FROM listed")
    # Race: a directory that changes while it is read can show a name twice.
    connection.executemany(
        "INSERT OR REPLACE INTO listed VALUES (?, 0, ?, ?, ?, ?)", _listed_stamps(layout.meta)
    )
    connection.executemany(
        "INSERT INTO listed VALUES (?, ?, 0, 0, 0, 0)"
        " ON CONFLICT (name) DO UPDATE SET has_file = excluded.has_file",
        # A directory is no file of an entry, but it has the name.
        ((name, not is_directory) for name, is_directory in _listed(layout.path)),
    )
    connection.execute(
        "DELETE FROM entry WHERE NOT EXISTS"
        " (SELECT 1 FROM temp.listed WHERE listed.name = entry.name)"
    )
    connection.execute(
        "DELETE FROM temp.listed WHERE name IN (SELECT entry.name FROM entry CROSS JOIN"
        " temp.listed USING (name) WHERE (entry.inode, entry.size, entry.mtime, entry.ctime,"
        " entry.has_file, entry.is_racy) = (listed.inode, listed.size, listed.mtime,"
        " listed.ctime, listed.has_file, 0))"
    )
    is_new = connection.execute("SELECT count(*) FROM entry").fetchone() == (0,)
    for name in cache.INDEXES if is_new else ():
        connection.execute(f"DROP INDEX {name}")
    changed = connection.execute("SELECT name, has_file, inode FROM temp.listed ORDER BY inode")
    for batch in batches(_read_rows(changed, layout, grain)):
        note_rows(connection, batch)
    for statement in cache.INDEXES.values() if is_new else ():
        connection.execute(statement)
    connection.execute("DELETE FROM listed")


def note_edits(connection: sqlite3.Connection, layout: Layout, grain: int, which: str) -> None:
    """Read headers again that were edited in place, or may have been.

    Args:
        connection: of the index.
        layout: of the folder.
        grain: see `_fs.grain_ns`.
        which: a condition on the rows to look at.
    """
    query = (
        "SELECT name, has_file, inode, size, mtime, ctime, is_racy FROM entry"
        f" WHERE inode <> 0 AND {which}"
    )
    edited = []
    for name, has_file, *known, is_racy in connection.execute(query):
        stamp = no_header(layout, name).stamp
        # Race: one that is gone may be under another name by now; the directories tell of that.
        if stamp != NO_STAMP and (is_racy or list(stamp) != known):
            edited.append((name, has_file, known[0]))
    rows = [row for row in _read_rows(edited, layout, grain) if row[5]]
    if rows:
        # Readers do this too: writers wait for them only when there is something to write.
        with _sqlite.transaction(connection):
            note_rows(connection, rows)


def note_rows(connection: sqlite3.Connection, rows: Iterable[Row]) -> None:
    """Write rows; what is known of a header that cannot be read now is kept."""
    rows = list(rows)
    mute = [row for row in rows if row[6] == UNREADABLE]
    connection.executemany(UPSERT, [row for row in rows if row not in mute] if mute else rows)
    connection.executemany(UPSERT_MUTE, mute)


def batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    """Rows in lists of a size that does not grow with the folder."""
    while batch := list(itertools.islice(rows, _BATCH)):
        yield batch


def _read_rows(
    changed: Iterable[tuple[str, int, int]], layout: Layout, grain: int
) -> Iterator[Row]:
    for name, has_file, inode in changed:
        moment = time.time_ns()
        try:
            found = read_header(layout, name) if inode else NOTHING
            is_racy = bool(inode) and not _fs.is_older(found.stamp, moment, grain)
        except OSError:
            # One bad entry must not stop the folder; it is tried again with every look-up.
            found, is_racy = Found(None, None, (inode, UNREADABLE, 0, 0)), True
        yield row_of(name, found, has_file=bool(has_file), is_racy=is_racy)


def _listed(path: str) -> Iterator[tuple[str, bool]]:
    """The names in a directory that are not the folder's own, and whether it is a directory's.

    Names that are not UTF-8 cannot be journaled and collide with none of ours; they are the
    user's.
    """
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if name[0] != "." and (name.isascii() or is_utf8(name)):
                    yield name, entry.is_dir(follow_symlinks=False)
    except FileNotFoundError:
        return


def _listed_stamps(path: str) -> Iterator[tuple[str, int, int, int, int]]:
    """The names of headers and the stamps of their files."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                name = entry.name
                if name[0] != "." and (name.isascii() or is_utf8(name)):
                    try:
                        stamp = _fs.stamp_of(entry.stat(follow_symlinks=False))
                    except FileNotFoundError:
                        continue
                    yield name, *stamp
    except FileNotFoundError:
        return


def is_utf8(name: str) -> bool:
    """Whether a name on disk can be written as text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
