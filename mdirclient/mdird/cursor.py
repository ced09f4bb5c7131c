"""Where a subscriber is in a folder, and what it misses. Reads a database only."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from typing import Final

import attrs

from mdirclient.errors import reply_error

_PAGE: Final = 500
_PAGE_BYTES: Final = 1 << 20


@attrs.frozen
class Row:
    """One patch as the database has it; `header` in its text form."""

    old_version: int
    new_version: int
    is_live: bool
    header: bytes


@contextlib.contextmanager
def snapshot(connection: sqlite3.Connection) -> Iterator[None]:
    """Everything that is read in the context is of one moment."""
    if connection.in_transaction:
        yield
        return
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.execute("COMMIT")


class OvertakenError(Exception):
    """The history begins after the version of the subscriber: it has to begin again."""


class Cursor:
    """A subscriber's place in a folder.

    Attributes:
        version: of the folder when it began.
        folder_id: id of the folder.
        epoch: of the mdird.
        is_listing: the live entries follow, not the changes since a version.
        sent: the version up to which everything was handed out.

    Args:
        connection: to the database; it may be shared.
        folder: its path, for errors.
        number: of the folder.
        version: that the subscriber has.
        epoch: in which that was counted, if known.

    Raises:
        ConflictReplyError: the version is above the folder's own.
    """

    __slots__ = (
        "_connection", "_number", "epoch", "folder_id", "is_listing", "sent", "version",
    )  # fmt: skip

    def __init__(
        self,
        connection: sqlite3.Connection,
        folder: str,
        number: int,
        version: int,
        epoch: str | None,
    ) -> None:
        self._connection = connection
        self._number = number
        self.folder_id, self.version, horizon, self.epoch = connection.execute(
            "SELECT id, version, horizon, value FROM folder, mdir"
            " WHERE number = ? AND key = 'epoch'",
            (number,),
        ).fetchone()
        is_restored = epoch is not None and epoch != self.epoch
        self.is_listing = version == 0 or is_restored or version < horizon
        if version > self.version and not is_restored:
            raise reply_error(
                409,
                f"version {version} of {folder!r} is above its own, {self.version}: the "
                f"counter was counted for another folder, or corrected too far",
            )
        self.sent = 0 if self.is_listing else version

    def current(self) -> int:
        """The version of the folder now."""
        return self._state()[0]

    def missing(self, *, limit: int = _PAGE) -> list[Row]:
        """The next patches that the subscriber misses; none if it has all.

        Raises:
            OvertakenError: removals that it would have needed were forgotten.
        """
        while True:
            rows = self._page(limit)
            # Race: looked at after the rows, so that none is missing among them unnoticed.
            needed = max(self.sent, self.version) if self.is_listing else self.sent
            if self._state()[1] > needed:
                raise OvertakenError
            if not rows:
                return []
            old, found = self.sent, []
            for version, is_live, header in rows:
                if is_live or not self.is_listing or version > self.version:
                    found.append(Row(old, version, bool(is_live), header))
                old = version
            self.sent = old
            if found:
                return found

    def _page(self, limit: int) -> list[tuple[int, int, bytes]]:
        """The next rows; so few that their headers are no more than some."""
        rows: list[tuple[int, int, bytes]] = []
        size = 0
        for row in self._connection.execute(
            "SELECT version, is_live, header FROM entry WHERE folder = ? AND version > ?"
            " ORDER BY version LIMIT ?",
            (self._number, self.sent, limit),
        ):
            rows.append(row)
            size += len(row[2])
            if size > _PAGE_BYTES:
                break
        return rows

    def _state(self) -> tuple[int, int]:
        row = self._connection.execute(
            "SELECT version, horizon FROM folder WHERE number = ?", (self._number,)
        ).fetchone()
        return int(row[0]), int(row[1])
