"""A folder of the mdir with all folders below it, and a directory with all directories below it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import attrs

from mdirclient.errors import FolderPathError, FormatError, PermanentReplyError
from mdirclient.folder import Folder
from mdirclient.folder.status import content_of
from mdirclient.header import Header
from mdirclient.interfaces import Mdird, Mstore
from mdirclient.mdird.tree import make_folder
from mdirclient.naming import check_name, fold, safe_name, split_path
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
        gone: directories whose folder is no longer in the mdir, or may not be read; they stay.
    """

    folders: tuple[tuple[Path, str, SyncReport], ...]
    made: tuple[str, ...]
    gone: tuple[Path, ...]


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
        MdirError: see `sync`.
    """
    with contextlib.ExitStack() as stack:
        tree = _Tree(stack, mdird, store or mdird.store, dry_run=dry_run, push=push)
        tree.find(Path(path), name)
        if push:
            tree.both[0].folder.require()
            if not dry_run:
                for both in tree.both:
                    if _is_mirror(both.folder):
                        both.settle_names()
        pulled = list(tree.pull(allow_mass_removal=allow_mass_removal, progress=progress))
        reports = (
            tree.push_all(pulled, allow_mass_removal=allow_mass_removal)
            if push
            else [report(one) for one in pulled]
        )
        folders = tuple(
            (both.folder.path, both.name, one) for both, one in zip(tree.both, reports, strict=True)
        )
        return TreeReport(folders, tuple(tree.made), tuple(tree.gone))


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

    def find(self, path: Path, name: str) -> None:
        """Find all folders below one, and the directories that mirror them."""
        top = "/".join(split_path(name))
        waiting = [(path, top)]
        while waiting:
            directory, folder = waiting.pop()
            try:
                children = list(self._mdird.lookup(folder, _DIRECTORIES))
            except PermanentReplyError:
                if folder == top:
                    raise
                continue  # one that may not be read does not stop the others
            self._add(directory, folder)
            waiting += reversed(list(self._below(directory, folder, children)))

    def _add(self, directory: Path, folder: str) -> None:
        local = self._stack.enter_context(Folder(directory))
        self.both.append(Both(local, self._mdird, folder, self._store, None))

    def _below(
        self, directory: Path, folder: str, children: list[Header]
    ) -> Iterator[tuple[Path, str]]:
        """The directories for the folders in a folder."""
        mirrors, others = _directories(directory)
        taken = {fold(name) for name in (*others, *(p.name for p in mirrors.values()))}
        for header in children:
            name, identifier = header["name"], header["id"]
            safe = safe_name(name)
            found = mirrors.pop(identifier, None)
            if not found and fold(safe) in others:
                found = directory / others.pop(fold(safe))
            if not found:
                while fold(safe) in taken:
                    safe = safe_name(f"{safe[:100]} {identifier[:8]}")
                found = directory / safe
            taken.add(fold(found.name))
            yield found, f"{folder}/{name}"
        self.gone += mirrors.values()
        if self._push:
            for name in others.values():
                yield from self._made(directory / name, folder)

    def _made(self, directory: Path, folder: str) -> Iterator[tuple[Path, str]]:
        """A directory that is new becomes a folder."""
        try:
            name = f"{folder}/{check_name(directory.name)}"
        except FolderPathError:
            return
        self.made.append(name)
        if not self._dry_run:
            make_folder(self._mdird, name)
            yield directory, name

    def pull(self, *, allow_mass_removal: bool, progress: Progress | None) -> Iterator[Pulled]:
        """From the mdir, folder by folder."""
        for done, both in enumerate(self.both, 1):
            yield both.pull(dry_run=self._dry_run, allow_mass_removal=allow_mass_removal)
            if progress:
                progress(done, len(self.both))

    def push_all(self, pulled: list[Pulled], *, allow_mass_removal: bool) -> list[SyncReport]:
        """To the mdir: what was moved first."""
        steps = [
            local_steps(both.folder, both.folder.status()) if _is_mirror(both.folder) else []
            for both in self.both
        ]
        moves = self._moves(steps)
        moved: list[list[Step]] = [[] for _ in self.both]
        for source, target, step in moves:
            steps[source] = [
                one for one in steps[source] if one.action != "delete" or one.url != step.url
            ]
            steps[target] = [
                one for one in steps[target] if one.action != "upload" or one.name != step.name
            ]
            moved[target].append(step)
        for both, own in zip(self.both, steps, strict=True):
            if not allow_mass_removal:
                check_deletions(both.folder, own)
        if self._dry_run:
            return [
                report(one, Pushed((*come, *own)))
                for one, come, own in zip(pulled, moved, steps, strict=True)
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
        for source, target, step in moves:
            left, came = ((self.both[n].folder, self.both[n].name) for n in (source, target))
            move(step, left, came, self._mdird)
            touched |= {source, target}
        reports = []
        for number, both in enumerate(self.both):
            own = [step for source, _, step in moves if source == number]
            one = both.push(pulled[number], steps[number], is_changed=number in touched)
            reports.append(
                attrs.evolve(one, pushed=one.pushed + len(own), steps=(*own, *one.steps))
            )
        return reports


def _directories(path: Path) -> tuple[dict[str, Path], dict[str, str]]:
    """The directories in one: by the id of the folder that they mirror, and others by fold."""
    mirrors: dict[str, Path] = {}
    others: dict[str, str] = {}
    try:
        found = sorted(os.scandir(path), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return mirrors, others
    for entry in found:
        if entry.name.startswith(".") or not entry.is_dir(follow_symlinks=False):
            continue
        origin = None
        with contextlib.suppress(FormatError, OSError):
            origin = Folder(entry.path).origin
        if origin and origin.folder_id not in mirrors:
            mirrors[origin.folder_id] = Path(entry.path)
        elif not origin:
            others[fold(entry.name)] = entry.name
    return mirrors, others
