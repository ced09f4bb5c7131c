"""What the crash laboratory does to a folder, and how a folder has to look after a crash."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mdirclient import Counted, Folder, Header, Origin

Operation = Callable[[Folder], None]

EDITED = b"edited by hand"


def header(number: int, name: str, content: bytes) -> Header:
    """The header of an entry, with size and digest."""
    return Header(
        [
            ("url", f"mdir:{number}@x.org/1"),
            ("suggested-name", name),
            ("size", str(len(content))),
            ("sha256", hashlib.sha256(content).hexdigest()),
        ]
    )


def add(folder: Folder) -> None:
    """One entry beside one of the same name."""
    folder.add(header(2, "a.txt", b"two"), b"two")


def remove(folder: Folder) -> None:
    """One entry, if it is there."""
    with folder.batch() as batch:
        batch.remove("mdir:1@x.org/1")


def rename(folder: Folder) -> None:
    """One entry."""
    folder.rename("mdir:1@x.org/1", "b.txt")


def apply(folder: Folder) -> None:
    """What a sync does: several kinds of steps, the counter and the origin."""
    with folder.batch() as batch:
        batch.add(header(2, "a.txt", b"two"), b"two")
        batch.add(header(3, "c.txt", b"three"), b"three")
        batch.replace(header(1, "a.txt", b"changed"), b"changed")
        batch.remove("mdir:9@x.org/1")
        batch.pend(header(4, "d", b""), "no content")
        batch.count(Counted(2, folder.version, Origin("id", "epoch", "name"), folder.origin))


def apply_many(folder: Folder) -> None:
    """So many that they are flushed together."""
    with folder.batch() as batch:
        for number in range(20, 30):
            batch.add(header(number, "m.txt", b"%d" % number), b"%d" % number)


def add_again(folder: Folder) -> None:
    """An entry whose file a person has removed, and its header not."""
    folder.add(header(1, "a.txt", b"one"), b"one")


def replace_edited(folder: Folder) -> None:
    """A content that a person has edited; it goes to lost+found."""
    with folder.batch() as batch:
        batch.replace(header(1, "a.txt", b"changed"), b"changed")


def supersede(folder: Folder) -> None:
    """An entry in the place of another one, whose file a person has edited: that stays beside."""
    with folder.batch() as batch:
        batch.replace(
            header(5, "a.txt", b"theirs"),
            b"theirs",
            instead_of="mdir:1@x.org/1",
            conflict="2026-11-22",
        )


def follow(folder: Folder) -> None:
    """Entries that are suggested other names, one of them with another content."""
    with folder.batch() as batch:
        batch.replace(header(1, "b.txt", b"one"))
        batch.replace(header(9, "y.txt", b"changed"), b"changed")


def claim(folder: Folder) -> None:
    """A person's own file becomes an entry, and an edited one another entry."""
    with folder.batch() as batch:
        batch.claim(header(6, "mine.txt", b"mine"), "mine.txt")
        batch.claim(header(7, "a.txt", EDITED), "a.txt", instead_of="mdir:1@x.org/1")


def repair(folder: Folder) -> None:
    """A folder in which a person has worked."""
    folder.repair()


OPERATIONS = [
    *(add, remove, rename, apply, apply_many, add_again, replace_edited, supersede, follow),
    *(claim, repair),
]
#: The person's own files, before or after (a file that cannot be read is taken for one).
WITH_OWN = (supersede, follow, claim, repair)
#: A file is edited by hand.
WITH_EDIT = (replace_edited, supersede, claim)
#: What a person left, and the operation has not mended yet.
BROKEN: dict[Operation, set[str]] = {
    add_again: {"missing"},
    repair: {"version", "header", "renamed"},
}
#: The contents that the operation is there to remove.
REMOVED: dict[Operation, set[bytes]] = {
    remove: {b"one"},
    apply: {b"one", b"nine"},
    follow: {b"nine"},
}


def prepared(path: Path, operation: Operation) -> Folder:
    """A folder with two entries and version 1, and what a person did before the operation."""
    folder = Folder(path)
    folder.add(header(1, "a.txt", b"one"), b"one")
    folder.add(header(9, "z.txt", b"nine"), b"nine")
    with folder.batch() as batch:
        batch.count(Counted(1, 0))
    if operation is add_again:
        (path / "a.txt").unlink()
    if operation in WITH_EDIT:
        (path / "a.txt").write_bytes(EDITED)
    if operation is claim:
        (path / "mine.txt").write_bytes(b"mine")
    if operation is repair:
        (path / "a.txt").rename(path / "mine.txt")
        (path / ".meta" / "z.txt").write_bytes(b"spoilt")
        (path / ".version").write_bytes(b"12abc")
    return folder


def state(path: Path) -> dict[str, bytes]:
    """All that a person sees, and the headers."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and not {".lock", ".stage", ".lost+found"} & set(file.parts)
    }


def finished(path: Path, operation: Operation) -> dict[str, bytes]:
    """The state without a crash."""
    folder = prepared(path, operation)
    operation(folder)
    return state(path)


def contents(path: Path) -> set[bytes]:
    """What all visible and kept files hold."""
    kept = path / ".meta" / ".lost+found"
    visible = [file for file in path.iterdir() if not file.name.startswith(".")]
    return {file.read_bytes() for file in (*visible, *(kept.iterdir() if kept.is_dir() else ()))}


def check(path: Path, operation: Operation) -> None:
    """What a reader may see at any moment, before any recovery: whole entries."""
    # Of an entry whose header and content are both being replaced a reader may meet one of each.
    is_replaced = operation in (apply, follow, *WITH_EDIT)
    replaced = {b"one", b"changed", b"theirs", EDITED} if is_replaced else set()
    with Folder(path) as folder:
        for entry in folder:
            content = entry.path.read_bytes()
            is_right = entry.header["sha256"] == hashlib.sha256(content).hexdigest()
            assert is_right or content in replaced


def check_recovered(path: Path, operation: Operation, before: set[bytes]) -> None:
    """Recovery leaves nothing broken but what a person broke, and has lost nothing."""
    with Folder(path) as folder:
        folder.recover()
        findings = folder.check()
        assert {finding.kind for finding in findings} <= BROKEN.get(operation, set()), findings
        status = folder.status()
        modified = {entry.path.read_bytes() for entry in status.modified}
        assert modified <= ({EDITED} if operation in WITH_EDIT else set())
        assert operation in WITH_OWN or status.new == ()
    assert not (path / ".meta" / ".journal").exists()
    assert before - contents(path) <= REMOVED.get(operation, set())


@contextmanager
def laboratory() -> Iterator[Path]:
    """A directory in memory, where there is one: flushes are counted there, not waited for."""
    memory = Path("/dev/shm")
    with (
        tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as path,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("XDG_CACHE_HOME", f"{path}/cache")
        yield Path(path)


def copied(source: Path, path: Path) -> None:
    """Put a copy of a folder in the place of what is there."""
    if path.exists():
        shutil.rmtree(path)
    shutil.copytree(source, path)
