"""Looks over a whole mdird: what it names, and whether it can be read. For checks and garbage."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from mdirclient import _sqlite
from mdirclient.url import PartURL

_PAGE: Final = 500


def all_entries(connection: sqlite3.Connection) -> Iterator[tuple[str, bytes]]:
    """Each live entry: id of its folder, and its header as text. Nobody is kept waiting."""
    last = ("", 0)
    while rows := connection.execute(
        "SELECT identity, folder, folder.id, header FROM entry JOIN folder ON number = folder"
        " WHERE is_live AND (identity, folder) > (?, ?) ORDER BY identity, folder LIMIT ?",
        (*last, _PAGE),
    ).fetchall():
        last = (rows[-1][0], rows[-1][1])
        for _, _, folder, header in rows:
            yield folder, header


def is_named(connection: sqlite3.Connection, anchor: PartURL) -> bool:
    """Whether an entry, live or in the history, has a url of a message."""
    prefix = str(anchor).removesuffix("1")
    row = connection.execute(
        "SELECT 1 FROM entry WHERE identity >= ? AND identity < ? LIMIT 1",
        (prefix, f"{prefix}:"),  # ":" comes after the digits
    ).fetchone()
    return row is not None


def integrity(connection: sqlite3.Connection) -> list[str]:
    """What SQLite finds wrong with its file; empty if nothing."""
    try:
        rows = connection.execute("PRAGMA integrity_check(20)").fetchall()
    except sqlite3.Error as error:
        return [str(error)]
    return [] if rows == [("ok",)] else [str(row[0]) for row in rows]


def forget_upload(connection: sqlite3.Connection, anchor: PartURL) -> None:
    """Forget who uploaded a message that is gone."""
    with _sqlite.transaction(connection):
        connection.execute("DELETE FROM upload WHERE anchor = ?", (str(anchor),))
