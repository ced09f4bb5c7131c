"""Where the index of a folder is kept: a database under the user's cache directory.

It is a cache: it can be deleted at any time, and is where it is damaged or of another version.
Reads and writes that directory, nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import os
import sqlite3
import time
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from mdirclient import _fs, _sqlite

T = TypeVar("T")


class RenewedError(Exception):
    """The database was damaged or refused; the one in its place is empty."""


#: Connections of the process that this one was forked from.
_INHERITED: Final[list[object]] = []
#: A database that has to be replaced so often is done without.
_REPLACEMENTS: Final = 2

#: Part of the path, so that two versions keep out of each other's way: of the package, and of
#: Unicode, on which the keys of names depend.
_FORMAT: Final = f"index-1-{unicodedata.unidata_version}"
#: Seconds to wait for another process, which may be reading a large folder for the first time.
_TIMEOUT: Final = 120.0
#: KiB of the database in memory.
_PAGES_KIB: Final = 8192
#: An index that was not used for so many seconds goes; its folder may be gone too.
_FORGOTTEN: Final = 90 * 24 * 3600.0

#: The database is not to be had, but not damaged.
_REFUSALS: Final = frozenset(
    [
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    ]
)

#: Made after the rows where all of them are new, which is faster.
INDEXES: Final = {
    "entry_url": "CREATE INDEX entry_url ON entry (url, has_file) WHERE url IS NOT NULL",
    "entry_unreadable": (
        "CREATE INDEX entry_unreadable ON entry (name) WHERE url IS NULL AND inode <> 0"
    ),
}

MIGRATIONS: Final = (
    """
    CREATE TABLE state (
        serial INTEGER NOT NULL,       -- counts the changes of this index
        stamps TEXT NOT NULL,          -- of the folder's two directories, as they were then
        is_complete INTEGER NOT NULL,  -- every name that they have with these stamps is here
        is_marked INTEGER NOT NULL,    -- their times are our own
        settled_at INTEGER NOT NULL,   -- when we changed them last, in nanoseconds
        token BLOB NOT NULL            -- tells this database from another one of the same folder
    );
    INSERT INTO state VALUES (0, '', 0, 0, 0, randomblob(16));
    CREATE TABLE entry (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL,             -- naming.suffix_key of the name: key and number
        number INTEGER NOT NULL,
        name TEXT NOT NULL,
        url TEXT,                      -- canonical, NULL without a header of an entry
        anchor TEXT,
        inode INTEGER NOT NULL,        -- stamp of the file of the header, 0 if there is none
        size INTEGER NOT NULL,
        mtime INTEGER NOT NULL,
        ctime INTEGER NOT NULL,
        is_racy INTEGER NOT NULL,      -- it may have changed and look the same
        has_file INTEGER NOT NULL,     -- a file of this name is in the folder itself
        file_stamp TEXT,               -- of the file when its content was what the header says
        UNIQUE (key, number, name)
    );
    """
    + ";".join(INDEXES.values()),
    # The stamps with which no entry had a name of the user's own.
    "ALTER TABLE state ADD COLUMN named TEXT NOT NULL DEFAULT ''",
)


class Database:
    """The database of one folder's index, made when it is first used.

    One that is damaged is made anew; where there can be none, it is in memory.

    Args:
        folder: path of the folder.
    """

    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._path = ""
        self._connection: sqlite3.Connection | None = None
        self._process = os.getpid()
        self._replaced = 0
        self._grain = 0

    @property
    def grain(self) -> int:
        """See `_fs.grain_ns`, of the folder's file system."""
        self._grain = self._grain or _fs.grain_ns(self._folder)
        return self._grain

    def use(self, use: Callable[[sqlite3.Connection], T]) -> T:
        """Call with the connection.

        Raises:
            RenewedError: the database had to be replaced: the one that there is now knows nothing.
        """
        try:
            return use(self._opened())
        # Damage also shows as values of a kind that was never written.
        except (sqlite3.Error, ValueError, TypeError, IndexError) as error:
            if self._path == _sqlite.MEMORY:
                raise
            self._replace(error)
            raise RenewedError from error

    def rows(self, query: str, values: tuple[object, ...] = ()) -> list[Any]:
        """All rows of a query; raises RenewedError as `use` does."""
        return self.use(lambda connection: connection.execute(query, values).fetchall())

    def snapshot(self, query: str) -> Iterator[Any]:
        """The rows of a query as of this moment, whatever happens to the database later.

        Raises:
            RenewedError: as `use` does, before the first row.
            OSError: the database was damaged while it was read.
        """
        connection = self._second_connection()
        if connection is None:
            yield from self.rows(query)
            return
        with contextlib.closing(connection):
            try:
                yield from connection.execute(query)
            except sqlite3.Error as error:
                self._replace(error)
                raise OSError(
                    errno.EIO, f"the index was damaged while it was read ({error}); try again"
                ) from error

    def _second_connection(self) -> sqlite3.Connection | None:
        """A connection that goes on seeing what is there now; None where there can be none."""
        query = "SELECT serial, token FROM state"
        mine = self.rows(query)
        if self._path == _sqlite.MEMORY:
            return None
        try:
            connection = _sqlite.connect(
                self._path, MIGRATIONS, timeout=_TIMEOUT, create=False, durable=False
            )
        except sqlite3.Error:
            return None
        try:
            connection.execute("BEGIN")
            # Race: somebody may have removed the cache, and another process made a new one.
            if connection.execute(query).fetchall() == mine:
                return connection
        except sqlite3.Error:
            pass
        connection.close()
        return None

    def close(self) -> None:
        """Close the connection; using the database opens it again."""
        self._leave_inherited()
        connection, self._connection = self._connection, None
        if connection:
            connection.close()

    def _opened(self) -> sqlite3.Connection:
        self._leave_inherited()
        if self._connection is None:
            self._path = self._path or _path_of(self._folder)
            self._connection = _open(self._path)
        return self._connection

    def _leave_inherited(self) -> None:
        if self._process != os.getpid():
            # Pitfall: an SQLite connection must neither be used nor closed beyond a fork.
            _INHERITED.append(self._connection)
            self._connection = None
            self._process = os.getpid()

    def _replace(self, error: Exception) -> None:
        """Give up the database: a damaged one is removed, one that refuses is done without."""
        with contextlib.suppress(sqlite3.Error):
            self.close()
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
        self._replaced += 1
        if code in _REFUSALS or self._replaced > _REPLACEMENTS or not self._path:
            self._path = _sqlite.MEMORY
            return
        directory = os.path.dirname(self._path)
        with contextlib.suppress(OSError):
            # Whoever has it open goes on with it. Its files must not meet those of the next one.
            aside = f"{directory}-{os.urandom(8).hex()}"
            _fs.move(directory, aside)
            _fs.remove_tree(aside)
        _made.cache_clear()
        self._path = ""


