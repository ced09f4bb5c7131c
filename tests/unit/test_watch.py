"""Watching a folder: hints, and a rescan where hints were lost."""

from __future__ import annotations

import builtins
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mdirclient import Change, Folder
from mdirclient.errors import FolderNotFoundError
from tests.folders import header


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder with an entry."""
    made = Folder(tmp_path / "inbox")
    made.add(header(1, "a.txt"), b"1")
    return made


def seen(
    folder: Folder, act: Callable[[], object], until: Callable[[set[Change]], bool]
) -> set[Change]:
    """The changes that are told when something is done; it is done again until they come."""
    found: set[Change] = set()
    done = threading.Event()

    def acting() -> None:
        # The watcher says nothing of when it begins.
        while not done.wait(0.2):
            act()

    thread = threading.Thread(target=acting)
    thread.start()
    try:
        for change in folder.watch(timeout=30):
            found.add(change)
            if until(found):
                return found
    finally:
        done.set()
        thread.join()
    return found


def test_what_a_person_does_is_told(folder: Folder) -> None:
    """New files, edits and removals, of contents, headers and the counter."""

    def act() -> None:
        (folder.path / "mine").write_bytes(os.urandom(8))
        (folder.path / ".meta" / "a.txt").write_bytes(b"url: mdir:1@x.org/1\n")
        (folder.path / ".version").write_bytes(b"%d\n" % (os.urandom(1)[0]))

    wanted = {"mine", ".meta/a.txt", ".version"}
    found = seen(folder, act, lambda found: wanted <= {change.path for change in found})
    assert wanted <= {change.path for change in found}
    assert {"added", "modified"} >= {change.action for change in found}
    assert not any(change.path.startswith(".meta/.") for change in found)


def test_what_was_removed_is_told(folder: Folder) -> None:
    """As removed."""

    def act() -> None:
        if not list(folder.path.glob("gone")):
            (folder.path / "gone").write_bytes(b"")
        else:
            (folder.path / "gone").unlink()

    gone = Change("removed", "gone")
    assert gone in seen(folder, act, lambda found: gone in found)


def test_too_much_at_once_is_a_rescan(folder: Folder) -> None:
    """Pitfall 10: watchers drop events."""
    count = 0

    def act() -> None:
        nonlocal count
        for _ in range(3000):
            count += 1
            (folder.path / f"m{count}").write_bytes(b"")

    rescan = Change("rescan")
    assert rescan in seen(folder, act, lambda found: rescan in found)


def test_it_ends_when_nothing_happens(folder: Folder) -> None:
    """After the time-out, or when the folder is gone."""
    assert [] == list(folder.watch(timeout=0.1))
    changes = folder.watch(timeout=30)
    threading.Timer(0.3, lambda: (folder.path / ".meta").rename(folder.path / "away")).start()
    with pytest.raises(FolderNotFoundError):
        list(changes)


def test_without_the_extra(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    original = builtins.__import__

    def refuse(name: str, *words: object, **options: object) -> object:
        if name == "watchfiles":
            raise ImportError(name)
        return original(name, *words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(ImportError, match=r"mdirclient\[watch\]"):
        list(folder.watch())
