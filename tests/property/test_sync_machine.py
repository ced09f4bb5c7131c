"""Several people with mirrored folders, everything that they do by hand, and syncs that are killed.

Whatever happens, all converge to what the mdir holds, and no content is lost but those that
somebody removed or overwrote.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from mdirclient import Folder, Header, Mdird, connect, make_folder, sync, sync_tree
from mdirclient.errors import ConflictReplyError
from mdirclient.settings import file_url
from tests.crash.ladder import killed_at

PEOPLE = 2
FOLDERS = ("T/A", "T/B")
NAMES = st.sampled_from(["a.txt", "b.txt", "a (2).txt", "c"])
WHO = st.integers(0, PEOPLE - 1)
WHERE = st.sampled_from(FOLDERS)
PICK = st.integers(0, 1000)


class SyncMachine(RuleBasedStateMachine):
    """The model: what was written, and what somebody destroyed."""

    def __init__(self) -> None:
        super().__init__()
        self.path = Path(tempfile.mkdtemp())
        self.written: set[bytes] = set()
        self.destroyed: set[bytes] = set()
        self.ahead: set[Path] = set()

    def mdird(self) -> Mdird:
        """A connection of its own: syncs are forked."""
        return connect(file_url(str(self.path / "mdir")))

    @initialize()
    def begin(self) -> None:
        """Everybody mirrors two folders, with something in them."""
        with self.mdird() as mdird:
            for name in FOLDERS:
                make_folder(mdird, name)
                self.put(mdird, name, "a.txt")
        for who in range(PEOPLE):
            for name in FOLDERS:
                self.sync(who, name, push=False)

    def content(self) -> bytes:
        """One that nobody has written before."""
        content = b"content %d" % len(self.written)
        self.written.add(content)
        return content

    def put(self, mdird: Mdird, folder: str, name: str) -> None:
        """Another program adds an entry."""
        stored = mdird.store.add_file(self.content(), media_type="text/plain", suggested_name=name)
        mdird.put(folder, stored.headers()[0])

    def place(self, who: int, folder: str) -> Path:
        """The local folder of a person."""
        return self.path / str(who) / folder

    def files(self, who: int, folder: str) -> list[Path]:
        """What a person sees in it."""
        return sorted(p for p in self.place(who, folder).glob("*") if not p.name.startswith("."))

    def pick(self, who: int, folder: str, number: int) -> Path | None:
        """One of the files."""
        files = self.files(who, folder)
        return files[number % len(files)] if files else None

    def sync(self, who: int, name: str, *, push: bool) -> int:
        """How many steps it had."""
        place = self.place(who, name)
        push = push and (place / ".meta").is_dir()
        with self.mdird() as mdird, Folder(place, durability="none") as folder:
            try:
                return len(sync(folder, mdird, name, push=push, allow_mass_removal=True).steps)
            except ConflictReplyError:
                # A person wrote a counter that is too high, and is told to remove it.
                (place / ".version").unlink()
                return 1

    # -- people

    @rule(who=WHO, where=WHERE, name=NAMES)
    def save(self, who: int, where: str, name: str) -> None:
        """A new file, or another content of one that is there."""
        path = self.place(who, where) / name
        with contextlib.suppress(FileNotFoundError):
            self.destroyed.add(path.read_bytes())
        path.write_bytes(self.content())

    @rule(who=WHO, where=WHERE, number=PICK)
    def edit(self, who: int, where: str, number: int) -> None:
        """Another content."""
        if path := self.pick(who, where, number):
            self.destroyed.add(path.read_bytes())
            path.write_bytes(self.content())

    @rule(who=WHO, where=WHERE, number=PICK)
    def delete(self, who: int, where: str, number: int) -> None:
        """A file goes."""
        if path := self.pick(who, where, number):
            self.destroyed.add(path.read_bytes())
            path.unlink()

    @rule(who=WHO, where=WHERE, to=WHERE, number=PICK, name=NAMES)
    def rename(self, who: int, where: str, to: str, number: int, name: str) -> None:
        """A file gets another name, perhaps in the other folder; what had it is gone."""
        if path := self.pick(who, where, number):
            target = self.place(who, to) / name
            if target != path:
                with contextlib.suppress(FileNotFoundError):
                    self.destroyed.add(target.read_bytes())
                path.rename(target)

    @rule(who=WHO, where=WHERE, to=WHERE, number=PICK, name=NAMES)
    def copy(self, who: int, where: str, to: str, number: int, name: str) -> None:
        """A file is there twice."""
        path, target = self.pick(who, where, number), self.place(who, to) / name
        if path and not target.exists():
            target.write_bytes(path.read_bytes())

    @rule(who=WHO, where=WHERE, version=st.integers(0, 12))
    def write_version(self, who: int, where: str, version: int) -> None:
        """Down or up."""
        path = self.place(who, where) / ".version"
        if not path.exists() or version > int(path.read_text()):
            self.ahead.add(path.parent)
        path.write_text(str(version))

    @rule(who=WHO, where=WHERE)
    def remove_meta(self, who: int, where: str) -> None:
        """All that the library knows."""
        shutil.rmtree(self.place(who, where) / ".meta", ignore_errors=True)

    # -- programs

    @rule(where=WHERE, name=NAMES)
    def deliver(self, where: str, name: str) -> None:
        """Something comes."""
        with self.mdird() as mdird:
            self.put(mdird, where, name)

    @rule(where=WHERE, number=PICK)
    def expire(self, where: str, number: int) -> None:
        """Something is removed in the mdir."""
        with self.mdird() as mdird:
            if live := list(mdird.lookup(where)):
                header = live[number % len(live)]
                with mdird.store.open(header["url"]) as file:
                    self.destroyed.add(file.read())
                mdird.remove(where, Header([("url", header["url"])]))

    # -- syncs

    @rule(who=WHO, where=WHERE, push=st.booleans())
    def one_sync(self, who: int, where: str, push: bool) -> None:
        """One way or both."""
        self.sync(who, where, push=push)

    @precondition(lambda self: self.written)
    @rule(who=WHO, where=WHERE, push=st.booleans(), step=st.integers(1, 120))
    def killed_sync(self, who: int, where: str, push: bool, step: int) -> None:
        """It ends without notice."""
        killed_at(step, lambda: self.sync(who, where, push=push))

    @rule(who=WHO, push=st.booleans())
    def tree_sync(self, who: int, push: bool) -> None:
        """All folders at once: what went from one to the other is moved."""
        self.sync_tree(who, push=push)

    @rule(who=WHO, push=st.booleans(), step=st.integers(1, 200))
    def killed_tree_sync(self, who: int, push: bool, step: int) -> None:
        """It ends without notice."""
        killed_at(step, lambda: self.sync_tree(who, push=push))

    def sync_tree(self, who: int, *, push: bool) -> None:
        """One way or both."""
        top = self.place(who, "T")
        with self.mdird() as mdird:
            try:
                sync_tree(
                    top,
                    mdird,
                    "T",
                    push=push and (top / ".meta").is_dir(),
                    allow_mass_removal=True,
                )
            except ConflictReplyError:
                for name in FOLDERS:
                    (self.place(who, name) / ".version").unlink(missing_ok=True)

    def teardown(self) -> None:
        """When nobody does anything any more, all have the same, and nothing is lost."""
        try:
            for place in self.ahead:
                # Who wrote a counter that was too high misses changes, and has to write 0.
                (place / ".version").write_text("0")
            self.settle()
            self.compare()
        finally:
            shutil.rmtree(self.path)

    def settle(self) -> None:
        """Sync until nothing is left to do."""
        for _ in range(12):
            steps = 0
            for who in range(PEOPLE):
                for name in FOLDERS:
                    steps += self.sync(who, name, push=False) + self.sync(who, name, push=True)
            if not steps:
                return
        raise AssertionError("they do not converge")

    def compare(self) -> None:
        """The folders of all with the mdir; contents with what was written."""
        found: set[bytes] = set()
        with self.mdird() as mdird:
            for name in FOLDERS:
                live = {}
                for header in mdird.lookup(name):
                    with mdird.store.open(header["url"]) as file:
                        live[header["url"]] = file.read()
                found |= set(live.values())
                for who in range(PEOPLE):
                    with Folder(self.place(who, name)) as folder:
                        here = {str(entry.url): entry.path.read_bytes() for entry in folder}
                        assert live == here, (who, name, live.items() ^ here.items())
                        assert folder.status().is_clean, folder.status()
                        assert {} == folder.outgoing(), folder.path
        kept = self.path.glob("*/T/*/.meta/.lost+found/*")
        found |= {path.read_bytes() for path in kept}
        assert set() == self.written - self.destroyed - found


SyncMachine.TestCase.settings = settings(
    max_examples=20, stateful_step_count=20, deadline=None, print_blob=True
)
TestSyncMachine = SyncMachine.TestCase