def _path_of(folder: str) -> str:
    """The database of a folder; `_sqlite.MEMORY` where no file can or should be made."""
    directory = _directory()
    if directory is None:
        return _sqlite.MEMORY
    digest = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()
    return os.path.join(directory, digest[:32], "index.sqlite3")


def _open(path: str) -> sqlite3.Connection:
    if path != _sqlite.MEMORY and not os.path.exists(path):
        with contextlib.suppress(OSError):
            _fs.make_directory(os.path.dirname(path), exist_ok=True)
            _fs.sweep(os.path.dirname(os.path.dirname(path)), older_than=time.time() - _FORGOTTEN)
    connection = _sqlite.connect(path, MIGRATIONS, timeout=_TIMEOUT, create=True, durable=False)
    connection.execute(f"PRAGMA cache_size=-{_PAGES_KIB}")
    return connection


def _directory() -> str | None:
    """The directory of the indexes, made if it is missing; None if there can be none."""
    import platformdirs

    return _made(platformdirs.user_cache_dir("mdirclient"), os.path.expanduser("~"))


@functools.lru_cache(maxsize=8)
def _made(cache: str, home: str) -> str | None:
    directory = os.path.join(cache, _FORMAT)
    # Pitfall: SQLite on a network file system corrupts.
    if not os.path.isdir(home) or _fs.is_network_filesystem(directory):
        return None
    try:
        if not os.path.isdir(directory):
            _fs.make_directories(directory, mode=0o700)
    except OSError:
        return None
    return directory if os.access(directory, os.W_OK | os.X_OK) else None
