"""Holds the entries of an mdird and its store against each other. Reads only."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Literal

import attrs

from mdirclient.errors import DamagedMessageError, FormatError, UnknownContentError
from mdirclient.header import Header
from mdirclient.mdird.replies import replies
from mdirclient.mdird.rights import TYPE
from mdirclient.mdird.survey import all_entries, integrity
from mdirclient.url import PartURL

if TYPE_CHECKING:
    from mdirclient.mdird.embedded import EmbeddedMdird
    from mdirclient.mstore import DirectoryMstore

Problem = Literal["missing", "different", "damaged", "unreadable"]
_REMEDIES = {
    "missing": "its content is not in the store: restore it from a backup, or remove the entry",
    "different": "its content is not what its header says: restore it from a backup",
    "damaged": "restore it from a backup, or deliver the mail again",
    "unreadable": "its header cannot be read: restore the mdird from a backup",
}


@attrs.frozen
class Defect:
    """Something that is broken.

    Attributes:
        problem: which.
        url: of the entry or the message; the row of an entry that has none.
        folder: id of the folder, or empty.
        detail: what exactly.
    """

    problem: Problem
    url: str
    folder: str = ""
    detail: str = ""

    @property
    def remedy(self) -> str:
        """What to do."""
        return _REMEDIES[self.problem]


def check(mdird: EmbeddedMdird, store: DirectoryMstore, *, full: bool = False) -> Iterator[Defect]:
    """Find what is broken; entries that come and go meanwhile are none.

    Args:
        mdird: whose entries are looked at.
        store: their contents.
        full: make every original again, which reads all contents.
    """
    with contextlib.closing(mdird.open_connection()) as connection, replies():
        problems = integrity(connection)
        yield from (Defect("unreadable", mdird.path, "", problem) for problem in problems)
        if problems:
            return
        for folder, data in all_entries(connection):
            yield from _entry(store, folder, data)
    for segment in list(store.segments()):
        yield from _message(store, segment, full=full)


def _entry(store: DirectoryMstore, folder: str, data: bytes) -> Iterator[Defect]:
    try:
        header = Header.parse(data)
        if "url" not in header or header.get("type") == TYPE:
            return
        url = PartURL.parse(header["url"])
    except FormatError as error:
        yield Defect("unreadable", data[:80].decode(errors="replace"), folder, str(error))
        return
    if url.base != store.base or not url.part:
        return
    try:
        with store.open(url) as file:
            size = _length(file)
    except UnknownContentError:
        yield Defect("missing", str(url), folder)
        return
    if header.get("size") not in (None, str(size)):
        yield Defect("different", str(url), folder, f"{size} bytes, not {header['size']}")


def _message(store: DirectoryMstore, segment: str, *, full: bool) -> Iterator[Defect]:
    message_id, _, variant = segment.partition(";")
    try:
        whole = PartURL(store.base, message_id, 0, variant or None)
        if full:
            store.open(whole).close()
        else:
            store.contents(whole)
    except UnknownContentError:
        return  # it was removed meanwhile
    except (DamagedMessageError, FormatError) as error:
        yield Defect("damaged", segment, "", str(error))


def _length(file: IO[bytes]) -> int:
    return file.seek(0, os.SEEK_END)
