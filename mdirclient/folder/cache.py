"""Where the index of a folder is kept: a database under the user's cache directory.

It is a cache: it can be deleted at any time, and is where it is damaged or of another version.
Reads and writes that directory, nothing else.
"""

from __future__ import annotations

import functools
import hashlib
import os
import sqlite3
import time
from typing import Final

from mdirclient import _fs, _sqlite

#: Part of the path, so that two versions of the package keep out of each other's way.
_FORMAT: Final = "index-1"
#: Seconds to wait for another process, which may be reading a large folder for the first time.
_TIMEOUT: Final = 120.0
#: KiB of the database in memory.
_PAGES_KIB: Final = 8192
#: An index that was not used for so many seconds goes; its folder may be gone too.
_FORGOTTEN: Final = 90 * 24 * 3600.0

MIGRATIONS: Final = (
    """
    CREATE TABLE state (
        serial INTEGER NOT NULL,       -- counts the changes of this index
        stamps TEXT NOT NULL,          -- of the folder's two directories, as they were then
        is_complete INTEGER NOT NULL,  -- every name that they have with these stamps is here
        is_marked INTEGER NOT NULL,    -- their times are our own
        settled_at INTEGER NOT NULL    -- when we changed them last, in nanoseconds
    );
    INSERT INTO state VALUES (0, '', 0, 0, 0);
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
        has_file INTEGER NOT NULL,     -- the name is taken in the folder itself
        UNIQUE (key, number, name)
    );
    CREATE INDEX entry_url ON entry (url, has_file) WHERE url IS NOT NULL;
    CREATE INDEX entry_unreadable ON entry (name) WHERE url IS NULL AND inode <> 0
    """,
)


def index_path(folder: str) -> str:
    """The database of a folder; `_sqlite.MEMORY` where no file can or should be made."""
    directory = _directory()
    if directory is None:
        return _sqlite.MEMORY
    digest = hashlib.sha256(os.fsencode(os.path.realpath(folder))).hexdigest()
    return os.path.join(directory, f"{digest[:32]}.sqlite3")


def open_index(path: str) -> sqlite3.Connection:
    """Open an index, made if it is missing.

    Raises:
        sqlite3.Error: it is damaged, or cannot be made.
    """
    if path != _sqlite.MEMORY and not os.path.exists(path):
        _sweep(os.path.dirname(path))
    connection = _sqlite.connect(path, MIGRATIONS, timeout=_TIMEOUT, create=True, durable=False)
    connection.execute(f"PRAGMA cache_size=-{_PAGES_KIB}")
    return connection


def remove_index(path: str) -> None:
    """Remove an index. Processes that have it open go on with it, each with its own."""
    if path != _sqlite.MEMORY:
        for suffix in ("", "-wal", "-shm"):
            _fs.remove(path + suffix)


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


def _sweep(directory: str) -> None:
    _fs.sweep(directory, older_than=time.time() - _FORGOTTEN)
