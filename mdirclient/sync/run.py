"""Runs a sync: patches to a folder, contents from a store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Final

import attrs

from mdirclient.errors import (
    ConflictReplyError,
    CounterMovedError,
    OriginMismatchError,
    StoreError,
    UnknownContentError,
    reply_error,
)
from mdirclient.folder import Batch, Folder, Origin
from mdirclient.folder.batch import PENDING_REASON, Counted
from mdirclient.header import Header
from mdirclient.interfaces import Mdird, Mstore, Subscription
from mdirclient.mdird.tree import folder_id
from mdirclient.patch import End, Now, Patch
from mdirclient.sync.plan import Step, check_removals, patched, plan
from mdirclient.url import PartURL

#: A batch is applied when it has this many steps or bytes of content.
_BATCH_STEPS: Final = 1000
_BATCH_BYTES: Final = 64 << 20
#: How often a sync begins again because another one was faster.
_ATTEMPTS: Final = 20

Progress = Callable[[int, int], None]


@attrs.frozen
class SyncReport:
    """What a sync did, or with `dry_run` would do.

    Attributes:
        version: of the folder now.
        fetched: entries whose content was fetched.
        updated: entries whose header alone changed.
        removed: entries that are gone.
        pending: entries whose content could not be had; they are tried again next time.
        steps: all steps, in order.
    """

    version: int
    fetched: int
    updated: int
    removed: int
    pending: int
    steps: tuple[Step, ...]


def sync(
    folder: Folder,
    mdird: Mdird,
    name: str,
    *,
    store: Mstore | None = None,
    dry_run: bool = False,
    allow_mass_removal: bool = False,
    progress: Progress | None = None,
) -> SyncReport:
    """Bring a local folder to the state of a folder of the mdir. One way: mdir to files.

    Durable on return. Cut at any moment, the next sync goes on. One entry whose content
    cannot be had is noted as pending and does not stop the others. A physical file that a
    person changed stays when its entry is removed.

    Args:
        folder: the local folder; made if it is missing.
        mdird: where the folder of the mdir is.
        name: path of that folder.
        store: where the contents are; None: the store of the mdird.
        dry_run: change nothing.
        allow_mass_removal: let a listing remove more than half of the folder.
        progress: called with (steps done, steps in all).

    Raises:
        OriginMismatchError: the local folder mirrors another one.
        ConflictReplyError: `.version` is above the folder's own counter.
        VersionFormatError: `.version` holds no counter.
        CounterMovedError: others moved the counter again and again; sync once more.
        MassRemovalError: see `allow_mass_removal`; nothing was changed.
    """
    for _ in range(_ATTEMPTS):
        try:
            return _Sync(folder, mdird, name, store or mdird.store, progress).run(
                dry_run=dry_run, allow_mass_removal=allow_mass_removal
            )
        except _HistoryGoneError:
            continue
        except CounterMovedError:
            # Another sync of the same folder was faster, or a person corrected the counter:
            # what was planned may be wrong now.
            continue
    raise CounterMovedError(os.fspath(folder.path))


class _HistoryGoneError(Exception):
    """What was to come was forgotten meanwhile: it has to be listed."""


class _Sync:
    """One attempt: what is there, what is missing, and the steps between."""

    def __init__(
        self, folder: Folder, mdird: Mdird, name: str, store: Mstore, progress: Progress | None
    ) -> None:
        self._folder = folder
        self._mdird = mdird
        self._name = name
        self._store = store
        self._progress = progress or _no_progress
        self._failed = 0

    def run(self, *, dry_run: bool, allow_mass_removal: bool) -> SyncReport:
        """See `sync`; raises CounterMovedError where it has to be done again."""
        folder = self._folder
        if not dry_run:
            folder.recover()
        before, origin = folder.version, folder.origin
        pending = {url: h.replace(PENDING_REASON) for url, h in folder.pending().items()}
        with contextlib.closing(self._subscribe(before, origin)) as subscription:
            target = Origin(subscription.folder_id, subscription.epoch, self._name)
            is_listing = subscription.is_listing
            patches, version = _collect(subscription)
        held = self._held(None if is_listing else patched(patches))
        steps = plan(patches, held, pending, is_listing=is_listing)
        if is_listing and not allow_mass_removal:
            check_removals(steps, held, os.fspath(folder.path))
        if dry_run:
            return _report(steps, before, len(pending), failed=0)
        is_known = origin is not None and origin.epoch == target.epoch
        counted = Counted(version, before, None if is_known else target, origin)
        # A listing says where it is only when it is complete.
        self._apply(steps, counted, is_counting=not is_listing)
        return _report(steps, version, len(folder.pending()), failed=self._failed)

    def _held(self, urls: Iterable[PartURL] | None) -> dict[PartURL, Header]:
        """The entries of the local folder with these urls; None: all."""
        if urls is None:
            return {entry.url: entry.header for entry in self._folder}
        # Pitfall: the cost of a sync follows the changes, not the folder.
        found = (self._folder.get(url) for url in urls)
        return {entry.url: entry.header for entry in found if entry}

    def _subscribe(self, version: int, origin: Origin | None) -> Subscription:
        """Subscribe, once it is certain that the counter was counted for that folder."""
        if origin is None:
            # A counter without an identity may be another folder's: everything is listed.
            return self._mdird.subscribe(self._name, timeout=0)
        if origin.folder_id != folder_id(self._mdird, self._name):
            raise OriginMismatchError(os.fspath(self._folder.path), origin.name, self._name)
        try:
            return self._mdird.subscribe(self._name, version, epoch=origin.epoch, timeout=0)
        except ConflictReplyError as error:
            path = os.path.join(self._folder.path, ".version")
            remedy = f"correct {path} with `mdir version`, or remove it to list everything"
            raise ConflictReplyError(error.status, f"{error.text}; {remedy}") from error

    def _apply(self, steps: list[Step], counted: Counted, *, is_counting: bool) -> None:
        """Run all steps in batches; `.version` moves with each, or with the last only."""
        self._folder.make()
        done, reached = 0, counted.version_before
        groups = list(_grouped(steps)) or [[]]
        for number, group in enumerate(groups, 1):
            with self._folder.batch() as batch:
                for step in group:
                    self._stage(batch, step)
                    done += 1
                    self._progress(done, len(steps))
                if number == len(groups):
                    batch.count(attrs.evolve(counted, version_before=reached))
                else:
                    advanced = max(group[-1].version, reached) if is_counting else reached
                    batch.count(Counted(advanced, reached, None, counted.origin_before))
                    reached = advanced

    def _stage(self, batch: Batch, step: Step) -> None:
        if step.action == "remove":
            batch.remove(step.url, keep_modified=True)
        elif step.action == "update":
            batch.replace(step.header)
        else:
            try:
                with self._open(step.url) as content:
                    batch.replace(step.header, content)
            except StoreError as error:
                self._failed += 1
                batch.pend(step.header, str(error))

    def _open(self, url: PartURL) -> IO[bytes]:
        try:
            return self._store.open(url)
        except OSError as error:
            # One content that the disk does not give must not stop the folder.
            raise UnknownContentError(str(url), str(error)) from error


def _report(steps: list[Step], version: int, pending: int, *, failed: int) -> SyncReport:
    fetched, updated, removed = (
        sum(step.action == action for step in steps) for action in ("fetch", "update", "remove")
    )
    return SyncReport(version, fetched - failed, updated, removed, pending, tuple(steps))


def _grouped(steps: list[Step]) -> Iterator[list[Step]]:
    group: list[Step] = []
    size = 0
    for step in steps:
        group.append(step)
        size += _size(step.header)
        if len(group) >= _BATCH_STEPS or size >= _BATCH_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _size(header: Header) -> int:
    size = header.get("size") or ""
    return int(size) if size.isdecimal() and len(size) < 16 else 0


def _no_progress(done: int, total: int) -> None:
    """Nobody watches."""


def _collect(subscription: Subscription) -> tuple[list[Patch], int]:
    """All patches until Now, and the version that they lead to."""
    patches: list[Patch] = []
    for event in subscription:
        match event:
            case Patch():
                patches.append(event)
            case Now(version=version):
                return patches, version
            case End(status=205):
                raise _HistoryGoneError
            case End(status=status, text=text):
                raise reply_error(status, text)
    raise reply_error(503, "the subscription ended before it was complete")
