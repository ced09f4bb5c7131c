"""From the mdir to a local folder: patches from mdird, contents from a store."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Final

import attrs

from mdirclient.errors import (
    ConflictReplyError,
    OriginMismatchError,
    StoreError,
    UnknownContentError,
    reply_error,
)
from mdirclient.folder import Batch, Folder, Origin, Outgoing
from mdirclient.folder.batch import PENDING_REASON, Counted
from mdirclient.folder.status import sha256_of
from mdirclient.header import Header
from mdirclient.interfaces import Mdird, Mstore, Subscription
from mdirclient.mdird.tree import folder_id
from mdirclient.naming import is_form_of, wanted_name
from mdirclient.patch import End, Now, Patch
from mdirclient.sync.plan import Step, check_removals, patched, plan
from mdirclient.url import PartURL

#: A batch is applied when it has this many steps or bytes of content.
_BATCH_STEPS: Final = 1000
_BATCH_BYTES: Final = 64 << 20

Progress = Callable[[int, int], None]


class HistoryGoneError(Exception):
    """What was to come was forgotten meanwhile: it has to be listed."""


@attrs.frozen
class Pulled:
    """What came from the mdir, or with `dry_run` would come.

    Attributes:
        version: of the folder now.
        steps: all, in order.
        pending: how many entries have no content yet.
        failed: how many of these are among the steps.
    """

    version: int
    steps: tuple[Step, ...]
    pending: int
    failed: int


class Pull:
    """One attempt: what is there, what is missing, and the steps between.

    Args:
        folder: the local folder.
        mdird: where the folder of the mdir is.
        name: path of that folder.
        store: of the contents.
        progress: called with (steps done, steps in all).
        conflict: a word for the names of files that a person changed, while somebody else changed
            them in the mdir.
    """

    def __init__(
        self,
        folder: Folder,
        mdird: Mdird,
        name: str,
        store: Mstore,
        *,
        progress: Progress | None,
        conflict: str,
    ) -> None:
        self._folder = folder
        self._mdird = mdird
        self._name = name
        self._store = store
        self._progress = progress or no_progress
        self._conflict = conflict
        self._failed = 0
        self._keeps = False

    def run(self, *, dry_run: bool, allow_mass_removal: bool) -> Pulled:
        """Bring the folder to the state of the mdir.

        Raises:
            CounterMovedError, HistoryGoneError: it has to be done again.
        """
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
        is_removing = is_listing or any(patch.action == "-" for patch in patches)
        orphans = [entry.url for entry in folder.missing()] if is_removing else []
        planned = plan(patches, held, pending, is_listing=is_listing, orphans=orphans)
        steps = self._adopted(planned)
        if is_listing and not allow_mass_removal:
            check_removals(steps, held, os.fspath(folder.path))
        if dry_run:
            return Pulled(before, tuple(steps), len(pending), 0)
        self._keeps = origin is None
        is_known = origin is not None and origin.epoch == target.epoch
        counted = Counted(version, before, None if is_known else target, origin)
        # A listing says where it is only when it is complete.
        self._apply(steps, counted, is_counting=not is_listing)
        left = len(folder.pending()) if pending or self._failed else 0
        return Pulled(version, tuple(steps), left, self._failed)

    def _held(self, urls: Iterable[PartURL] | None) -> dict[PartURL, Header]:
        """The entries of the local folder with these urls; None: all."""
        if urls is None:
            return {entry.url: entry.header for entry in self._folder}
        # Pitfall: the cost of a sync follows the changes, not the folder.
        found = (self._folder.get(url) for url in urls)
        return {entry.url: entry.header for entry in found if entry}

    def _adopted(self, steps: list[Step]) -> list[Step]:
        """The steps, without fetching what is here: sent from here, or left without `.meta`."""
        if not any(step.action == "fetch" for step in steps):
            return steps
        outgoing = self._folder.outgoing()
        own = _Own(self._folder)
        return [
            self._adopting(step, outgoing, own) if step.action == "fetch" else step
            for step in steps
        ]

    def _adopting(self, step: Step, outgoing: dict[PartURL, Outgoing], own: _Own) -> Step:
        assert step.url
        if sent := outgoing.get(step.url):
            before = self._folder.get(step.instead_of) if step.instead_of else None
            if (before and before.name == sent.name) or own.take(sent.name):
                return attrs.evolve(step, action="adopt", name=sent.name)
        # What was sent may have got another name since.
        name = own.find(step.url, step.header, is_sent=sent is not None)
        if name and (step.instead_of is None or sent):
            return attrs.evolve(step, action="adopt", name=name, instead_of=None)
        return step

    def _subscribe(self, version: int, origin: Origin | None) -> Subscription:
        """Subscribe, and make sure that the counter was counted for that folder."""
        if origin is None:
            # A counter without an identity may be another folder's: everything is listed.
            return self._mdird.subscribe(self._name, timeout=0)
        try:
            subscription = self._mdird.subscribe(self._name, version, epoch=origin.epoch, timeout=0)
        except ConflictReplyError as error:
            self._check_origin(origin, folder_id(self._mdird, self._name))
            path = os.path.join(self._folder.path, ".version")
            remedy = f"correct {path} with `mdir version`, or remove it to list everything"
            raise ConflictReplyError(error.status, f"{error.text}; {remedy}") from error
        try:
            self._check_origin(origin, subscription.folder_id)
        except BaseException:
            subscription.close()
            raise
        return subscription

    def _check_origin(self, origin: Origin, found: str) -> None:
        if origin.folder_id != found:
            raise OriginMismatchError(os.fspath(self._folder.path), origin.name, self._name)

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
        assert step.url
        if step.action == "remove":
            # Without `.origin` what is not listed may be another folder's: it becomes the user's.
            batch.remove(step.url, keep_modified=True, keep_file=self._keeps)
        elif step.action == "update":
            batch.replace(step.header)
        elif step.action == "adopt":
            batch.claim(step.header, step.name, instead_of=step.instead_of, is_needed=True)
        else:
            try:
                with self._open(step.url) as content:
                    batch.replace(
                        step.header,
                        content,
                        instead_of=step.instead_of,
                        conflict=self._conflict,
                    )
            except StoreError as error:
                self._failed += 1
                batch.pend(step.header, str(error))
                if step.instead_of:
                    # What it replaces is gone; what a person made of it stays.
                    batch.remove(step.instead_of, keep_modified=True)

    def _open(self, url: PartURL) -> IO[bytes]:
        try:
            return self._store.open(url)
        except OSError as error:
            # One content that the disk does not give must not stop the folder.
            raise UnknownContentError(str(url), str(error)) from error


class _Own:
    """The user's own files of a folder, when they are asked for. Each is found once."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._names: set[str] | None = None
        self._sizes: dict[int, list[str]] = {}
        self._taken: set[str] = set()

    def take(self, name: str) -> bool:
        """Whether there is a file of this name; it is found no more."""
        if name not in self._read():
            return False
        self._taken.add(name)
        self._read().discard(name)
        return True

    def find(self, url: PartURL, header: Header, *, is_sent: bool) -> str | None:
        """A file that is the content of an entry, under the name that it would get; or any other
        name, if it was sent from here.
        """
        size = header.get("size") or ""
        if "sha256" not in header or not size.isdecimal() or len(size) > 18:
            return None
        self._read()
        wanted = wanted_name(header, url.segment, url.part)
        for name in self._sizes.get(int(size), []):
            path = os.path.join(self._folder.path, name)
            if name in self._taken or not (is_sent or is_form_of(name, wanted)):
                continue
            with contextlib.suppress(OSError):
                if sha256_of(path) == header["sha256"] and self.take(name):
                    return name
        return None

    def _read(self) -> set[str]:
        if self._names is None:
            self._names = set(self._folder.own_files())
            for name in sorted(self._names):
                with contextlib.suppress(OSError):
                    size = os.lstat(os.path.join(self._folder.path, name)).st_size
                    self._sizes.setdefault(size, []).append(name)
        return self._names


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


def no_progress(done: int, total: int) -> None:
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
                raise HistoryGoneError
            case End(status=status, text=text):
                raise reply_error(status, text)
    raise reply_error(503, "the subscription ended before it was complete")
