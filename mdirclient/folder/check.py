"""What is broken in a folder, each finding with its remedy; and the remedies. Reads only.

What is repaired becomes steps of a journal, as every other change. Nothing is ever deleted:
what has no place goes to `.meta/.lost+found`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

import attrs

from mdirclient import _fs
from mdirclient.errors import FormatError, JournalError, VersionFormatError
from mdirclient.folder.apply import kept_name
from mdirclient.folder.entry import Entry, Layout
from mdirclient.folder.index import Index
from mdirclient.folder.journal import Step
from mdirclient.folder.own import read_journal, read_origin, read_version
from mdirclient.folder.scan import is_utf8, read_header
from mdirclient.folder.status import Guard, Status, sha256_of
from mdirclient.header import MAX_BYTES, Header
from mdirclient.naming import fold
from mdirclient.url import PartURL

Kind = Literal[
    "journal",
    "cut",
    "version",
    "origin",
    "header",
    "unreadable",
    "same-url",
    "renamed",
    "missing",
    "pending",
    "same-name",
    "not-utf8",
    "in-the-way",
]

#: What is wrong, and what `repair` does about it; an empty remedy is the user's to find.
KINDS: Final[dict[Kind, tuple[str, str]]] = {
    "journal": (
        "the journal cannot be read",
        "keep it and what it staged in .meta/.lost+found, and sync again",
    ),
    "cut": ("a change was cut", "finish it"),
    "version": (
        "it holds no counter",
        "keep it in .meta/.lost+found; without it everything is listed again",
    ),
    "origin": (
        "it does not say which folder is mirrored",
        "keep it in .meta/.lost+found; the next sync lists everything",
    ),
    "header": (
        "no header of an entry",
        "keep it in .meta/.lost+found; the file of its name is then one of yours",
    ),
    "unreadable": ("the header cannot be read", ""),
    "same-url": (
        "another header has the same url",
        "keep it in .meta/.lost+found; the file of its name is then one of yours",
    ),
    "renamed": ("the file has another name now", "give the header the name of the file"),
    "missing": (
        "the file is gone",
        "take the entry for removed: keep its header in .meta/.lost+found",
    ),
    "pending": (
        "no header of a pending entry",
        "keep it in .meta/.lost+found; sync from version 0 to have the entry again",
    ),
    "same-name": ("on some systems this is the name of another file", ""),
    "not-utf8": ("the name is not UTF-8, so this is no entry", ""),
    "in-the-way": ("something else is in its place", ""),
}

#: What the user can do about what `repair` leaves.
ADVICE: Final[dict[Kind, str]] = {
    "unreadable": "let it be read",
    "same-name": "rename it by hand",
    "not-utf8": "rename it by hand",
    "in-the-way": "move it away by hand",
}


@attrs.frozen
class Finding:
    """Something broken.

    Attributes:
        kind: one of the keys of `KINDS`.
        path: of what is broken, in the folder.
        detail: what exactly, such as the error or the other file; may be empty.
        url: of the entry, where there is one.
    """

    kind: Kind
    path: str
    detail: str = ""
    url: str = ""

    @property
    def problem(self) -> str:
        """What is wrong, for a person."""
        return KINDS[self.kind][0]

    @property
    def remedy(self) -> str:
        """What `repair` does; empty if it leaves this to the user."""
        return KINDS[self.kind][1]

    @property
    def advice(self) -> str:
        """What the user can do where there is no remedy; else empty."""
        return ADVICE.get(self.kind, "")


def find(
    layout: Layout, index: Index, guard: Guard, status: Callable[[], Status]
) -> tuple[Finding, ...]:
    """All that is broken. The index is brought to what the files are first."""
    try:
        is_cut = read_journal(layout) is not None
    except JournalError as error:
        return (Finding("journal", ".meta/.journal", error.reason), *_own_files(layout))
    if is_cut and _fs.is_abandoned(layout.lock):
        # What is incomplete because of it is not broken.
        return (Finding("cut", ".meta/.journal"), *_own_files(layout))
    with guard():
        index.read_again()
        headers = tuple(_headers(layout, index))
    return (*_own_files(layout), *headers, *_changes(status()), *_names(layout))


def remedies(findings: Iterable[Finding]) -> Iterator[Step]:
    """The steps that repair what can be repaired by steps."""
    for finding in findings:
        if finding.kind == "renamed":
            name = os.path.basename(finding.path)
            yield Step("rename", name, new_name=finding.detail, url=finding.url)
        elif finding.remedy and finding.kind not in ("journal", "cut"):
            yield keep(finding.path)


def keep(path: str) -> Step:
    """The step that moves something in the folder to `.lost+found`."""
    return Step("keep", path, new_name=kept_name(path))


def _own_files(layout: Layout) -> Iterator[Finding]:
    try:
        read_version(layout)
    except VersionFormatError as error:
        held = f"it holds {error.held[:80]!a}: " if error.held else ""
        yield Finding("version", ".version", held + error.reason)
    try:
        read_origin(layout)
    except (FormatError, OSError) as error:
        yield Finding("origin", ".meta/.origin", str(error))
    for path, is_right in (
        (layout.pending, os.path.isdir),
        (layout.lost_and_found, os.path.isdir),
        (layout.stage, os.path.isdir),
        (layout.lock, os.path.isfile),
    ):
        if os.path.islink(path) or (os.path.lexists(path) and not is_right(path)):
            yield Finding("in-the-way", os.path.relpath(path, layout.path))
    for name in _listed(layout.pending):
        if not is_utf8(name):
            continue
        path = os.path.join(layout.pending, name)
        try:
            PartURL.parse(Header.parse(_fs.read_file(path, MAX_BYTES)[0])["url"])
        except FileNotFoundError:
            continue  # it has come
        except (FormatError, KeyError, OSError) as error:
            yield Finding("pending", f".meta/.pending/{name}", str(error))


def _headers(layout: Layout, index: Index) -> Iterator[Finding]:
    for name in index.doubtful():
        path = layout.header_of(name)
        try:
            header = Header.parse(_fs.read_file(path, MAX_BYTES)[0], source=path)
            PartURL.parse(header["url"])
        except KeyError:
            yield Finding("header", f".meta/{name}", "it has no `url`")
        except FormatError as error:
            yield Finding("header", f".meta/{name}", str(error))
        except FileNotFoundError:
            continue  # it was renamed or removed
        except OSError as error:
            kind: Kind = "header" if error.errno in _fs.NOT_A_FILE else "unreadable"
            yield Finding(kind, f".meta/{name}", str(error.strerror))
    for name, first in index.duplicates():
        # The index is a cache: nothing is moved because of what it says alone.
        url = read_header(layout, name).url
        if name != first and url is not None and read_header(layout, first).url == url:
            yield Finding("same-url", f".meta/{name}", first, url)


def _changes(status: Status) -> Iterator[Finding]:
    for found in status.renamed:
        entry = found.entry
        yield Finding("renamed", f".meta/{entry.name}", found.name, str(entry.url))
    # A chain of renames by hand leaves one that is missing, but whose content is there.
    elsewhere = {sha256_of(os.fspath(entry.path)) for entry in _readable(status.modified)}
    for entry in status.missing:
        if entry.header.get("sha256") in elsewhere:
            continue
        yield Finding("missing", f".meta/{entry.name}", "", str(entry.url))


def _readable(entries: Iterable[Entry]) -> Iterator[Entry]:
    for entry in entries:
        with contextlib.suppress(OSError), _fs.open_file(os.fspath(entry.path)):
            yield entry


def _names(layout: Layout) -> Iterator[Finding]:
    """Names on disk are never rewritten, only told of."""
    seen: dict[str, str] = {}
    for name in sorted(_listed(layout.path)):
        first = seen.setdefault(fold(name), name)
        if first != name:
            yield Finding("same-name", name, first)
    places = ((layout.path, ""), (layout.meta, ".meta/"), (layout.pending, ".meta/.pending/"))
    for directory, prefix in places:
        for name in _listed(directory):
            if not is_utf8(name):
                yield Finding("not-utf8", prefix + name)


def _listed(path: str) -> list[str]:
    try:
        return [name for name in os.listdir(path) if not name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []
