"""A folder of the mdir with all folders below it, and a directory with all directories below it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import attrs

from mdirclient.errors import (
    FolderPathError,
    FormatError,
    MdirError,
    PermanentReplyError,
    TransportError,
)
from mdirclient.folder import Folder
from mdirclient.folder.status import content_of
from mdirclient.header import Header
from mdirclient.interfaces import Mdird, Mstore
from mdirclient.mdird.tree import make_folder
from mdirclient.naming import check_name, fold, safe_name, split_path, with_suffix
from mdirclient.sync.plan import Here, Step, plan_moves
from mdirclient.sync.pull import Progress, Pulled
from mdirclient.sync.push import Pushed, check_deletions, local_steps, move
from mdirclient.sync.run import Both, SyncReport, report

_DIRECTORIES = Header([("type", "dir")])


@attrs.frozen
class TreeReport:
    """What a sync of a tree did, or with `dry_run` would do.

    Attributes:
        folders: (directory, folder of the mdir, what its sync did) of each, from the top.
        made: folders that were made in the mdir.
        gone: directories whose folder is no longer in the mdir, or may not be read, or of which
            there is another mirror here (a copy); they are left alone.
        errors: (directory, why) of each that could not be synced; it does not stop the others.
    """

    folders: tuple[tuple[Path, str, SyncReport], ...]
    made: tuple[str, ...]
    gone: tuple[Path, ...]
    errors: tuple[tuple[Path, Exception], ...] = ()


def sync_tree(
    path: str | os.PathLike[str],
    mdird: Mdird,
    name: str,
    *,
    store: Mstore | None = None,
    push: bool = False,
    dry_run: bool = False,
    allow_mass_removal: bool = False,
    progress: Progress | None = None,
) -> TreeReport:
    """Bring a directory to the state of a folder of the mdir, and those below it to those below.

    Each is done as by `sync`. A directory is known by the folder that it mirrors, whatever it is
    called. With `push`, directories that are new become folders, and a file that went missing in
    one and appeared in another is moved: the entry keeps its url. Directories are never removed,
    nor are folders.

    Args:
        path: the directory; made if it is missing, but not with `push`.
        mdird: where the folders are.
        name: path of the folder at the top.
        store: where the contents are; None: the store of the mdird.
        push: also the other way.
        dry_run: change nothing, on neither side.
        allow_mass_removal: see `sync`.
        progress: called with (folders done, folders in all).

    Raises:
        FolderNotFoundError: `push`, and the directory at the top has no `.meta`.
        NotFoundReplyError: there is no such folder.
        TransportError: the mdird cannot be reached.
    """
    with contextlib.ExitStack() as stack:
        tree = _Tree(stack, mdird, store or mdird.store, dry_run=dry_run, push=push)
        tree.find(Path(path), name)
        if push:
            tree.both[0].folder.require()
        pulled = tree.pull(allow_mass_removal=allow_mass_removal, progress=progress)
        if push:
            return tree.report(tree.push_all(pulled, allow_mass_removal=allow_mass_removal))
        return tree.report([report(one) for one in pulled])


def _is_mirror(folder: Folder) -> bool:
    return (folder.path / ".meta").is_dir()


class _Tree:
    """The folders on both sides.

    Args:
        stack: closes what is opened.
        mdird: where the folders are.
        store: of the contents.
        dry_run: change nothing.
        push: whether new directories become folders.
    """

    def __init__(
        self,
        stack: contextlib.ExitStack,
        mdird: Mdird,
        store: Mstore,
        *,
        dry_run: bool,
        push: bool,
    ) -> None:
        self._stack = stack
        self._mdird = mdird
        self._store = store
        self._dry_run = dry_run
        self._push = push
        self.both: list[Both] = []
        self.made: list[str] = []
        self.gone: list[Path] = []
        self.errors: list[tuple[Path, Exception]] = []

    def report(self, reports: list[SyncReport]) -> TreeReport:
        """What was done."""
        folders = tuple(
            (both.folder.path, both.name, one) for both, one in zip(self.both, reports, strict=True)
        )
        return TreeReport(folders, tuple(self.made), tuple(self.gone), tuple(self.errors))

    @contextlib.contextmanager
    def _apart(self, path: Path) -> Iterator[None]:
        """One folder that is no good must not stop the others."""
        try:
            yield
        except TransportError:
            raise
        except (MdirError, OSError) as error:
            self.errors.append((path, error))

    def find(self, path: Path, name: str) -> None:
        """Find all folders below one, and the directories that mirror them."""
        top = "/".join(split_path(name))
        waiting = [(path, top)]
        while waiting:
            directory, folder = waiting.pop()
            try:
                children = list(self._mdird.lookup(folder, _DIRECTORIES))
            except (PermanentReplyError, FolderPathError):
                if folder == top:
                    raise
                continue  # one that may not be read, or is too deep, does not stop the others
            self._add(directory, folder)
            with self._apart(directory):
                waiting += reversed(list(self._below(directory, folder, children)))

    def _add(self, directory: Path, folder: str) -> None:
        local = self._stack.enter_context(Folder(directory))
        self.both.append(Both(local, self._mdird, folder, self._store, None))

    def _below(
        self, directory: Path, folder: str, children: list[Header]
    ) -> Iterator[tuple[Path, str]]:
        """The directories for the folders in a folder."""
        here = _directories(directory)
        taken = set(here.taken)
        for header in children:
            name, identifier = header.get("name") or "", header.get("id") or ""
            try:
                check_name(name)
            except FolderPathError:
                continue  # no folder could be asked for by this name
            found = here.mirror(identifier, name) or here.other(name)
            if not found:
                safe, number = safe_name(name), 1
                while fold(safe) in taken:
                    number += 1
                    safe = with_suffix(safe, number)
                found = directory / safe
            taken.add(fold(found.name))
            yield found, f"{folder}/{name}"
        self.gone += here.left()
        if self._push:
            for path in here.others.values():
                yield from self._made(path, folder)

    def _made(self, directory: Path, folder: str) -> Iterator[tuple[Path, str]]:
        """A directory that is new becomes a folder."""
        try:
            name = f"{folder}/{check_name(directory.name)}"
        except FolderPathError:
            return
        if self._dry_run:
            self.made.append(name)
            return
        with self._apart(directory):
            make_folder(self._mdird, name)
            self.made.append(name)
            yield directory, name

    def pull(self, *, allow_mass_removal: bool, progress: Progress | None) -> list[Pulled]:
        """From the mdir, folder by folder; with `push` held for this process from then on."""
        pulled: list[Pulled] = []
        kept: list[Both] = []
        for done, both in enumerate(self.both, 1):
            with self._apart(both.folder.path):
                if self._push and not self._dry_run and _is_mirror(both.folder):
                    self._stack.enter_context(both.folder.pushing())
                    both.settle_names()
                pulled.append(
                    both.pull(dry_run=self._dry_run, allow_mass_removal=allow_mass_removal)
                )
                kept.append(both)
            if progress:
                progress(done, len(self.both))
        self.both = kept
        return pulled

    def push_all(self, pulled: list[Pulled], *, allow_mass_removal: bool) -> list[SyncReport]:
        """To the mdir: what was moved first."""
        steps: list[list[Step]] = []
        for both in self.both:
            steps.append([])
            with self._apart(both.folder.path):
                if _is_mirror(both.folder):
                    own = local_steps(both.folder, both.folder.status())
                    if not allow_mass_removal:
                        check_deletions(both.folder, own)
                    steps[-1] = own
        moves = self._moves(steps)
        moved: list[list[Step]] = [[] for _ in self.both]
        for _, target, step in moves:
            moved[target].append(step)
        gone = {("delete", source, step.url) for source, _, step in moves}
        came = {("upload", target, step.name) for _, target, step in moves}
        steps = [
            [
                one
                for one in own
                if (one.action, number, one.url) not in gone
                and (one.action, number, one.name) not in came
            ]
            for number, own in enumerate(steps)
        ]
        if self._dry_run:
            return [
                report(one, Pushed((*here, *own)))
                for one, here, own in zip(pulled, moved, steps, strict=True)
            ]
        return self._pushed(pulled, steps, moves)

    def _moves(self, steps: list[list[Step]]) -> list[tuple[int, int, Step]]:
        """What went missing in one folder and appeared in another."""
        missing = [
            (str(number), Here(step.url, step.header, step.name))
            for number, own in enumerate(steps)
            for step in own
            if step.action == "delete" and step.url
        ]
        if not missing:
            return []
        sizes = {one.header.get("size") for _, one in missing}
        new = list(self._contents(steps, sizes))
        return [
            (int(source), int(target), step) for source, target, step in plan_moves(missing, new)
        ]

    def _contents(
        self, steps: list[list[Step]], sizes: set[str | None]
    ) -> Iterator[tuple[str, str, int, str]]:
        """The new files that may have been moved, with their contents' size and SHA-256."""
        for number, own in enumerate(steps):
            for step in own:
                path = self.both[number].folder.path / step.name
                with contextlib.suppress(OSError):
                    if step.action == "upload" and str(path.lstat().st_size) in sizes:
                        yield (str(number), step.name, *content_of(os.fspath(path)))

    def _pushed(
        self,
        pulled: list[Pulled],
        steps: list[list[Step]],
        moves: list[tuple[int, int, Step]],
    ) -> list[SyncReport]:
        touched: set[int] = set()
        done: dict[int, list[Step]] = {}
        for source, target, step in moves:
            left, came = ((self.both[n].folder, self.both[n].name) for n in (source, target))
            with self._apart(left[0].path):
                move(step, left, came, self._mdird)
                done.setdefault(source, []).append(step)
            touched |= {source, target}
        reports = []
        for number, both in enumerate(self.both):
            one = report(pulled[number])
            with self._apart(both.folder.path):
                one = both.push(pulled[number], steps[number], is_changed=number in touched)
            own = done.get(number, [])
            reports.append(
                attrs.evolve(one, pushed=one.pushed + len(own), steps=(*own, *one.steps))
            )
        return reports


class _Directories:
    """What is in a directory.

    Attributes:
        others: by fold, the directories that mirror nothing.
        taken: the folds of all names.
    """

    def __init__(self) -> None:
        self.others: dict[str, Path] = {}
        self.taken: set[str] = set()
        self._mirrors: dict[str, list[Path]] = {}
        self._unreadable: list[Path] = []

    def add(self, path: Path, *, is_directory: bool) -> None:
        """Note a name. Neither links nor files lead anywhere."""
        self.taken.add(fold(path.name))
        if not is_directory or path.name.startswith("."):
            return
        try:
            origin = Folder(path).origin
        except (FormatError, OSError):
            self._unreadable.append(path)
            return
        if origin:
            self._mirrors.setdefault(origin.folder_id, []).append(path)
        else:
            self.others[fold(path.name)] = path

    def mirror(self, identifier: str, name: str) -> Path | None:
        """The directory that mirrors a folder: of several the one of its name. It is found once."""
        found = self._mirrors.get(identifier, [])
        found.sort(key=lambda path: fold(path.name) == fold(safe_name(name)))
        return found.pop() if found else None

    def other(self, name: str) -> Path | None:
        """A directory of this name that mirrors nothing; it is found once."""
        return self.others.pop(fold(safe_name(name)), None)

    def left(self) -> list[Path]:
        """Mirrors of what is not here, and what cannot be read."""
        return [*(path for found in self._mirrors.values() for path in found), *self._unreadable]


def _directories(path: Path) -> _Directories:
    found = _Directories()
    with contextlib.suppress(FileNotFoundError):
        for entry in sorted(os.scandir(path), key=lambda entry: entry.name):
            found.add(Path(entry.path), is_directory=entry.is_dir(follow_symlinks=False))
    return found
