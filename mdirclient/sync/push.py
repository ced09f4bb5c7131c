"""From a local folder to the mdir: what the user did by hand.

Crash: an upload is noted in the folder before it is sent, under the url that it will have. Cut
anywhere, the next sync finds the note and goes on; nothing is sent twice under two urls.
"""

from __future__ import annotations

import contextlib
import mimetypes
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Final

import attrs

from mdirclient import _fs
from mdirclient.errors import (
    ConflictReplyError,
    DiskReserveError,
    HeaderError,
    StoreError,
    TransportError,
    check_mass_removal,
)
from mdirclient.folder import Entry, Folder, Outgoing, Status
from mdirclient.folder.apply import stamp_of
from mdirclient.folder.status import content_of
from mdirclient.header import Header
from mdirclient.interfaces import Mdird, Mstore
from mdirclient.mail.part import MailFields, Part
from mdirclient.mail.stored import StoredMessage
from mdirclient.naming import is_own_name
from mdirclient.sync.plan import REPLACES, Here, Step, plan_push
from mdirclient.sync.pull import Progress, no_progress
from mdirclient.url import DEFAULT_BASE, PartURL, file_id

#: Uploads that become entries together.
_GROUP_FILES: Final = 200
_GROUP_BYTES: Final = 64 << 20
#: An edited file is no part of the mail any more.
_OF_A_PART: Final = (
    *("url", "anchor", "part", "parts", "section", "within", "size", "sha256"),
    *("message-size", "message-sha256", "content-id", "kept-whole", "installed-by"),
)
#: How many ancestors an edited file names.
_MAX_REPLACED: Final = 10


@attrs.frozen
class Skipped:
    """A file that was not sent, and why."""

    name: str
    reason: str


@attrs.frozen
class Pushed:
    """What went to the mdir, or with `dry_run` would go.

    Attributes:
        steps: that were done.
        skipped: what was not sent.
    """

    steps: tuple[Step, ...] = ()
    skipped: tuple[Skipped, ...] = ()


def local_steps(folder: Folder, status: Status) -> list[Step]:
    """What the user did in a folder, as steps."""
    edited = {entry.url for entry in status.modified}
    renamed = [attrs.evolve(found.entry, name=found.name) for found in status.renamed]
    kept = [entry for entry in folder.renamed() if entry.url not in edited]
    return plan_push(
        new=status.new,
        renamed=map(_here, [*kept, *renamed]),
        edited=map(_here, status.modified),
        missing=map(_here, status.missing),
    )


def check_deletions(folder: Folder, steps: Iterable[Step]) -> None:
    """Stop where a disk that is not mounted looks like a user who deleted everything.

    Raises:
        MassRemovalError: more than half of the folder and more than 20 entries are missing.
    """
    missing = sum(step.action in ("delete", "move") for step in steps)
    if missing:
        check_mass_removal(os.fspath(folder.path), missing, missing + len(folder))


