"""What a power cut may leave: all states that the flushes which were issued permit.

A recorder watches an operation on a real folder. For each moment it knows what is certainly on
the disk: contents as of their last fsync, names as of the last fsync of their directory, all of
both as of the last syncfs. Everything later may be there or not, each by itself and in any
order: a name without the one before it, a file of which no byte was written, half a file.

The files of a state are links to the real ones, so inodes and times are those of the journal.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from mdirclient._fs import flush

#: So many names that are in doubt are tried in all combinations; of more a sample.
ALL_COMBINATIONS = 4
SAMPLE = 12

#: The real one, whatever a test puts in its place.
LINK = os.link

Tree = dict[str, dict[str, int | None]]


@attrs.frozen
class Name:
    """A change of a directory: the name has this inode now; None: it is gone; -1: a directory."""

    directory: str
    name: str
    inode: int | None


@attrs.frozen
class Moment:
    """What is certain and what is in doubt after a call.

    Attributes:
        call: the last one.
        tree: directory → name → inode (None: a directory), certainly on the disk.
        doubtful: changes of names since, in order; a group happens as a whole.
        dirty: inodes whose content is in doubt.
    """

    call: str
    tree: Tree
    doubtful: tuple[tuple[Name, ...], ...]
    dirty: frozenset[int]


class Disk:
    """Watches a folder.

    Args:
        root: the folder, all of which is on the disk.
        vault: a directory of the same file system, where every file gets a second name.
    """

    def __init__(self, root: Path, vault: Path) -> None:
        self.root = str(root)
        self.vault = vault
        self.moments: list[Moment] = []
        self._paths: dict[int, str] = {}
        self._tree: Tree = {}
        self._doubtful: list[tuple[Name, ...]] = []
        self._dirty: set[int] = set()
        vault.mkdir(exist_ok=True)
        for directory, directories, files in os.walk(root):
            names = self._tree[directory] = dict.fromkeys(directories, -1)
            for name in files:
                names[name] = self._keep(os.path.join(directory, name))
        self._note("nothing")

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Watch the calls of the context."""
        watchers: dict[str, Callable[..., None]] = {
            "open": self._opened,
            "write": self._wrote,
            "fsync": self._flushed,
            "link": self._linked,
            "unlink": self._unlinked,
            "rename": self._renamed,
            "replace": self._renamed,
            "mkdir": self._made,
            "syncfs": self._flushed_all,
        }
        homes = {name: flush if name == "syncfs" else os for name in watchers}
        originals = {name: getattr(homes[name], name) for name in watchers}

        def wrapped(name: str) -> Callable[..., object]:
            def call(*arguments: object, **options: object) -> object:
                # What is moved is looked at before, what is made after.
                inode = _inode(arguments[0]) if name in ("rename", "replace") else None
                was_there = name == "open" and os.path.lexists(str(arguments[0]))
                result = originals[name](*arguments, **options)
                watchers[name](*arguments, result=result, inode=inode, was_there=was_there)
                return result

            return call

        try:
            for name in watchers:
                setattr(homes[name], name, wrapped(name))
            yield
        finally:
            for name, original in originals.items():
                setattr(homes[name], name, original)

    def states(self, moment: Moment, chance: random.Random) -> Iterator[tuple[Tree, set[int]]]:
        """Trees that the disk may have, and the inodes whose content did not get there."""
        for chosen in _subsets(len(moment.doubtful), chance):
            tree = {directory: dict(names) for directory, names in moment.tree.items()}
            for number in chosen:
                for change in moment.doubtful[number]:
                    names = tree.setdefault(change.directory, {})
                    if change.inode is None:
                        names.pop(change.name, None)
                    else:
                        names[change.name] = change.inode
            reached = {inode for names in tree.values() for inode in names.values() if inode}
            dirty = sorted(moment.dirty & reached)
            yield tree, set()
            if dirty:
                yield tree, set(dirty)
                yield tree, {inode for inode in dirty if chance.random() < 0.5}

    def write(self, tree: Tree, lost: set[int], path: Path) -> None:
        """Make a state of the folder at a path."""
        if path.exists():
            shutil.rmtree(path)
        pending = [(self.root, path)]
        while pending:
            directory, target = pending.pop()
            target.mkdir()
            for name, inode in tree.get(directory, {}).items():
                if inode == -1:
                    pending.append((os.path.join(directory, name), target / name))
                elif inode in lost:
                    whole = (self.vault / str(inode)).read_bytes()
                    (target / name).write_bytes(whole[: len(whole) // 2 if inode % 2 else 0])
                else:
                    LINK(self.vault / str(inode), target / name)

    # -- what calls mean

    def _opened(
        self, path: str, flags: int, *_: object, result: int, was_there: bool, **__: object
    ) -> None:
        if not self._is_inside(path):
            return
        self._paths[result] = os.fspath(path)
        if flags & os.O_CREAT and not was_there:
            self._doubt(Name(*os.path.split(path), self._keep(path)))
            self._note(f"open {path}")

    def _wrote(self, descriptor: int, *_: object, **__: object) -> None:
        if descriptor in self._paths and _is_open(descriptor, self._paths[descriptor]):
            self._dirty.add(os.fstat(descriptor).st_ino)
            self._note(f"write {self._paths[descriptor]}")

    def _flushed(self, descriptor: int, **_: object) -> None:
        path = self._paths.get(descriptor)
        if path is None or not _is_open(descriptor, path):
            return
        if os.path.isdir(path):
            kept = [group for group in self._doubtful if group[0].directory != path]
            for group in self._doubtful:
                if group[0].directory == path:
                    self._settle(group)
            self._doubtful = kept
        else:
            self._dirty.discard(os.fstat(descriptor).st_ino)
        self._note(f"fsync {path}")

    def _flushed_all(self, _: int, **__: object) -> None:
        for group in self._doubtful:
            self._settle(group)
        self._doubtful = []
        self._dirty = set()
        self._note("syncfs")

    def _linked(self, _: str, path: str, **__: object) -> None:
        if self._is_inside(path):
            self._doubt(Name(*os.path.split(path), self._keep(path)))
            self._note(f"link {path}")

    def _unlinked(self, path: str, **_: object) -> None:
        if self._is_inside(path):
            self._doubt(Name(*os.path.split(path), None))
            self._note(f"unlink {path}")

    def _renamed(self, path: str, target: str, *, inode: int, **_: object) -> None:
        if self._is_inside(path):
            is_directory = os.path.isdir(target)
            new = Name(*os.path.split(target), -1 if is_directory else inode)
            old = Name(*os.path.split(path), None)
            if is_directory:
                self._tree[target] = self._tree.pop(path, {})
            # Atomic in one directory. Of two the old name goes only with the new one there.
            if new.directory != old.directory:
                self._doubt(new)
            self._doubt(new, old)
            self._note(f"rename {path} {target}")

    def _made(self, path: str, *_: object, **__: object) -> None:
        if self._is_inside(path):
            self._doubt(Name(*os.path.split(path), -1))
            self._tree.setdefault(path, {})
            self._note(f"mkdir {path}")

    def _doubt(self, *group: Name) -> None:
        self._doubtful.append(group)

    def _settle(self, group: tuple[Name, ...]) -> None:
        for change in group:
            names = self._tree.setdefault(change.directory, {})
            if change.inode is None:
                names.pop(change.name, None)
            else:
                names[change.name] = change.inode

    def _note(self, call: str) -> None:
        tree = {directory: dict(names) for directory, names in self._tree.items()}
        self.moments.append(Moment(call, tree, tuple(self._doubtful), frozenset(self._dirty)))

    def _keep(self, path: str) -> int:
        inode = os.lstat(path).st_ino
        if not (self.vault / str(inode)).exists():
            LINK(path, self.vault / str(inode))
        return inode

    def _is_inside(self, path: object) -> bool:
        return str(path).startswith(self.root)


def _inode(path: object) -> int:
    return os.lstat(str(path)).st_ino


def _is_open(descriptor: int, path: str) -> bool:
    """Whether a descriptor is still that of the path: numbers are used again."""
    found = os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(" (deleted)")
    return found == os.path.realpath(path)


def _subsets(count: int, chance: random.Random) -> Iterator[tuple[int, ...]]:
    """Which of so many doubtful changes are there: all combinations, or a sample of them."""
    everything = range(count)
    if count <= ALL_COMBINATIONS:
        for size in range(count + 1):
            yield from itertools.combinations(everything, size)
        return
    yield ()
    yield tuple(everything)
    for one in everything:
        yield (one,)
        yield tuple(number for number in everything if number != one)
    for _ in range(SAMPLE):
        yield tuple(number for number in everything if chance.random() < 0.5)
