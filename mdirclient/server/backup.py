"""Backups: taken while the mdird works, and made an mdird again under a new epoch.

A backup is a directory as an mdird is: `mdird.sqlite3` and `store/`. Taken into the same directory
again only what is new is copied.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from typing import Final

import attrs

from mdirclient import _fs, _sqlite
from mdirclient.connect import STORE
from mdirclient.errors import TransportError
from mdirclient.mdird.embedded import DATABASE, EmbeddedMdird
from mdirclient.mdird.survey import integrity
from mdirclient.mstore import DirectoryMstore

Progress = Callable[[int, int], None]
#: Taken by a backup and by what removes contents, so that none is gone before it is copied.
LOCK: Final = "maintenance.lock"


@attrs.frozen
class Copied:
    """What a backup or a restore did.

    Attributes:
        messages: that were copied.
        kept: that were there already.
    """

    messages: int
    kept: int


def back_up(
    mdird: EmbeddedMdird,
    store: DirectoryMstore,
    target: str,
    *,
    progress: Progress | None = None,
    timeout: float = 30.0,
) -> Copied:
    """Copy an mdird and its contents while they are used. Durable on return.

    The entries are those of one moment; each has its content. Cut at any moment, the entries
    of the backup that was there before stay, with their contents, but for messages whose id was
    used again since then.

    Args:
        mdird: what is copied.
        store: its contents.
        target: the directory; made if it is missing.
        progress: called with (messages done, messages in all).
        timeout: seconds to wait for `mdird gc`.
    """
    _fs.make_directories(target, mode=0o700)
    if os.path.samefile(target, mdird.path):
        raise TransportError(target, "this is the mdird itself, not a place for its backup")
    _check_unused(target)
    with _fs.lock(os.path.join(mdird.path, LOCK), timeout=timeout):
        staged = os.path.join(target, f"{DATABASE}.new")
        _remove_database(staged)
        with contextlib.closing(mdird.open_connection()) as connection:
            _copy_database(connection, staged)
        with contextlib.closing(_sqlite.open_as_is(staged)) as connection:
            # A damaged database must not take the place of a good backup.
            _check_database(connection, staged)
        copied = _copy_store(store, os.path.join(target, STORE), progress)
        _publish_database(staged, os.path.join(target, DATABASE))
    return copied


def restore(
    source: str, target: str, *, store: str | None = None, progress: Progress | None = None
) -> Copied:
    """Make an mdird of a backup, under a new epoch: every client lists anew. Durable on return.

    Args:
        source: the backup.
        target: the directory of the mdird.
        store: that of its contents, if it is elsewhere; contents that are whole stay.
        progress: called with (messages done, messages in all).

    Raises:
        TransportError: there is an mdird already, or no backup.
        StoreError: the backup has no store.
    """
    if os.path.exists(os.path.join(target, DATABASE)):
        raise TransportError(target, f"there is an mdird already; move its {DATABASE}* away first")
    _check_unused(target)
    if not os.path.isfile(os.path.join(source, DATABASE)):
        raise TransportError(source, f"this is no backup: {DATABASE} is missing")
    kept = DirectoryMstore(os.path.join(source, STORE), create=False)
    _fs.make_directories(target, mode=0o700)
    copied = _copy_store(kept, store or os.path.join(target, STORE), progress, is_checked=True)
    staged = os.path.join(target, f"{DATABASE}.new")
    _remove_database(staged)
    with contextlib.closing(_sqlite.open_as_is(os.path.join(source, DATABASE))) as connection:
        _copy_database(connection, staged)
    with contextlib.closing(_sqlite.open_as_is(staged)) as connection:
        _begin_epoch(connection, staged)
    _publish_database(staged, os.path.join(target, DATABASE))
    return copied


def _copy_database(connection: sqlite3.Connection, staged: str) -> None:
    try:
        _sqlite.copy(connection, staged)
    except sqlite3.Error as error:
        raise TransportError(staged, f"the database cannot be copied: {error}") from error


def _check_unused(target: str) -> None:
    """What a process left that was killed would be taken for changes of another database."""
    for name in (f"{DATABASE}-wal", f"{DATABASE}-shm"):
        if os.path.exists(os.path.join(target, name)):
            raise TransportError(
                target, f"{name} is there: a process uses it, or was killed; move it away first"
            )


def _remove_database(path: str) -> None:
    for name in (path, f"{path}-wal", f"{path}-shm", f"{path}-journal"):
        _fs.remove(name)


def _check_database(connection: sqlite3.Connection, path: str) -> None:
    if problems := integrity(connection):
        raise TransportError(path, f"the database is damaged: {problems[0]}")


def _begin_epoch(connection: sqlite3.Connection, path: str) -> None:
    _check_database(connection, path)
    try:
        connection.execute("UPDATE mdir SET value = lower(hex(randomblob(8))) WHERE key = 'epoch'")
    except sqlite3.Error as error:
        raise TransportError(path, f"the backup is damaged: {error}") from error


def _publish_database(staged: str, path: str) -> None:
    with open(staged, "rb") as file:
        _fs.sync_file(file.fileno())
    _fs.replace_with(staged, path)
    _fs.sync_directory(os.path.dirname(path))


def _copy_store(
    store: DirectoryMstore, target: str, progress: Progress | None, *, is_checked: bool = False
) -> Copied:
    copy = DirectoryMstore(target, base=store.base)
    copy.put_back()
    segments = list(store.segments())
    messages = 0
    for done, segment in enumerate(segments, 1):
        messages += copy.take(store, segment, is_checked=is_checked)
        if progress:
            progress(done, len(segments))
    return Copied(messages, len(segments) - messages)