class Push:
    """Sends the steps of one folder.

    Args:
        folder: the local folder; it was pulled before.
        mdird: where the folder of the mdir is.
        name: path of that folder.
        store: of the contents.
        progress: called with (steps done, steps in all).
    """

    def __init__(
        self,
        folder: Folder,
        mdird: Mdird,
        name: str,
        store: Mstore,
        progress: Progress | None = None,
    ) -> None:
        self._folder = folder
        self._mdird = mdird
        self._name = name
        self._store = store
        self._progress = progress or no_progress
        self._outgoing = folder.outgoing()
        self._noted_before: dict[str, list[Header]] = {}
        for outgoing in self._outgoing.values():
            self._noted_before.setdefault(outgoing.name, []).append(outgoing.header)
        self._skipped: list[Skipped] = []
        self._stamps: dict[str, str] = {}
        self._version = folder.version

    def run(self, steps: list[Step]) -> Pushed:
        """Send; durable on return.

        Raises:
            PermanentReplyError: 403, one of the rights is missing.
        """
        done: list[Step] = []
        self._forget_arrived()
        sent = [step for step in steps if step.action in ("upload", "edit")]
        for group in self._groups(sent):
            done += self._send(group)
            self._progress(len(done), len(steps))
        for step in steps:
            if step.action == "rename" and self._rename(step):
                done.append(step)
                self._progress(len(done), len(steps))
        done += self._delete([step for step in steps if step.action == "delete"])
        self._progress(len(done), len(steps))
        self._forget_changed()
        return Pushed(tuple(done), tuple(self._skipped))

    # -- uploads

    def _forget_arrived(self) -> None:
        arrived = [url for url in self._outgoing if url in self._folder]
        self._folder.forget_outgoing(arrived)
        for url in arrived:
            del self._outgoing[url]

    def _forget_changed(self) -> None:
        """Forget what was noted of files that are not to be sent as it was noted.

        It was not sent: what is in the mdir came with the pull before.
        """
        if not self._outgoing:
            return
        own = set(self._folder.own_files())
        for url, outgoing in self._outgoing.items():
            before = outgoing.header.get(REPLACES)
            edited = self._folder.get(before) if before else None
            is_waiting = outgoing.name in own or (edited and edited.name == outgoing.name)
            if not (is_waiting and self._is_as_noted(outgoing)):
                self._folder.forget_outgoing([url])

    def _is_as_noted(self, outgoing: Outgoing) -> bool:
        try:
            size, sha256 = content_of(os.path.join(self._folder.path, outgoing.name))
        except OSError:
            return False
        known = outgoing.header
        return (known.get("size"), known.get("sha256")) == (str(size), sha256)

    def _groups(self, steps: list[Step]) -> Iterator[list[tuple[Step, Header]]]:
        """Contents that are in the store, with the headers that their entries will have."""
        group: list[tuple[Step, Header]] = []
        size = 0
        for step in steps:
            header = self._upload(step)
            if header:
                group.append((step, header))
                size += int(header["size"])
            if len(group) >= _GROUP_FILES or size >= _GROUP_BYTES:
                yield group
                group, size = [], 0
        if group:
            yield group

    def _upload(self, step: Step) -> Header | None:
        """Store one content; None if that is not possible now."""
        try:
            self._stamps[step.name] = stamp_of(os.path.join(self._folder.path, step.name))
            size, sha256 = content_of(os.path.join(self._folder.path, step.name))
            header = self._noted(step, size, sha256)
            with _fs.open_file(os.path.join(self._folder.path, step.name)) as file:
                stored = self._store.add_file(
                    file,
                    media_type=header.get("content-type") or "application/octet-stream",
                    suggested_name=header.get("suggested-name"),
                    message_id=PartURL.parse(header["url"]).message_id,
                )
        except HeaderError:
            self._skip(step, "its name is no text that all systems know; rename it")
            return None
        except DiskReserveError:
            raise
        except (OSError, StoreError) as error:
            if isinstance(error, TransportError):
                raise
            self._skip(step, str(error))
            return None
        if (stored.size, stored.sha256) != (size, sha256):
            # It is being written; what was stored nobody names, and it goes.
            self._folder.forget_outgoing([PartURL.parse(header["url"])])
            self._skip(step, "it is changing; the next sync sends it")
            return None
        if str(stored.anchor) != header["url"]:
            # The store has a base of its own, or something else under this id.
            self._folder.forget_outgoing([PartURL.parse(header["url"])])
            header = _with_url(header, stored.anchor)
            self._folder.note_outgoing(Outgoing(step.name, header))
        return header

    def _noted(self, step: Step, size: int, sha256: str) -> Header:
        """The header that an upload will have, noted before it begins."""
        for known in self._noted_before.get(step.name, ()):
            is_same = (known.get("size"), known.get("sha256")) == (str(size), sha256)
            if is_same and known.get(REPLACES) == _text(step.url):
                return known
        base = getattr(self._store, "base", DEFAULT_BASE)
        anchor = PartURL(base, file_id(os.urandom(16)), 1)
        header = _new_header(anchor, step, size, sha256)
        self._folder.note_outgoing(Outgoing(step.name, header))
        return header

    def _send(self, group: list[tuple[Step, Header]]) -> list[Step]:
        group = [(step, header) for step, header in group if self._is_still(step, header)]
        with self._mdird.batch() as changes:
            for step, header in group:
                changes.put(self._name, header)
                if step.url:
                    changes.remove(self._name, _pattern(step.header))
        with self._folder.batch() as batch:
            for step, header in group:
                batch.claim(header, step.name, instead_of=step.url)
        urls = [PartURL.parse(header["url"]) for _, header in group]
        void = [url for url in urls if url not in self._folder]
        if void:
            # Race: the file went, or got another name, after it was looked at.
            with self._mdird.batch() as changes:
                for url in void:
                    changes.remove(self._name, Header([("url", str(url))]))
        self._folder.forget_outgoing(urls)
        return [
            attrs.evolve(step, url=url, header=header)
            for url, (step, header) in zip(urls, group, strict=True)
        ]

    def _is_still(self, step: Step, header: Header) -> bool:
        """Whether a file is what was stored: editors write files that are gone a moment later."""
        path = os.path.join(self._folder.path, step.name)
        with contextlib.suppress(OSError):
            if stamp_of(path) == self._stamps.get(step.name):
                return True
        self._folder.forget_outgoing([PartURL.parse(header["url"])])
        self._skip(step, "it is changing; the next sync sends it")
        return False

    def _skip(self, step: Step, reason: str) -> None:
        self._skipped.append(Skipped(step.name, reason))

    # -- names and removals

    def _rename(self, step: Step) -> bool:
        """Suggest the name that the user gave a file; not if somebody else changed the entry."""
        assert step.url
        live = next(self._mdird.lookup(self._name, Header([("url", str(step.url))])), None)
        if live != step.header:
            return False  # the next sync sees what it is now
        current = _version_of(self._mdird, self._name)
        version = self._mdird.put(self._name, live)
        if version > self._version:
            if version > current:
                # Race: somebody removed it just now, and that counts.
                self._mdird.remove(self._name, _pattern(live))
            return False
        try:
            header = live.replace("suggested-name", step.name)
            self._mdird.set(self._name, header, base=version)
        except HeaderError:
            self._skip(step, "its name is no text that all systems know; rename it")
            return False
        except ConflictReplyError:
            return False
        with self._folder.batch() as batch:
            batch.replace(header)
        return True

    def _delete(self, steps: list[Step]) -> list[Step]:
        # Uploads may have taken long: what has come back meanwhile was not removed.
        gone = [
            step
            for step in steps
            if not os.path.lexists(os.path.join(self._folder.path, step.name))
        ]
        if gone:
            with self._mdird.batch() as changes:
                for step in gone:
                    changes.remove(self._name, _pattern(step.header))
            with self._folder.batch() as batch:
                for step in gone:
                    assert step.url
                    batch.remove(step.url, keep_file=True)
        return gone


