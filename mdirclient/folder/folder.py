"""Folder: the files of one folder, their headers and its counter (docs: formats/folder).

Reads and writes the directory it was given, nothing else.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, TypeVar

from mdirclient import _fs
from mdirclient._fs import FileSystem
from mdirclient.errors import (
    FolderNotFoundError,
    PartURLError,
    UnknownURLError,
    check_mass_removal,
)
from mdirclient.folder.batch import Batch
from mdirclient.folder.check import Finding, find, remedies
from mdirclient.folder.entry import Entry, Layout, Message, group
from mdirclient.folder.index import BY_ANCHOR, BY_NAME, Index, Item
from mdirclient.folder.journal import Journal
from mdirclient.folder.origin import Origin
from mdirclient.folder.outgoing import Outgoing, forget_outgoing, note_outgoing, read_outgoing
from mdirclient.folder.own import read_origin, read_version
from mdirclient.folder.pending import read_pending
from mdirclient.folder.scan import read_header
from mdirclient.folder.status import Progress, Status, find_changes, is_regular
from mdirclient.folder.version import version_to_bytes
from mdirclient.folder.watch import Change, changes
from mdirclient.folder.writer import Writer
from mdirclient.header import Header
from mdirclient.interfaces import URL, Content
from mdirclient.naming import is_own_name
from mdirclient.url import PartURL

if TYPE_CHECKING:
    from typing import Self

Durability = Literal["full", "none"]


T = TypeVar("T")

#: How often, and after how many seconds, a folder is looked at again that others change.
_LOOKS: Final = 20
_LOOK_AGAIN: Final = 0.05


class Folder:
    """A local folder. A context manager; may be shared by threads and processes.

    Opening touches nothing; the first change makes the directory and its `.meta`. Readers
    take no lock and never see half an entry.

    Args:
        path: the directory.
        durability: `full`: a change survives a power cut once the call returns; `none`: it
            survives the end of the process only, and a power cut may damage the folder.
        lock_timeout: seconds to wait for other processes that change the folder.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        durability: Durability = "full",
        lock_timeout: float = 30.0,
    ) -> None:
        self.path = Path(path)
        self._layout = Layout(os.path.abspath(path))
        self._durable = durability == "full"
        self._lock_timeout = lock_timeout
        self._lock = threading.RLock()
        self._process = os.getpid()
        self._index = Index(self._layout)
        self._writer = Writer(
            self._layout,
            self._index,
            self._guard,
            durable=self._durable,
            lock_timeout=lock_timeout,
        )

    # -- the counter

    @property
    def version(self) -> int:
        """The counter in `.version`; 0 if there is none.

        Assigning replaces it, whatever the file holds; the old bytes are kept in
        `.meta/.lost+found`.

        Raises:
            VersionFormatError: the file holds no counter.
        """
        return read_version(self._layout)

    @version.setter
    def version(self, version: int) -> None:
        version_to_bytes(version)  # a wrong number is refused before anything is touched
        with self._writer.locked() as ready:
            applier = self._writer.applier()
            applier.keep_version()
            applier.replace_version(version)
            self._index.settle((), ready)

    @property
    def origin(self) -> Origin | None:
        """Which folder of which mdird the counter counts for; None if that is not known.

        Raises:
            HeaderError: `.meta/.origin` cannot be read.
        """
        return read_origin(self._layout)

    # -- looking up

    def __getitem__(self, url: URL) -> Entry:
        """The entry with a url.

        Raises:
            UnknownURLError: there is none, or its file is gone.
        """
        entry = self.get(url)
        if entry is None:
            raise UnknownURLError(os.fspath(self.path), str(url))
        return entry

    def get(self, url: URL) -> Entry | None:
        """The entry with a url, or None."""
        part_url = PartURL.parse(url)
        with self._guard():
            item = self._index.find(part_url) if self._is_there() else None
        return self._entry(item) if item else None

    def resolve(self, url: URL) -> Path:
        """The physical file of a url, which is there at this moment. O(1).

        Raises:
            UnknownURLError: there is none.
        """
        # A url that is known as it is written is canonical, and need not be taken apart.
        with self._guard():
            name = self._index.locate(str(url)) if self._is_there() else None
        return self.path / name if name else self[url].path

    def __contains__(self, url: object) -> bool:
        try:
            return isinstance(url, (str, PartURL)) and self.get(url) is not None
        except PartURLError:
            return False

    def __len__(self) -> int:
        with self._guard():
            return self._index.count() if self._is_there() else 0

    def __iter__(self) -> Iterator[Entry]:
        """The entries by name, as they were at one moment; suffixes count as numbers."""
        return self._entries(BY_NAME)

    def messages(self) -> Iterator[Message]:
        """The entries grouped by anchor, by url of the anchor."""
        return group(self._entries(BY_ANCHOR))

    def pending(self) -> dict[PartURL, Header]:
        """Entries whose content could not be had, with `pending-reason` in the header."""
        return read_pending(self._layout)

    # -- what people do by hand

    def own_files(self) -> tuple[str, ...]:
        """The names of files that have no header: the user's own, by name. Without `.meta` all."""
        with self._guard():
            is_there = os.path.isdir(self._layout.path)
            names = self._index.without_header() if is_there else []
        return tuple(name for name in names if is_regular(self._layout.content_of(name)))

    def status(self, *, progress: Progress | None = None) -> Status:
        """What the user changed by hand, as values. Changes nothing.

        The contents that may have changed are read and compared with their headers' SHA-256.

        Args:
            progress: called with (entries done, entries in all).

        Raises:
            FolderNotFoundError: it has no `.meta`.
        """
        self.require()
        return self._steady(lambda: self._status(progress), lambda status: status.is_clean)

    def _status(self, progress: Progress | None) -> Status:
        pending = self.pending().values()
        return find_changes(self._layout, self._index, self._guard, pending, progress)

    def check(self, *, progress: Progress | None = None) -> tuple[Finding, ...]:
        """What is broken, each finding with its remedy. Changes nothing.

        All names and headers are read, whatever the index says.

        Raises:
            FolderNotFoundError: it has no `.meta`.
        """
        self.require()
        return self._steady(lambda: self._findings(progress), lambda found: not found)

    def _findings(self, progress: Progress | None) -> tuple[Finding, ...]:
        return find(self._layout, self._index, self._guard, lambda: self._status(progress))

    def _steady(self, look: Callable[[], T], is_clean: Callable[[T], bool]) -> T:
        """What is found while nobody changes the folder: a change under way looks broken."""
        for _ in range(_LOOKS):
            before = self._index.stamps()
            found = look()
            is_busy = before != self._index.stamps() or not _fs.is_abandoned(self._layout.lock)
            if is_clean(found) or not is_busy:
                break
            time.sleep(_LOOK_AGAIN)
        return found

    def repair(
        self,
        findings: Iterable[Finding] | None = None,
        *,
        dry_run: bool = False,
        allow_mass_removal: bool = False,
        progress: Progress | None = None,
    ) -> tuple[Finding, ...]:
        """Repair what `check` finds; durable on return. Contents are never deleted.

        What has no place goes to `.meta/.lost+found`. Findings without a remedy stay.

        Crash: done or not done, each; the next change or repair finishes it.

        Args:
            findings: those to repair, as `check` gave them; None: all.
            dry_run: change nothing.
            allow_mass_removal: take entries for removed though more than half of the files
                are gone, as when a disk is not mounted.
            progress: called with (entries done, entries in all) by each look at all.

        Returns:
            What was repaired, or with `dry_run` would be.

        Raises:
            FolderNotFoundError: it has no `.meta`.
            MassRemovalError: see `allow_mass_removal`; nothing was changed.
        """
        wanted = None if findings is None else set(findings)
        repaired: list[Finding] = []
        # What a cut change hides is found once that is finished.
        while True:
            everything = self.check(progress=progress)
            found = [
                finding
                for finding in everything
                if finding.remedy
                and (wanted is None or finding in wanted)
                and finding not in repaired
            ]
            if dry_run:
                return tuple(found)
            if not found:
                return tuple(repaired)
            if not allow_mass_removal:
                missing = sum(finding.kind == "missing" for finding in everything)
                check_mass_removal(os.fspath(self.path), missing, missing + len(self))
            if not (done := self._repaired(found)):
                return tuple(repaired)
            repaired += done

    def _repaired(self, found: Iterable[Finding]) -> list[Finding]:
        """Repair what is still as it was found."""
        kinds = {finding.kind for finding in found}
        if "journal" in kinds:
            self._writer.keep_journal()
        if "cut" in kinds:
            try:
                self.recover()
            except PermissionError:
                # It can never be finished.
                self._writer.keep_journal(is_readable=True)
        with self._writer.locked() as ready:
            still = {*self._findings(None), *(f for f in found if f.kind in ("journal", "cut"))}
            chosen = [finding for finding in found if finding in still]
            if steps := tuple(remedies(chosen)):
                self._writer.commit(Journal(steps), ready)
        return chosen

    def watch(self, *, timeout: float | None = None) -> Iterator[Change]:
        """What is changing, as a hint: it may be late, incomplete or ask for a look at all.

        Needs the extra `watch`.

        Args:
            timeout: end after so many seconds without a change; None: go on for good.

        Raises:
            FolderNotFoundError: it has no `.meta`, or has lost it.
            ImportError: watchfiles is not installed.
        """
        self.require()
        return changes(self._layout, timeout)

    def file_system(self) -> FileSystem:
        """What the file system of the folder can do, found by trying in `.meta/.stage`.

        Raises:
            FolderNotFoundError: it has no `.meta`.
        """
        self.require()
        is_staging = os.path.isdir(self._layout.stage)
        return _fs.try_file_system(self._layout.stage if is_staging else self._layout.meta)

    def missing(self) -> tuple[Entry, ...]:
        """Entries whose file is gone, or has another name, with the path where it was."""
        with self._guard():
            found = tuple(self._index.orphans()) if self._is_there() else ()
        return tuple(
            Entry(PartURL.parse(header["url"]), name, self.path / name, header)
            for name, header in found
        )

    def renamed(self) -> tuple[Entry, ...]:
        """Entries that have a name of the user's own, not one made of `suggested-name`."""
        with self._guard():
            found = self._index.renamed(_has_own_name) if self._is_there() else []
        return tuple(map(self._entry, found))

    def entry_named(self, name: str) -> Entry | None:
        """The entry whose file has a name, or None."""
        with contextlib.suppress(OSError):
            url = read_header(self._layout, name).url
            entry = self.get(url) if url else None
            return entry if entry and entry.name == name else None
        return None

    # -- on the way to mdird

    def pushing(self) -> AbstractContextManager[object]:
        """Keeps other processes from sending what the user did here at the same time.

        Raises:
            LockTimeoutError: one does, for too long.
        """
        return _fs.lock(self._layout.push_lock, timeout=self._lock_timeout)

    def outgoing(self) -> dict[PartURL, Outgoing]:
        """What is being sent, or was when a sync was cut."""
        return read_outgoing(self._layout)

    def note_outgoing(self, outgoing: Outgoing) -> None:
        """Record that an entry will be sent; durable on return."""
        note_outgoing(self._layout, outgoing, durable=self._durable)

    def forget_outgoing(self, urls: Iterable[PartURL]) -> None:
        """Forget what was sent, or will not be."""
        for url in urls:
            forget_outgoing(self._layout, url)

    # -- changing

    def add(self, header: Header, content: Content) -> Entry:
        """Add an entry; durable on return. A known url changes nothing and gives that entry.

        The name is the header's `suggested-name` made safe, with a suffix if it is taken.

        Crash: leaves the whole entry or nothing.

        Raises:
            HeaderError: the header has no url.
            ContentMismatchError: `size` or `sha256` of the header are not the content's.
            LockTimeoutError: another process changes the folder for too long.
        """
        known = self.get(header["url"]) if "url" in header else None
        if known:
            return known
        with self.batch() as batch:
            batch.add(header, content)
        return self[header["url"]]

    def remove(self, url: URL) -> None:
        """Remove an entry, file and header; durable on return.

        Raises:
            UnknownURLError: there is none.
        """
        self[url]
        with self.batch() as batch:
            batch.remove(url)

    def rename(self, url: URL, name: str) -> Entry:
        """Rename an entry; durable on return. The name is made safe and free as in `add`.

        Raises:
            UnknownURLError: there is none.
        """
        self[url]
        with self.batch() as batch:
            batch.rename(url, name)
        return self[url]

    def batch(self) -> Batch:
        """Many changes that appear together and cost few flushes."""
        return Batch(self._layout, make=self._writer.make, apply=self.apply, durable=self._durable)

    def apply(self, batch: Batch) -> None:
        """Apply a batch; its context does that when it ends.

        Raises:
            CounterMovedError: the batch counts, and somebody else has counted meanwhile.
        """
        is_handed_over = False
        try:
            batch.flush()
            with self._writer.locked() as ready:
                journal = self._writer.plan(batch)
                if journal:
                    is_handed_over = True
                    self._writer.commit(journal, ready, batch)
        finally:
            if not is_handed_over:
                batch.discard()

    def recover(self) -> None:
        """Finish a change that was cut, if there is one. Every change does that first."""
        if os.path.lexists(self._layout.journal):
            with self._writer.locked():
                return

    def make(self) -> None:
        """Make the directory and its `.meta` where they are missing; durable on return."""
        self._writer.make()

    def require(self) -> None:
        """Check that this is a folder.

        Raises:
            FolderNotFoundError: it has no `.meta`; a vanished folder is not an empty one.
        """
        if not os.path.isdir(self._layout.meta):
            raise FolderNotFoundError(os.fspath(self.path))

    def close(self) -> None:
        """Close the index. Using the folder opens it again."""
        with self._guard():
            self._index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    # -- inside

    def _guard(self) -> AbstractContextManager[object]:
        """Keeps other threads from the index."""
        if self._process != os.getpid():
            # A thread that held it when the process forked is not there to let it go.
            self._process, self._lock = os.getpid(), threading.RLock()
        return self._lock

    def _is_there(self) -> bool:
        """Whether there is anything to look up; else the index is not even opened."""
        return os.path.isdir(self._layout.meta)

    def _entries(self, order: str) -> Iterator[Entry]:
        with self._guard():
            items = self._index.items(order) if self._is_there() else iter(())
        while True:
            with self._guard():
                item = next(items, None)
            if item is None:
                return
            yield self._entry(item)

    def _entry(self, item: Item) -> Entry:
        return Entry(item.url, item.name, self.path / item.name, item.header)


def _has_own_name(item: Item) -> bool:
    return is_own_name(item.name, item.header, item.url.segment, item.url.part)
