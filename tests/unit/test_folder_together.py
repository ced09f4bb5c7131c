"""The folder with others in it, and where the disk or the file system refuses."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from mdirclient import Counted, Folder
from mdirclient.errors import (
    JournalError,
    LockTimeoutError,
)
from tests.folders import header, names, refuse_link


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder that is not there yet."""
    return Folder(tmp_path / "inbox")


def test_a_lock_held_too_long_names_its_holder(tmp_path: Path) -> None:
    """Process and host."""
    holder = Folder(tmp_path / "f")
    waiter = Folder(tmp_path / "f", lock_timeout=0.05)
    with holder._writer.locked(), pytest.raises(LockTimeoutError) as caught:
        _add_in_thread(waiter)
    assert str(os.getpid()) in caught.value.holder
    assert os.uname().nodename in caught.value.holder
    assert "a" == waiter.add(header(1, "a"), b"1").name


def _add_in_thread(folder: Folder) -> None:
    errors: list[Exception] = []

    def add() -> None:
        try:
            folder.add(header(1, "a"), b"1")
        except LockTimeoutError as error:
            errors.append(error)

    thread = threading.Thread(target=add)
    thread.start()
    thread.join()
    raise errors[0]


def test_what_another_process_adds_is_seen(folder: Folder) -> None:
    """At once, by both, and names do not collide."""
    other = Folder(folder.path)
    for number in range(20):
        (folder if number % 2 else other).add(header(number, "a"), b"%d" % number)
        assert number + 1 == len(folder) == len(other)
        assert f"mdir:{number}@x.org/1" in folder
        assert f"mdir:{number}@x.org/1" in other
    assert 20 == len(names(folder))


def test_a_damaged_journal_stops_changes(folder: Folder) -> None:
    """Reading goes on; nothing is guessed."""
    folder.add(header(1, "a"), b"1")
    (folder.path / ".meta" / ".journal").write_bytes(b"journal: 9\nsteps: 0\n")
    with pytest.raises(JournalError):
        folder.add(header(2, "b"), b"2")
    assert 1 == len(folder)


def test_durability_none_flushes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But for making the directory."""
    folder = Folder(tmp_path / "f", durability="none")
    folder.add(header(0, "first"), b"")
    monkeypatch.setattr(os, "fsync", lambda _: pytest.fail("a flush"))
    folder.add(header(1, "a"), b"1")
    assert 2 == len(folder)


def test_a_name_taken_while_publishing_gets_the_next_suffix(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Race: a person saves a file between the choice of the name and its publication."""
    folder.make()
    link = os.link

    def taken_first(source: str, target: str, **options: bool) -> None:
        monkeypatch.setattr(os, "link", link)
        Path(target).write_bytes(b"mine")
        link(source, target, **options)

    monkeypatch.setattr(os, "link", taken_first)
    assert "a (2).txt" == folder.add(header(1, "a.txt"), b"1").name
    assert b"mine" == (folder.path / "a.txt").read_bytes()


def test_without_hard_links(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are reserved instead."""
    monkeypatch.setattr(os, "link", refuse_link)
    for number in range(3):
        folder.add(header(number, "a.txt"), b"%d" % number)
    folder.rename("mdir:0@x.org/1", "z.txt")
    folder.remove("mdir:1@x.org/1")
    assert ["a (3).txt", "z.txt"] == names(folder)
    assert b"0" == folder.resolve("mdir:0@x.org/1").read_bytes()


def test_a_journal_that_could_not_be_flushed_is_taken_back(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Durably, before what it stages goes; else a power cut would bring it back alone."""
    folder.add(header(1, "a"), b"1")
    batch = folder.batch()
    batch.add(header(2, "b"), b"2")
    batch.count(Counted(7, 0))
    fsync = os.fsync
    failing = iter([True, True])

    def fail_once_there_is_a_journal(descriptor: int) -> None:
        if (folder.path / ".meta" / ".journal").exists() and next(failing, False):
            raise OSError(errno.EIO, "Input/output error")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", fail_once_there_is_a_journal)
    with pytest.raises(OSError, match="Input/output"):
        folder.apply(batch)
    monkeypatch.undo()
    assert (0, 1) == (folder.version, len(folder))
    assert not (folder.path / ".meta" / ".journal").exists()
    assert [] == list((folder.path / ".meta" / ".stage").iterdir())


def test_a_header_name_taken_while_publishing(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pair gets another name, and its content leaves nothing behind."""
    folder.add(header(0, "z"), b"0")
    link = os.link

    def taken_first(source: str, target: str, **options: bool) -> None:
        if target.endswith("/.meta/a.txt"):
            Path(target).write_bytes(b"mine")
        link(source, target, **options)

    monkeypatch.setattr(os, "link", taken_first)
    assert "a (2).txt" == folder.add(header(1, "a.txt"), b"1").name
    assert "b.txt" == folder.rename("mdir:0@x.org/1", "b.txt").name
    assert ["a (2).txt", "b.txt"] == names(folder)
    assert b"mine" == (folder.path / ".meta" / "a.txt").read_bytes()