def move(step: Step, source: tuple[Folder, str], target: tuple[Folder, str], mdird: Mdird) -> None:
    """Move an entry to another folder, where its file is already; durable on return.

    Args:
        step: with the name of the file there.
        source: the local folder that it left, and that of the mdir.
        target: the same of the one that it came to.
        mdird: where both are.

    Raises:
        PermanentReplyError: 403, one of the rights is missing.
    """
    assert step.url
    header = step.header
    target[0].note_outgoing(Outgoing(step.name, header))
    move_entry(mdird, header, source[1], target[1])
    with target[0].batch() as batch:
        batch.claim(header, step.name)
    target[0].forget_outgoing([step.url])
    with source[0].batch() as batch:
        batch.remove(step.url, keep_file=True)


def move_entry(mdird: Mdird, header: Header, source: str, target: str) -> None:
    """Move an entry from one folder of the mdir to another; durable on return.

    Raises:
        PermanentReplyError: 403, one of the rights is missing.
    """
    with mdird.batch() as changes:
        changes.put(target, header)
        changes.remove(source, _pattern(header))


def _version_of(mdird: Mdird, folder: str) -> int:
    subscription = mdird.subscribe(folder, timeout=0)
    subscription.close()
    return subscription.version


def _here(entry: Entry) -> Here:
    return Here(entry.url, entry.header, entry.name)


def _text(url: PartURL | None) -> str | None:
    return None if url is None else str(url)


def _pattern(header: Header) -> Header:
    """What is removed: the entry, if its content is still what was here."""
    names = ("url", "sha256", "type")
    return Header([(name, header[name]) for name in names if name in header])


def _new_header(anchor: PartURL, step: Step, size: int, sha256: str) -> Header:
    """The header of a file that the user made, or changed.

    Raises:
        HeaderError: its name has bytes that are no text.
    """
    media_type = _media_type(step)
    described = (("content-type", media_type),)
    part = Part(1, "1", (), media_type, step.name, described, size, sha256)
    stored = StoredMessage(anchor, (part,), MailFields((), (), anchor.message_id), size, sha256)
    (header,) = stored.headers()
    if step.url is None:
        return header
    before = [str(step.url), *step.header.get_all(REPLACES)][:_MAX_REPLACED]
    own = {name for name, _ in header} | {*_OF_A_PART, REPLACES}
    kept = [field for field in step.header if field[0] not in own]
    if not is_own_name(step.name, step.header, step.url.segment, step.url.part):
        header = header.replace("suggested-name", _suggested(step))
    return Header([*header, *((REPLACES, url) for url in before), *kept])


def _suggested(step: Step) -> str:
    """An edit of `report (2).pdf` is suggested what that was suggested."""
    return step.header.get("suggested-name") or step.name


def _with_url(header: Header, anchor: PartURL) -> Header:
    return header.replace("url", str(anchor)).replace("anchor", str(anchor))


_guess: Callable[[str], tuple[str | None, str | None]] = mimetypes.MimeTypes(
    filenames=()
).guess_type


def _media_type(step: Step) -> str:
    if known := step.header.get("content-type"):
        return known
    # Without the system's files: the same on every system.
    media_type, encoding = _guess(step.name)
    if encoding:
        return "application/gzip" if encoding == "gzip" else "application/octet-stream"
    return media_type or "application/octet-stream"
