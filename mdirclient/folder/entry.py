"""What a folder gives out. Pure."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from mdirclient.errors import PartURLError
from mdirclient.header import Header
from mdirclient.url import PartURL, canonical_url


@attrs.frozen
class Entry:
    """An item of a folder: physical file and header.

    Attributes:
        url: what identifies it.
        name: of the file and of its header in `.meta`.
        path: of the file.
        header: as in `.meta/<name>`.
    """

    url: PartURL
    name: str
    path: Path
    header: Header


@attrs.frozen
class Message:
    """The entries of one message that are in the folder.

    Attributes:
        anchor: part 1, or the first part that is here.
        parts: in the order of their numbers.
    """

    anchor: Entry
    parts: tuple[Entry, ...]


def group(entries: Iterable[Entry]) -> Iterator[Message]:
    """Entries that come in the order of their anchors, one message each."""
    for _, found in itertools.groupby(entries, lambda e: anchor_of(e.url, e.header)):
        parts = sorted(found, key=lambda entry: entry.url.part)
        yield Message(parts[0], tuple(parts))


def anchor_of(url: str | PartURL, header: Header) -> str:
    """What keeps the parts of a message together; without a usable `anchor` it is part 1."""
    try:
        if anchor := header.get("anchor"):
            return canonical_url(anchor)
    except PartURLError:
        pass
    return str(PartURL.parse(url).anchor)


class Layout:
    """Where the folder's own files are. Paths as text: made often, and never taken apart.

    Args:
        path: of the folder, absolute.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.meta = os.path.join(path, ".meta")
        self.version = os.path.join(path, ".version")
        self.stage = os.path.join(self.meta, ".stage")
        self.lost_and_found = os.path.join(self.meta, ".lost+found")
        self.pending = os.path.join(self.meta, ".pending")
        self.outgoing = os.path.join(self.meta, ".outgoing")
        self.push_lock = os.path.join(self.meta, ".push.lock")
        self.journal = os.path.join(self.meta, ".journal")
        self.origin = os.path.join(self.meta, ".origin")
        self.lock = os.path.join(self.meta, ".lock")
        self._contents = os.path.join(path, "")
        self._headers = os.path.join(self.meta, "")
        self._staged = os.path.join(self.stage, "")

    def content_of(self, name: str) -> str:
        """The physical file of an entry."""
        return self._contents + name

    def header_of(self, name: str) -> str:
        """The header of an entry."""
        return self._headers + name

    def staged(self, name: str) -> str:
        """A content or header on its way."""
        return self._staged + name
