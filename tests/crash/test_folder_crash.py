"""Every operation of a folder, stopped at every step: nothing is half and nothing lost."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from mdirclient import Counted, Folder, Header, Origin
from tests.crash.ladder import counted, failed_at, killed_at
from tests.folders import refuse_link

Operation = Callable[[Folder], None]


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


def add_again(folder: Folder) -> None:
    """An entry whose file a person has removed, and its header not."""
    folder.add(header(1, "a.txt", b"one"), b"one")


def replace_edited(folder: Folder) -> None:
    """A content that a person has edited; it goes to lost+found."""
    with folder.batch() as batch:
        batch.replace(header(1, "a.txt", b"changed"), b"changed")
    kept = list(folder.path.glob(".meta/.lost+found/*"))
    assert EDITED in [path.read_bytes() for path in kept]


EDITED = b"edited by hand"
OPERATIONS = [add, remove, rename, apply, add_again, replace_edited]


def prepared(path: Path, operation: Operation) -> Folder:
    """A folder with two entries and version 1, and what a person did before the operation."""
    folder = Folder(path)
    folder.add(header(1, "a.txt", b"one"), b"one")
    folder.add(header(9, "z.txt", b"nine"), b"nine")
    with folder.batch() as batch:
        batch.count(Counted(1, 0))
    if operation is add_again:
        (path / "a.txt").unlink()
    if operation is replace_edited:
        (path / "a.txt").write_bytes(EDITED)
    return folder


def state(path: Path) -> dict[str, bytes]:
    """All that a person sees, and the headers."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*"))
        if file.is_file() and not {".lock", ".stage", ".lost+found"} & set(file.parts)
    }


def check(path: Path) -> None:
    """What a reader may see at any moment, before any recovery."""
    for entry in Folder(path):
        found = hashlib.sha256(entry.path.read_bytes()).hexdigest()
        assert found in (entry.header["sha256"], *REPLACED)


#: Of an entry whose header and content are both being replaced a reader may meet one of each.
REPLACED = [hashlib.sha256(content).hexdigest() for content in (b"one", b"changed", EDITED)]


def check_recovered(path: Path, operation: Operation) -> None:
    """After the next change: pairs only, contents as the headers say, no journal."""
    folder = Folder(path)
    folder.recover()
    visible = {file.name for file in path.iterdir() if not file.name.startswith(".")}
    headers = {file.name for file in (path / ".meta").iterdir() if not file.name.startswith(".")}
    # What a person left alone is as it was while nothing has happened.
    assert headers - visible <= ({"a.txt"} if operation is add_again else set())
    assert visible <= headers
    assert not (path / ".meta" / ".journal").exists()
    for entry in folder:
        content = entry.path.read_bytes()
        is_edited = operation is replace_edited and content == EDITED
        assert is_edited or entry.header["sha256"] == hashlib.sha256(content).hexdigest()


def finished(path: Path, operation: Operation) -> dict[str, bytes]:
    """The state without a crash."""
    folder = prepared(path, operation)
    operation(folder)
    return state(path)


def each_step(
    tmp_path: Path, operation: Operation, stopped: Callable[[int, Callable[[], object]], bool]
) -> int:
    """Stop at each step, look, recover, do it again; returns how many states were seen."""
    expected = finished(tmp_path / "expected", operation)
    prepared(tmp_path / "prepared", operation)
    for step in count(1):
        path = tmp_path / "f"
        shutil.copytree(tmp_path / "prepared", path)
        reached = stopped(step, lambda path=path: operation(Folder(path)))  # type: ignore[misc]
        check(path)
        before = Folder(path).version
        check_recovered(path, operation)
        assert before <= Folder(path).version <= 2
        operation(Folder(path))
        assert expected == state(path)
        shutil.rmtree(path)
        if not reached:
            return step - 1
    raise AssertionError


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_each_step(tmp_path: Path, operation: Operation) -> None:
    """The process ends without notice."""
    states = each_step(tmp_path, operation, killed_at)
    print(f"{operation.__name__}: {states} states")
    assert states >= 10


@pytest.fixture
def _no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without hard links, such as FAT."""

    monkeypatch.setattr(os, "link", refuse_link)


@pytest.mark.usefixtures("_no_links")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_each_step_without_hard_links(tmp_path: Path, operation: Operation) -> None:
    """Names are reserved there; a reservation that was left is found."""
    assert each_step(tmp_path, operation, killed_at) >= 10


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_error_at_each_step(tmp_path: Path, operation: Operation, number: int) -> None:
    """The disk refuses, once."""
    states = each_step(tmp_path, operation, lambda step, stopped: failed_at(step, number, stopped))
    assert states >= 10


@pytest.mark.parametrize("stride", [7, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_recovery_killed_at_each_step(tmp_path: Path, operation: Operation, stride: int) -> None:
    """Recovery may itself be cut, at each of its steps, after each point where it has work.

    With a stride not each: another seventh of the steps after each point.
    """
    expected = finished(tmp_path / "expected", operation)
    prepared(tmp_path / "prepared", operation)
    path = tmp_path / "f"
    states = 0
    for step in count(1):
        for again in count(1 + step % stride, stride):
            shutil.copytree(tmp_path / "prepared", path)
            reached = killed_at(step, lambda: operation(Folder(path)))
            has_work = (path / ".meta" / ".journal").exists()
            cut = has_work and killed_at(again, lambda: check_recovered(path, operation))
            check(path)
            check_recovered(path, operation)
            operation(Folder(path))
            assert expected == state(path)
            shutil.rmtree(path)
            states += has_work
            if not cut:
                break
        if not reached:
            break
    print(f"{operation.__name__}: {states} states")
    assert states >= 20


def test_what_is_flushed_before_what(tmp_path: Path) -> None:
    """Pitfall 3: the calls, not the intention.

    Content and header, `.stage`; the journal and its name; then the pair and its directories;
    then the counter and its name; then the journal goes.
    """
    folder = prepared(tmp_path / "f", apply)
    batch = folder.batch()
    batch.add(header(2, "b.txt", b"two"), b"two")
    batch.count(Counted(2, 1))
    with counted(None, lambda: None) as counter:
        folder.apply(batch)
    watched = ("fsync", "link", "replace", "unlink")
    assert (
        ["fsync", "fsync", "fsync"]  # content, header, .stage
        + ["fsync", "replace", "fsync"]  # the journal, its name
        + ["link", "link", "fsync", "fsync"]  # the pair, both directories
        + ["fsync", "replace", "fsync"]  # .version, its name
        + ["unlink", "fsync"]  # the journal
        + ["unlink", "unlink"]  # what was staged
    ) == [name for name in counter.calls if name in watched]
