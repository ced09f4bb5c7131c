"""The folder against a model: random changes by two processes, a person, and crashes between."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from mdirclient import Counted, Folder, Header
from mdirclient.naming import fold

NAMES = st.sampled_from(["a.txt", "A.txt", "b", "e\u0301", "é", ".version", "a (2).txt"])
NUMBERS = st.integers(0, 8)


def url(number: int) -> str:
    """The url of an entry."""
    return f"mdir:{number}@x.org/1"


class FolderMachine(RuleBasedStateMachine):
    """The model: url → content, and the user's own files."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.folders = [Folder(self.path / "f"), Folder(self.path / "f")]
        self.entries: dict[str, bytes] = {}
        self.own: dict[str, bytes] = {}
        self.version = 0
        self.counter = 0

    def teardown(self) -> None:
        """Leave nothing behind."""
        shutil.rmtree(self.path)

    @rule(which=st.integers(0, 1), number=NUMBERS, name=NAMES)
    def add(self, which: int, number: int, name: str) -> None:
        """One entry."""
        self.counter += 1
        content = b"%d" % self.counter
        header = Header([("url", url(number)), ("suggested-name", name)])
        entry = self.folders[which].add(header, content)
        self.entries.setdefault(url(number), content)
        assert self.entries[url(number)] == entry.path.read_bytes()

    @rule(which=st.integers(0, 1), numbers=st.lists(NUMBERS, max_size=5), removed=NUMBERS)
    def batch(self, which: int, numbers: list[int], removed: int) -> None:
        """Several at once, with the counter."""
        self.counter += 1
        with self.folders[which].batch() as batch:
            for number in numbers:
                header = Header([("url", url(number)), ("suggested-name", "a.txt")])
                batch.add(header, b"%d" % self.counter)
                self.entries.setdefault(url(number), b"%d" % self.counter)
            batch.remove(url(removed))
            self.entries.pop(url(removed), None)
            batch.count(Counted(self.version + 1, self.version))
        self.version += 1

    @precondition(lambda self: self.entries)
    @rule(which=st.integers(0, 1), data=st.data(), name=NAMES)
    def rename(self, which: int, data: st.DataObject, name: str) -> None:
        """An entry gets another name."""
        self.folders[which].rename(data.draw(st.sampled_from(sorted(self.entries))), name)

    @precondition(lambda self: self.entries)
    @rule(which=st.integers(0, 1), data=st.data())
    def remove(self, which: int, data: st.DataObject) -> None:
        """An entry goes."""
        gone = data.draw(st.sampled_from(sorted(self.entries)))
        self.folders[which].remove(gone)
        del self.entries[gone]

    @precondition(lambda self: self.entries)
    @rule(which=st.integers(0, 1), data=st.data())
    def remove_by_hand(self, which: int, data: st.DataObject) -> None:
        """A person deletes the file and leaves the header."""
        gone = data.draw(st.sampled_from(sorted(self.entries)))
        self.folders[which].resolve(gone).unlink()
        del self.entries[gone]

    @rule(name=st.sampled_from(["a.txt", "mine"]))
    def save_by_hand(self, name: str) -> None:
        """A person saves a file where nothing is (in the place of a deleted one it would be
        an edit of that entry).
        """
        path = self.path / "f" / name
        folder = path.parent
        taken = [fold(p.name) for p in (*folder.glob("*"), *folder.glob(".meta/*"))]
        if folder.exists() and fold(name) not in taken:
            self.counter += 1
            path.write_bytes(b"own %d" % self.counter)
            self.own[name] = path.read_bytes()

    @rule(which=st.integers(0, 1))
    def open_again(self, which: int) -> None:
        """A process ends and another begins."""
        self.folders[which] = Folder(self.path / "f")

    @invariant()
    def is_as_the_model(self) -> None:
        """Both see the same, contents are right, folded names are unique, own files stay."""
        for folder in self.folders:
            assert self.entries == {str(e.url): e.path.read_bytes() for e in folder}
            assert len(self.entries) == len(folder)
            assert self.version == folder.version
            for known, content in self.entries.items():
                assert content == folder.resolve(known).read_bytes()
        if (self.path / "f").exists():
            visible = [p.name for p in (self.path / "f").iterdir() if not p.name.startswith(".")]
            assert len(visible) == len({fold(name) for name in visible})
        for name, content in self.own.items():
            assert content == (self.path / "f" / name).read_bytes()


FolderMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestFolderMachine = FolderMachine.TestCase
