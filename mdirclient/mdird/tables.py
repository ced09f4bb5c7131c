"""The rows of an mdird: folders by path, entries by identity. Reads and writes its database.

Every method is to be called by one thread at a time; writing ones inside of a transaction.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from mdirclient.errors import reply_error
from mdirclient.header import EMPTY, Header
from mdirclient.mdird.operation import identity
from mdirclient.mdird.schema import ROOT
from mdirclient.naming import split_path

#: Entries of these types are told apart by their name.
_NAMED_TYPES: Final = frozenset(["dir", "user"])
_PAGE: Final = 500
_PAGE_BYTES: Final = 1 << 20
#: Paths that are remembered at most.
_MAX_REMEMBERED: Final = 100_000


class Tables:
    """The tables, through one connection.

    Paths of folders are remembered until a folder, a right or a user changes: that counts
    up `generation`, which all processes see.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.generation = -1
        self._never = 0
        self._paths: dict[str, int] = {}

    def look(self) -> None:
        """Notice what others changed: to be called first in a transaction, or to read."""
        row = self.connection.execute("SELECT value FROM mdir WHERE key = 'generation'").fetchone()
        if int(row[0]) != self.generation:
            self.forget()
            self.generation = int(row[0])

    def forget(self) -> None:
        """Forget what may be wrong now."""
        # A number that it never was: who remembers something by it must notice each time.
        self._never -= 1
        self.generation = self._never
        self._paths.clear()

    # -- folders

    def folder(self, path: str) -> int:
        """The number of a folder.

        Raises:
            NotFoundReplyError: there is none.
        """
        if known := self._paths.get(path):
            return known
        given, path = path, "/".join(split_path(path))
        if known := self._paths.get(path):
            return known  # another spelling, which is not remembered: there are too many
        numbers = self.walk(path)
        if numbers[-1] == 0:
            raise reply_error(404, f"there is no folder {given!r}")
        if len(self._paths) >= _MAX_REMEMBERED:
            self._paths.clear()
        self._paths[path] = numbers[-1]
        return numbers[-1]

    def walk(self, path: str) -> list[int]:
        """The folders on the way from the root; the last one is 0 where a name is missing."""
        numbers = [ROOT]
        for name in split_path(path):
            row = self.connection.execute(
                "SELECT target FROM entry WHERE folder = ? AND name = ? AND target IS NOT NULL",
                (numbers[-1], name),
            ).fetchone()
            numbers.append(int(row[0]) if row else 0)
            if not row:
                break
        return numbers

    def parent(self, number: int) -> int | None:
        """The folder above, where a folder was made; None of the root, or where it has no name."""
        row = self.connection.execute(
            "SELECT home FROM folder WHERE number = ?", (number,)
        ).fetchone()
        return int(row[0]) if row and row[0] else None

    def id_of(self, number: int) -> str:
        """The id of a folder."""
        row = self.connection.execute(
            "SELECT id FROM folder WHERE number = ?", (number,)
        ).fetchone()
        return str(row[0])

    def has_name(self, number: int) -> bool:
        """Whether a folder is the root, or somewhere below of something."""
        return number == ROOT or self._other_names(number) > 0

    def directory(self, number: int, name: str) -> tuple[int, int, str] | None:
        """Version, target and target's id of the folder of this name."""
        row = self.connection.execute(
            "SELECT entry.version, target, folder.id FROM entry JOIN folder"
            " ON folder.number = target WHERE entry.folder = ? AND name = ?",
            (number, name),
        ).fetchone()
        return (int(row[0]), int(row[1]), str(row[2])) if row else None

    def known_id(self, identifier: str) -> int | None:
        """The number of the folder with this id, also of one that has no name any more."""
        row = self.connection.execute(
            "SELECT number FROM folder WHERE id = ?", (identifier,)
        ).fetchone()
        return int(row[0]) if row else None

    def make_id(self, identifier: str) -> int:
        """The number of the folder with this id, made if it is new."""
        self.connection.execute("INSERT OR IGNORE INTO folder (id) VALUES (?)", (identifier,))
        number = self.known_id(identifier)
        assert number
        return number

    def is_inside(self, number: int, target: int) -> bool:
        """Whether the folder `number` is `target` or somewhere below it."""
        row = self.connection.execute(
            "WITH RECURSIVE above (number) AS (VALUES (?) UNION SELECT entry.folder FROM entry"
            " JOIN above ON entry.target = above.number)"
            " SELECT 1 FROM above WHERE number = ?",
            (number, target),
        ).fetchone()
        return row is not None

    def is_only_name(self, target: int) -> bool:
        """Whether a folder has no other name than one."""
        return self._other_names(target) <= 1

    def has_entries(self, number: int) -> bool:
        """Whether something is in a folder."""
        query = "SELECT 1 FROM entry WHERE folder = ? AND is_live LIMIT 1"
        return self.connection.execute(query, (number,)).fetchone() is not None

    def settle_home(self, target: int) -> None:
        """Give a folder a home where it has none; to be called when a name came or went."""
        self.connection.execute(
            "UPDATE folder SET (home, home_name) = (SELECT folder, name FROM entry"
            " WHERE target = ?1 ORDER BY entry.rowid LIMIT 1) WHERE number = ?1 AND NOT EXISTS"
            " (SELECT 1 FROM entry WHERE entry.folder = home AND name = home_name"
            " AND target = ?1)",
            (target,),
        )

    def _other_names(self, target: int) -> int:
        row = self.connection.execute(
            "SELECT count(*) FROM entry WHERE target = ?", (target,)
        ).fetchone()
        return int(row[0])

    # -- entries

    def live_version(self, number: int, key: str) -> int:
        """The version of a live entry, or 0."""
        row = self.connection.execute(
            "SELECT version FROM entry WHERE identity = ? AND folder = ? AND is_live", (key, number)
        ).fetchone()
        return int(row[0]) if row else 0

    def live_header(self, number: int, key: str) -> Header | None:
        """The header of a live entry."""
        row = self.connection.execute(
            "SELECT header FROM entry WHERE identity = ? AND folder = ? AND is_live", (key, number)
        ).fetchone()
        return Header.parse(row[0]) if row else None

    def newest(self, number: int, kind: str) -> Header | None:
        """The newest live entry of a type of which a folder has a few."""
        # SQLite would go through the folder by version, to save sorting them.
        row = self.connection.execute(
            "SELECT header FROM entry INDEXED BY entry_by_type"
            " WHERE folder = ? AND is_live AND type = ? AND type != ''"
            " ORDER BY version DESC LIMIT 1",
            (number, kind),
        ).fetchone()
        return Header.parse(row[0]) if row else None

    def page(
        self, number: int, pattern: Header = EMPTY, after: int = 0, *, limit: int = _PAGE
    ) -> list[tuple[int, bytes]]:
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
            if kind in _NAMED_TYPES and "name" in pattern:
                where += " AND name = ?" + " AND target IS NOT NULL" * (kind == "dir")
                values.append(pattern["name"])
        rows: list[tuple[int, bytes]] = []
        size = 0
        for row in self.connection.execute(
            f"SELECT version, header FROM entry WHERE {where}"  # noqa: S608 - our own words
            " ORDER BY version LIMIT ?",
            [*values, limit],
        ):
            rows.append(row)
            size += len(row[1])
            if size > _PAGE_BYTES:
                break
        return rows

    def write(
        self,
        number: int,
        key: str,
        header: Header,
        *,
        is_live: bool = True,
        target: int | None = None,
    ) -> int:
        """Put a row at the folder's next version."""
        execute = self.connection.execute
        row = execute(
            "UPDATE folder SET version = version + 1 WHERE number = ? RETURNING version", (number,)
        ).fetchone()
        version = int(row[0])
        kind = header.get("type") or ""
        name = header.get("name") if is_live and kind in _NAMED_TYPES else None
        execute(
            "INSERT INTO entry VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (identity, folder) DO"
            " UPDATE SET version = excluded.version, is_live = excluded.is_live,"
            " type = excluded.type, name = excluded.name, target = excluded.target,"
            " header = excluded.header",
            (number, key, version, is_live, kind, name, target, header.to_bytes()),
        )
        return version

    def changed_tree(self) -> None:
        """A folder, a right or a user changed: nobody may believe what was remembered."""
        self.connection.execute(
            "UPDATE mdir SET value = CAST(value AS INTEGER) + 1 WHERE key = 'generation'"
        )
        self.forget()


def matches(header: Header, pattern: Header) -> bool:
    """Whether a header has all fields of a pattern. Urls are compared decoded."""
    if "url" in pattern and identity(pattern) == identity(header):
        return header.matches(pattern.replace("url"))
    return header.matches(pattern)
