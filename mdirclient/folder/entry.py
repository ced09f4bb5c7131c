"""What a folder gives out. Pure."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

from mdirclient.errors import PartURLError
from mdirclient.header import Header
from mdirclient.url import PartURL


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
    """Entries grouped by anchor, in the order of the first one of each."""
    groups: dict[PartURL, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(_anchor(entry), []).append(entry)
    for parts in groups.values():
        parts.sort(key=lambda entry: entry.url.part)
        yield Message(parts[0], tuple(parts))


def _anchor(entry: Entry) -> PartURL:
    try:
        return PartURL.parse(entry.header.get("anchor") or entry.url.anchor)
    except PartURLError:
        return entry.url.anchor


@attrs.frozen
class Layout:
    """Where the folder's own files are. Paths as text: made often, and never taken apart."""

    path: str

    @property
    def meta(self) -> str:
        return os.path.join(self.path, ".meta")

    @property
    def stage(self) -> str:
        return os.path.join(self.path, ".meta", ".stage")

    @property
    def lost_and_found(self) -> str:
        return os.path.join(self.path, ".meta", ".lost+found")

    @property
    def pending(self) -> str:
        return os.path.join(self.path, ".meta", ".pending")

    @property
    def journal(self) -> str:
        return os.path.join(self.path, ".meta", ".journal")

    @property
    def origin(self) -> str:
        return os.path.join(self.path, ".meta", ".origin")

    @property
    def lock(self) -> str:
        return os.path.join(self.path, ".meta", ".lock")

    @property
    def version(self) -> str:
        return os.path.join(self.path, ".version")

    def content_of(self, name: str) -> str:
        return os.path.join(self.path, name)

    def header_of(self, name: str) -> str:
        return os.path.join(self.path, ".meta", name)
