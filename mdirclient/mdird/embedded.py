"""mdird in a file: SQLite, for any number of processes of one machine.

Reads and writes `<path>/mdird.sqlite3`.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeVar

from mdirclient import _fs, _sqlite
from mdirclient.errors import TransportError, reply_error
from mdirclient.header import EMPTY, Header
from mdirclient.mdird.operation import Batch, Changes, Operation, identity
from mdirclient.mdird.replies import replies
from mdirclient.mdird.schema import MIGRATIONS, ROOT
from mdirclient.mdird.tree import check_name, split_path

if TYPE_CHECKING:
    from typing import Self

    from mdirclient.interfaces import Mstore
    from mdirclient.mdird.subscription import EmbeddedSubscription

DATABASE: Final = "mdird.sqlite3"
#: How long a repeated CLASS is recognised, in seconds.
RECEIPTS_KEPT: Final = 30 * 24 * 3600
#: Entries of these types are removed only by a pattern that has a type.
_GUARDED_TYPES: Final = frozenset(["dir", "user", "stribution"])
_PAGE: Final = 500

_Answer = TypeVar("_Answer")


class EmbeddedMdird(Changes):
    """An mdird in a directory. May be shared by threads.

    Args:
        path: the directory.
        store: where the contents of its entries are.
        create: make it if it is missing.
        timeout: seconds to wait for other processes.
        clock: seconds since 1970, for receipts.

    Raises:
        TransportError: it is missing, on a network file system, or not an mdird.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        store: Mstore,
        *,
        create: bool = True,
        timeout: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.path = os.path.abspath(path)
        self.store = store
        self._database = os.path.join(self.path, DATABASE)
        self._timeout = timeout
        self._clock = clock
        self._lock = threading.RLock()
        if _fs.is_network_filesystem(self.path):
            raise TransportError(
                self.path,
                "it is on a network file system, where SQLite loses data; run `mdird serve` "
                "on the machine that has the disk",
            )
        if create:
            _fs.make_directories(self.path, mode=0o700)
        elif not os.path.isfile(self._database):
            raise TransportError(self.path, f"there is no mdird: {DATABASE} is missing")
        self._connection = self._connect(create)

    def _connect(self, create: bool = False) -> sqlite3.Connection:
        try:
            return _sqlite.connect(self._database, MIGRATIONS, timeout=self._timeout, create=create)
        except sqlite3.Error as error:
            raise TransportError(self._database, str(error)) from error

    def batch(self) -> Batch:
        """See `Mdird.batch`."""
        return Batch(self, self._run)

    def lookup(self, folder: str, pattern: Header = EMPTY) -> Iterator[Header]:
        """See `Mdird.lookup`."""
        number = self._reading(lambda: self._folder(folder))
        after = 0
        while rows := self._reading(partial(self._page, number, pattern, after)):
            after = rows[-1][0]
            for _, data in rows:
                header = Header.parse(data)
                if _matches(header, pattern):
                    yield header

    def subscribe(
        self,
        folder: str,
        version: int = 0,
        *,
        epoch: str | None = None,
        timeout: float | None = None,
    ) -> EmbeddedSubscription:
        """See `Mdird.subscribe`."""
        from mdirclient.mdird.subscription import EmbeddedSubscription  # who delivers needs none

        number = self._reading(lambda: self._folder(folder))
        return EmbeddedSubscription(
            self._connect(), folder, number, version, epoch=epoch, timeout=timeout
        )

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- changes, each inside of a transaction

    def _run(self, operations: list[Operation]) -> list[int]:
        with self._lock, replies(), _sqlite.transaction(self._connection):
            return [self._apply(operation) for operation in operations]

    def _apply(self, operation: Operation) -> int:
        number = self._folder(operation.folder)
        header = operation.header
        if operation.keyword == "REM":
            return self._remove(number, header)
        if operation.keyword == "SET":
            return self._set(number, header, operation.base)
        if operation.keyword == "CLASS" and not self._receive(number, header):
            return 0
        return self._put(number, header)

    def _put(self, number: int, header: Header) -> int:
        if header.get("type") == "dir":
            return self._put_directory(number, header)
        key = _key(header)
        live = self._live_version(number, key)
        return live or self._write(number, key, header)

    def _set(self, number: int, header: Header, base: int) -> int:
        if header.get("type") == "dir":
            raise reply_error(400, "a folder is changed by PUT and REM")
        key = _key(header)
        live = self._live_version(number, key)
        if live != base:
            raise reply_error(409, f"the entry is at version {live}, not {base}")
        return self._write(number, key, header)

    def _receive(self, number: int, header: Header) -> bool:
        """Note a CLASS; False if it is a repeat."""
        key = _key(header)
        now = int(self._clock())
        self._connection.execute("DELETE FROM receipt WHERE at <= ?", (now - RECEIPTS_KEPT,))
        added = self._connection.execute(
            "INSERT OR IGNORE INTO receipt VALUES (?, ?, ?)", (number, key, now)
        )
        return added.rowcount == 1

    def _remove(self, number: int, pattern: Header) -> int:
        if not pattern.fields:
            raise reply_error(400, "an empty pattern would remove everything")
        count = after = 0
        while rows := self._page(number, pattern, after):
            after = rows[-1][0]
            for _, data in rows:
                header = Header.parse(data)
                is_guarded = header.get("type") in _GUARDED_TYPES and "type" not in pattern
                if _matches(header, pattern) and not is_guarded:
                    self._remove_one(number, header)
                    count += 1
        return count

    def _remove_one(self, number: int, header: Header) -> None:
        key = _key(header)
        if header.get("type") == "dir":
            self._check_removable(header)
            shown = Header([("type", "dir"), ("id", header["id"]), ("name", header["name"])])
        else:
            shown = Header([("url", header["url"])])
        self._write(number, key, shown, is_live=False)

    def _check_removable(self, header: Header) -> None:
        row = self._connection.execute(
            "SELECT number, (SELECT count(*) FROM entry WHERE target = number),"
            " EXISTS (SELECT 1 FROM entry WHERE folder = number AND is_live)"
            " FROM folder WHERE id = ?",
            (header["id"],),
        ).fetchone()
        if row and row[1] == 1 and row[2]:
            raise reply_error(409, f"the folder {header['name']!r} is not empty")

    def _put_directory(self, number: int, header: Header) -> int:
        name = check_name(header.get("name", "") or "")
        row = self._connection.execute(
            "SELECT entry.version, folder.id FROM entry JOIN folder ON folder.number = target"
            " WHERE entry.folder = ? AND name = ?",
            (number, name),
        ).fetchone()
        given = header.get("id")
        if row:
            if given in (None, row[1]):
                return int(row[0])
            raise reply_error(409, f"there is another folder {name!r}")
        identifier = given or os.urandom(16).hex()
        if not identifier.isascii() or not identifier.isalnum() or len(identifier) > 64:
            raise reply_error(400, "the id of a folder is 1 to 64 letters and digits")
        target = self._number_of(identifier)
        if self._is_inside(number, target):
            raise reply_error(409, f"a folder cannot be inside of itself: {name!r}")
        kept = header.replace("id", identifier)
        return self._write(number, _key(kept), kept, name=name, target=target)

    def _number_of(self, identifier: str) -> int:
        """The folder with this id, made if it is new."""
        self._connection.execute("INSERT OR IGNORE INTO folder (id) VALUES (?)", (identifier,))
        row = self._connection.execute(
            "SELECT number FROM folder WHERE id = ?", (identifier,)
        ).fetchone()
        return int(row[0])

    def _is_inside(self, number: int, target: int) -> bool:
        """Whether the folder `number` is `target` or somewhere below it."""
        row = self._connection.execute(
            "WITH RECURSIVE above (number) AS (VALUES (?) UNION SELECT entry.folder FROM entry"
            " JOIN above ON entry.target = above.number)"
            " SELECT 1 FROM above WHERE number = ?",
            (number, target),
        ).fetchone()
        return row is not None

    def _write(
        self,
        number: int,
        key: str,
        header: Header,
        *,
        is_live: bool = True,
        name: str | None = None,
        target: int | None = None,
    ) -> int:
        """Put a row at the folder's next version."""
        execute = self._connection.execute
        row = execute(
            "UPDATE folder SET version = version + 1 WHERE number = ? RETURNING version", (number,)
        ).fetchone()
        version = int(row[0])
        kind = header.get("type") or ""
        execute(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (folder, identity) DO"
            " UPDATE SET version = excluded.version, is_live = excluded.is_live,"
            " type = excluded.type, name = excluded.name, target = excluded.target,"
            " header = excluded.header",
            (number, key, version, is_live, kind, name, target, header.to_bytes()),
        )
        return version

    # -- reading

    def _reading(self, read: Callable[[], _Answer]) -> _Answer:
        with self._lock, replies():
            return read()

    def _folder(self, folder: str) -> int:
        number = ROOT
        for name in split_path(folder):
            row = self._connection.execute(
                "SELECT target FROM entry WHERE folder = ? AND name = ? AND target IS NOT NULL",
                (number, name),
            ).fetchone()
            if not row:
                raise reply_error(404, f"there is no folder {folder!r}")
            number = int(row[0])
        return number

    def _live_version(self, number: int, key: str) -> int:
        row = self._connection.execute(
            "SELECT version FROM entry WHERE folder = ? AND identity = ? AND is_live", (number, key)
        ).fetchone()
        return int(row[0]) if row else 0

    def _page(self, number: int, pattern: Header, after: int) -> list[tuple[int, bytes]]:
        """The next live entries after a version that may match: (version, header)."""
        where = "folder = ? AND is_live AND version > ?"
        values: list[str | int] = [number, after]
        key = identity(pattern)
        if key is not None:
            where += " AND identity = ?"
            values.append(key)
        elif kind := pattern.get("type"):
            where += " AND type = ? AND type != ''"
            values.append(kind)
            if kind == "dir" and "name" in pattern:
                where += " AND name = ? AND target IS NOT NULL"
                values.append(pattern["name"])
        return self._connection.execute(
            f"SELECT version, header FROM entry WHERE {where}"  # noqa: S608 - our own words
            " ORDER BY version LIMIT ?",
            [*values, _PAGE],
        ).fetchall()


def _key(header: Header) -> str:
    key = identity(header)
    if key is None:
        raise reply_error(400, "the header has no url")
    return key


def _matches(header: Header, pattern: Header) -> bool:
    """Whether a header has all fields of a pattern. Urls are compared decoded."""
    if "url" in pattern and identity(pattern) == identity(header):
        return header.matches(pattern.replace("url"))
    return header.matches(pattern)
