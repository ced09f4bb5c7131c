"""The only opener of databases: pragmas, waiting, transactions, migration."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Final

#: Seconds that one statement waits for another process.
_RETRY_WAIT = 0.01


#: As the path of a database that ends with its connection.
MEMORY: Final = ":memory:"


def connect(
    path: str, migrations: Sequence[str], *, timeout: float, create: bool, durable: bool = True
) -> sqlite3.Connection:
    """Open a database in WAL mode.

    Args:
        path: the file, or `MEMORY`.
        migrations: scripts; `PRAGMA user_version` tells how many were applied.
        timeout: seconds to wait for other processes.
        create: whether a missing file is made.
        durable: a committed transaction survives a power cut (synchronous=FULL). Else the
            last ones may be gone after it, each as a whole (NORMAL).

    Raises:
        sqlite3.Error: not a database, or of a newer version, or busy for too long.
    """
    uri = "file:" + _quoted(path) + ("?mode=rwc" if create else "?mode=rw")
    connection = sqlite3.connect(
        MEMORY if path == MEMORY else uri,
        uri=path != MEMORY,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _set_up(connection, timeout, "FULL" if durable else "NORMAL")
        _migrate(connection, migrations)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: str, migrations: Sequence[str], *, timeout: float) -> sqlite3.Connection:
    """Open a database that is there, and change nothing of what it says.

    SQLite makes its files beside it where it can; where it cannot, and there are none, they are
    not needed.

    Raises:
        sqlite3.Error: not a database, missing, or of another version.
    """
    folder = os.path.dirname(os.path.abspath(path))
    # Without the files beside it, which nobody can make there, it is all in this one.
    is_fixed = not os.access(folder, os.W_OK) and not os.path.exists(f"{path}-wal")
    connection = sqlite3.connect(
        f"file:{_quoted(path)}?mode=ro{'&immutable=1' if is_fixed else ''}",
        uri=True,
        timeout=timeout,
        isolation_level=None,
        check_same_thread=False,
    )
    try:
        _check_version(done := _applied(connection), migrations)
        if done < len(migrations):
            raise sqlite3.DatabaseError(
                f"written by an older version (format {done}, this one reads {len(migrations)})"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def tables(migrations: Sequence[str]) -> frozenset[str]:
    """Names of the tables and indexes that a database has."""
    with contextlib.closing(open_as_is(MEMORY)) as connection:
        _migrate(connection, migrations)
        return names(connection)


def names(connection: sqlite3.Connection) -> frozenset[str]:
    """The same of one that is open."""
    return frozenset(name for (name,) in connection.execute("SELECT name FROM sqlite_master"))


def open_as_is(path: str) -> sqlite3.Connection:
    """Open a database, or make one, without changing its mode or its tables."""
    return sqlite3.connect(path, isolation_level=None)


def copy(connection: sqlite3.Connection, path: str) -> None:
    """Copy a database into a new file while it is used: the state of one moment. Not durable yet.

    Raises:
        sqlite3.Error: it cannot be read, or the copy not be written.
    """
    # A copy begins again whenever somebody commits, unless it is inside of a transaction.
    connection.execute("BEGIN")
    connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    with contextlib.closing(open_as_is(path)) as target:
        connection.backup(target)
        connection.execute("COMMIT")
        # One file, which can be moved; who opens it sets its own mode.
        target.execute("PRAGMA journal_mode=DELETE")


def _set_up(connection: sqlite3.Connection, timeout: float, synchronous: str) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            # Race: the switch to WAL does not call the busy handler.
            connection.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= deadline:
                raise
            time.sleep(_RETRY_WAIT)
    connection.execute(f"PRAGMA synchronous={synchronous}")
    connection.execute("PRAGMA foreign_keys=ON")


def _migrate(connection: sqlite3.Connection, migrations: Sequence[str]) -> None:
    if _applied(connection) == len(migrations):
        return
    with transaction(connection):
        done = _applied(connection)
        _check_version(done, migrations)
        for script in migrations[done:]:
            for statement in script.split(";"):
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version={len(migrations)}")


def _check_version(done: int, migrations: Sequence[str]) -> None:
    if done > len(migrations):
        raise sqlite3.DatabaseError(
            f"written by a newer version (format {done}, this one knows {len(migrations)})"
        )


def _applied(connection: sqlite3.Connection) -> int:
    row = connection.execute("PRAGMA user_version").fetchone()
    return int(row[0])


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """One write transaction: durable when the context ends, nothing of it after an error.

    It takes the write lock at once (IMMEDIATE): a read that later becomes a write would
    fail at once where another process wrote in between.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _quoted(path: str) -> str:
    """A path as in a URI of SQLite (`?`, `#` and `%` have a meaning there)."""
    return path.replace("%", "%25").replace("?", "%3f").replace("#", "%23")
