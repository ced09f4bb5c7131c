"""One sync of one folder: from the mdir, and to it where that is asked for."""

from __future__ import annotations

import contextlib
import os
from datetime import date
from typing import Final

import attrs

from mdirclient.errors import CounterMovedError
from mdirclient.folder import Finding, Folder
from mdirclient.interfaces import Mdird, Mstore
from mdirclient.sync.plan import Step
from mdirclient.sync.pull import HistoryGoneError, Progress, Pull, Pulled
from mdirclient.sync.push import Push, Pushed, Skipped, check_deletions, local_steps

#: How often a sync begins again because another one was faster.
_ATTEMPTS: Final = 20


@attrs.frozen
class SyncReport:
    """What a sync did, or with `dry_run` would do.

    Attributes:
        version: of the folder now.
        fetched: entries whose content was fetched.
        updated: entries whose header alone changed, or whose file was here already.
        removed: entries that are gone.
        pending: entries whose content could not be had; they are tried again next time.
        pushed: changes of the user's that went to the mdir.
        steps: all steps, in order.
        skipped: files that were not sent, and why.
    """

    version: int
    fetched: int
    updated: int
    removed: int
    pending: int
    steps: tuple[Step, ...]
    pushed: int = 0
    skipped: tuple[Skipped, ...] = ()


def sync(
    folder: Folder,
    mdird: Mdird,
    name: str,
    *,
    store: Mstore | None = None,
    push: bool = False,
    dry_run: bool = False,
    allow_mass_removal: bool = False,
    progress: Progress | None = None,
) -> SyncReport:
    """Bring a local folder to the state of a folder of the mdir, and with `push` also that to this.

    Durable on return. Cut at any moment, the next sync goes on. One entry whose content
    cannot be had is noted as pending and does not stop the others. A physical file that a
    person changed stays when its entry is removed.

    With `push`, what the user did by hand goes to the mdir: new files, other contents (as new
    entries that replace the old ones), names, and removals. Where both sides changed a file both
    are kept, one as `name (conflict 2026-11-22).ext`; what one side removed and the other changed
    stays.

    Args:
        folder: the local folder; made if it is missing, but not with `push`.
        mdird: where the folder of the mdir is.
        name: path of that folder.
        store: where the contents are; None: the store of the mdird.
        push: also the other way.
        dry_run: change nothing, on neither side.
        allow_mass_removal: let a listing remove more than half of the folder; with `push`, take
            entries for removed though more than half of the files are gone.
        progress: called with (steps done, steps in all).

    Raises:
        OriginMismatchError: the local folder mirrors another one.
        ConflictReplyError: `.version` is above the folder's own counter.
        VersionFormatError: `.version` holds no counter.
        CounterMovedError: others moved the counter again and again; sync once more.
        MassRemovalError: see `allow_mass_removal`; nothing was changed, but by `push` what came
            from the mdir.
        FolderNotFoundError: `push`, and the folder has no `.meta`: a vanished folder is not an
            empty one.
        PermanentReplyError: 403, one of the rights is missing.
    """
    both = Both(folder, mdird, name, store or mdird.store, progress)
    if not push:
        return report(both.pull(dry_run=dry_run, allow_mass_removal=allow_mass_removal))
    folder.require()
    with contextlib.nullcontext() if dry_run else folder.pushing():
        return _both_ways(both, dry_run=dry_run, allow_mass_removal=allow_mass_removal)


def _both_ways(both: Both, *, dry_run: bool, allow_mass_removal: bool) -> SyncReport:
    folder = both.folder
    if not dry_run:
        both.settle_names()
    pulled = both.pull(dry_run=dry_run, allow_mass_removal=allow_mass_removal)
    steps = local_steps(folder, folder.status(progress=both.progress))
    if not allow_mass_removal:
        check_deletions(folder, steps)
    if dry_run:
        return report(pulled, Pushed(tuple(steps)))
    return both.push(pulled, steps, allow_mass_removal=allow_mass_removal)


class Both:
    """One folder here and in the mdir.

    Args:
        folder: the local folder.
        mdird: where the folder of the mdir is.
        name: path of that folder.
        store: of the contents.
        progress: called with (steps done, steps in all).
    """

    def __init__(
        self, folder: Folder, mdird: Mdird, name: str, store: Mstore, progress: Progress | None
    ) -> None:
        self.folder = folder
        self.mdird = mdird
        self.name = name
        self.store = store
        self.progress = progress

    def pull(self, *, dry_run: bool, allow_mass_removal: bool) -> Pulled:
        """From the mdir; begins again where others were faster."""
        for _ in range(_ATTEMPTS):
            attempt = Pull(
                self.folder,
                self.mdird,
                self.name,
                self.store,
                progress=self.progress,
                conflict=_today(),
            )
            try:
                return attempt.run(dry_run=dry_run, allow_mass_removal=allow_mass_removal)
            except (HistoryGoneError, CounterMovedError):
                # Another sync of the same folder was faster, or a person corrected the counter:
                # what was planned may be wrong now.
                continue
        raise CounterMovedError(os.fspath(self.folder.path))

    def settle_names(self) -> None:
        """Let headers follow the files that the user renamed, before anything comes."""
        if self.folder.missing() and (renamed := self.folder.status().renamed):
            self.folder.repair(
                (
                    Finding("renamed", f".meta/{one.entry.name}", one.name, str(one.entry.url))
                    for one in renamed
                ),
                # Names change, nothing goes.
                allow_mass_removal=True,
            )

    def push(
        self,
        pulled: Pulled,
        steps: list[Step],
        *,
        is_changed: bool = False,
        allow_mass_removal: bool = False,
    ) -> SyncReport:
        """To the mdir, and what comes back of it, if something went or `is_changed`."""
        pushed = Push(self.folder, self.mdird, self.name, self.store, self.progress).run(steps)
        if not pushed.steps and not is_changed:
            return report(pulled, pushed)
        again = self.pull(dry_run=False, allow_mass_removal=allow_mass_removal)
        return report(
            Pulled(
                again.version,
                (*pulled.steps, *again.steps),
                again.pending,
                pulled.failed + again.failed,
            ),
            pushed,
        )


def _today() -> str:
    """The word for a conflict."""
    return date.today().isoformat()  # noqa: DTZ011 - the user's own day


def report(pulled: Pulled, pushed: Pushed | None = None) -> SyncReport:
    """Both as one."""
    counts = dict.fromkeys(("fetch", "adopt", "update", "remove"), 0)
    for step in pulled.steps:
        counts[step.action] += 1
    pushed = pushed or Pushed()
    return SyncReport(
        pulled.version,
        counts["fetch"] - pulled.failed,
        counts["adopt"] + counts["update"],
        counts["remove"],
        pulled.pending,
        (*pulled.steps, *pushed.steps),
        len(pushed.steps),
        pushed.skipped,
    )
