"""What people do to a folder by hand."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mdirclient import Folder, Origin
from mdirclient.errors import VersionFormatError
from mdirclient.folder.journal import Journal
from tests.folders import header, names


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder that is not there yet."""
    return Folder(tmp_path / "inbox")


def test_files_of_the_user_are_not_entries(folder: Folder) -> None:
    """They have no header."""
    folder.add(header(1, "a"), b"1")
    (folder.path / "mine").write_bytes(b"")
    assert ["a"] == [entry.name for entry in folder]


def test_a_file_that_the_user_removed_is_no_entry(folder: Folder) -> None:
    """Its header alone is none; adding brings both back under the same name."""
    folder.add(header(1, "a"), b"1")
    (folder.path / "a").unlink()
    assert "mdir:1@x.org/1" not in folder
    assert 0 == len(folder)
    assert "a" == folder.add(header(1, "a"), b"1").name
    assert ["a"] == names(folder)


def test_an_edited_header_is_seen(folder: Folder) -> None:
    """At the next look, also where the times say nothing."""
    folder.add(header(1, "a"), b"1")
    path = folder.path / ".meta" / "a"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    assert "mdir:1@x.org/1" in folder
    path.write_bytes(b"url: mdir:1@x.org/1\r\nsubject: edited by hand")
    os.utime(path, ns=times)
    assert "edited by hand" == folder["mdir:1@x.org/1"].header["subject"]


def test_a_header_that_cannot_be_read_is_no_entry(folder: Folder) -> None:
    """The others are."""
    folder.add(header(1, "a"), b"1")
    folder.add(header(2, "b"), b"2")
    (folder.path / ".meta" / "a").write_bytes(b"\xff")
    assert ["b"] == [entry.name for entry in folder]


def test_the_folder_can_be_moved(folder: Folder, tmp_path: Path) -> None:
    """Nothing in it knows where it is."""
    folder.add(header(1, "a"), b"1")
    folder.version = 7
    moved = Folder(folder.path.rename(tmp_path / "elsewhere"))
    assert (7, b"1") == (moved.version, moved.resolve("mdir:1@x.org/1").read_bytes())


@pytest.mark.parametrize(
    ("held", "version"),
    [
        (b"0", 0),
        (b"41\n", 41),
        (b"007", 7),
        (b"  41 \t\n\n", 41),
        (b"41\r\n", 41),
        (b"\xef\xbb\xbf41\n", 41),
        (b"9" * 18, 10**18 - 1),
    ],
)
def test_version_as_people_write_it(folder: Folder, held: bytes, version: int) -> None:
    """Blanks, CRLF, a BOM and leading zeros."""
    folder.path.mkdir()
    (folder.path / ".version").write_bytes(held)
    assert version == folder.version


@pytest.mark.parametrize(
    "held",
    [
        b"",
        b" \n",
        b"7" + b" " * 4096 + b"x",
        b"+5",
        b"-1",
        b"12abc",
        b"1 2",
        b"9" * 30,
        "٣".encode(),
        b"\x00",
        b"1.0",
        b"0x1",
    ],
)
def test_a_version_that_is_no_counter(folder: Folder, held: bytes) -> None:
    """An error that shows the file and what it holds; only an assignment replaces it."""
    folder.path.mkdir()
    (folder.path / ".version").write_bytes(held)
    with pytest.raises(VersionFormatError) as caught:
        _ = folder.version
    assert held.startswith(caught.value.held)
    assert str(folder.path / ".version") in str(caught.value)
    folder.add(header(1, "a"), b"1")
    assert held == (folder.path / ".version").read_bytes()
    folder.version = 41
    assert b"41\n" == (folder.path / ".version").read_bytes()
    (kept,) = (folder.path / ".meta" / ".lost+found").iterdir()
    assert held == kept.read_bytes()


def directory(path: Path) -> None:
    """With something in it."""
    path.mkdir()
    (path / "inside").write_bytes(b"kept")


def symlink(path: Path) -> None:
    """To a counter elsewhere."""
    (path.parent.parent / "elsewhere").write_bytes(b"7\n")
    path.symlink_to(path.parent.parent / "elsewhere")


def pipe(path: Path) -> None:
    """Nobody waits for it."""
    os.mkfifo(path)


@pytest.mark.parametrize("make", [directory, symlink, pipe])
def test_something_else_in_the_place_of_the_counter(
    folder: Folder, make: Callable[[Path], None]
) -> None:
    """An error that says so; an assignment moves it to lost+found, whatever it is."""
    folder.add(header(1, "a"), b"1")
    make(folder.path / ".version")
    with pytest.raises(VersionFormatError, match="it cannot be read as a file"):
        _ = folder.version
    folder.add(header(2, "b"), b"2")
    folder.version = 41
    assert 41 == folder.version
    (kept,) = (folder.path / ".meta" / ".lost+found").iterdir()
    assert make is not directory or b"kept" == (kept / "inside").read_bytes()
    assert make is not symlink or b"7\n" == (folder.path.parent / "elsewhere").read_bytes()


def test_a_counter_that_may_not_be_read(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, and is not taken for 0. Root reads everything, so open(2) is made to refuse."""
    folder.version = 41
    original = os.open

    def refuse(path: str, *words: int, **options: int) -> int:
        if str(path).endswith(".version"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return original(path, *words, **options)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(VersionFormatError, match="Permission denied"):
        _ = folder.version
    assert "version" == folder.check()[0].kind


@pytest.mark.parametrize("version", [-1, 10**18])
def test_a_wrong_number_is_refused(folder: Folder, version: int) -> None:
    """Before anything is touched."""
    with pytest.raises(ValueError, match="a version is"):
        folder.version = version
    assert not folder.path.exists()


def test_a_correction_while_a_change_is_cut_wins(folder: Folder) -> None:
    """Recovery leaves a counter alone that a person has changed, and an assignment mends it."""
    folder.add(header(1, "a"), b"1")
    journal = Journal((), 9, 0, Origin("id", "epoch", "name"))
    for held in (b"3\n", b"garbage"):
        (folder.path / ".version").write_bytes(held)
        (folder.path / ".meta" / ".journal").write_bytes(journal.to_bytes())
        folder.recover()
        assert held == (folder.path / ".version").read_bytes()
        assert not (folder.path / ".meta" / ".journal").exists()
    (folder.path / ".meta" / ".journal").write_bytes(journal.to_bytes())
    folder.version = 41
    assert 41 == folder.version


def test_a_header_that_was_mended_is_an_entry_again(folder: Folder) -> None:
    """For the same Folder."""
    folder.add(header(1, "a"), b"1")
    path = folder.path / ".meta" / "a"
    held = path.read_bytes()
    path.write_bytes(b"\xff")
    assert "mdir:1@x.org/1" not in folder
    path.write_bytes(held)
    assert "mdir:1@x.org/1" in folder
    assert 1 == len(folder)


def test_a_url_edited_in_place_is_in_the_next_listing(folder: Folder) -> None:
    """Under its new url."""
    folder.add(header(1, "a"), b"1")
    folder.add(header(2, "b"), b"2")
    path = folder.path / ".meta" / "a"
    with path.open("r+b") as file:
        file.write(path.read_bytes().replace(b"mdir:1@", b"mdir:9@"))
    assert ["mdir:9@x.org/1", "mdir:2@x.org/1"] == [str(entry.url) for entry in folder]
