"""Moves files from folder to folder knowingly, here and in the mdir."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from mdirclient import _fs
from mdirclient.errors import (
    FolderNotFoundError,
    OriginMismatchError,
    UnknownURLError,
)
from mdirclient.folder import Entry, Folder
from mdirclient.interfaces import Mdird
from mdirclient.mdird.tree import folder_id
from mdirclient.sync.push import move_entry


def move_files(
    mdird: Mdird, files: Iterable[Path], directory: str | os.PathLike[str]
) -> Iterator[tuple[Path, Path]]:
    """Move entries to another local folder; each durable when its paths are yielded.

    Crash: it is moved in the mdir, and the next syncs do the rest; or nothing happened.

    Args:
        mdird: that both mirror.
        files: physical files of entries.
        directory: the local folder that they go to.

    Raises:
        UnknownURLError: a file is no entry.
        ContentMismatchError: a file was changed by hand; `sync` with `push` makes an entry of it.
        FolderNotFoundError: a directory mirrors nothing yet.
        OriginMismatchError: a folder of the mdir is no longer what was mirrored.
        PermanentReplyError: 403, one of the rights is missing.
    """
    with Folder(directory) as target:
        name = _mirrored(target, mdird)
        for path in files:
            with Folder(path.parent) as source:
                entry = _entry(source, path.name)
                yield path, _move(mdird, source, entry, target, name)


def _move(mdird: Mdird, source: Folder, entry: Entry, target: Folder, name: str) -> Path:
    if os.path.samefile(source.path, target.path):
        return entry.path
    with _fs.open_file(os.fspath(entry.path)) as content, target.batch() as batch:
        # What a person changed is no content of this entry, which is found before anything goes.
        batch.add(entry.header, content)
        # Crash: from here on it is moved in the mdir, and the next syncs bring the files.
        move_entry(mdird, entry.header, _mirrored(source, mdird), name)
    with source.batch() as batch:
        batch.remove(entry.url, keep_modified=True)
    return target[entry.url].path


def _entry(folder: Folder, name: str) -> Entry:
    folder.require()
    entry = folder.entry_named(name)
    if not entry:
        raise UnknownURLError(os.fspath(folder.path), name)
    return entry


def _mirrored(folder: Folder, mdird: Mdird) -> str:
    """The path of the folder of the mdir that a local folder mirrors."""
    folder.require()
    origin = folder.origin
    if origin is None:
        raise FolderNotFoundError(os.fspath(folder.path))
    if folder_id(mdird, origin.name) != origin.folder_id:
        raise OriginMismatchError(os.fspath(folder.path), origin.name, origin.name)
    return origin.name
