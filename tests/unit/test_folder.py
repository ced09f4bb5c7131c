"""The local folder."""

from __future__ import annotations

import errno
import io
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mdirclient import Batch, Counted, Folder, Header, Origin
from mdirclient.errors import (
    ContentMismatchError,
    CounterMovedError,
    FolderNotFoundError,
    HeaderError,
    JournalError,
    LockTimeoutError,
    PartURLError,
    UnknownURLError,
    VersionFormatError,
)
from tests.folders import header, names


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder that is not there yet."""
    return Folder(tmp_path / "inbox")


def test_opening_touches_nothing(folder: Folder) -> None:
    """Not even by reading."""
    assert 0 == folder.version
    assert [] == list(folder)
    assert 0 == len(folder)
    assert "mdir:1@x.org/1" not in folder
    assert folder.origin is None
    assert not folder.path.exists()
    with pytest.raises(FolderNotFoundError):
        folder.require()


def test_add_gives_file_and_header(folder: Folder) -> None:
    """Under the same name."""
    entry = folder.add(header(1, "a.txt"), b"content")
    assert b"content" == entry.path.read_bytes()
    assert header(1, "a.txt").to_bytes() == (folder.path / ".meta" / "a.txt").read_bytes()
    assert entry == folder["mdir:1@x.org/1"]
    assert entry.path == folder.resolve("mdir:1%40x.org/1")
    assert [entry] == list(Folder(folder.path))
    assert [] == list((folder.path / ".meta" / ".stage").iterdir())


@pytest.mark.parametrize("content", [b"x", io.BytesIO(b"x")])
def test_content_in_any_form(folder: Folder, content: bytes | io.BytesIO) -> None:
    """Bytes and open files."""
    assert b"x" == folder.add(header(1), content).path.read_bytes()


def test_content_from_a_path(folder: Folder, tmp_path: Path) -> None:
    """A path is copied."""
    (tmp_path / "source").write_bytes(b"x")
    assert b"x" == folder.add(header(1), tmp_path / "source").path.read_bytes()


def test_known_url_gives_that_entry(folder: Folder) -> None:
    """And changes nothing."""
    first = folder.add(header(1, "a.txt"), b"1")
    assert first == folder.add(header(1, "b.txt"), b"2")
    assert ["a.txt"] == names(folder)


def test_collisions_get_a_suffix(folder: Folder) -> None:
    """Also in case, in normal form, with files that only the user put there."""
    folder.path.mkdir()
    (folder.path / "PHOTO.jpg").write_bytes(b"mine")
    for number, name in enumerate(["photo.jpg", "photo.jpg", "Photo (2).jpg", "e\u0301", "é"]):
        folder.add(header(number, name), b"%d" % number)
    expected = ["PHOTO.jpg", "photo (2).jpg", "photo (3).jpg", "Photo (4).jpg", "é", "é (2)"]
    assert sorted(expected) == names(folder)
    assert b"mine" == (folder.path / "PHOTO.jpg").read_bytes()


def test_the_next_suffix_is_found_at_once(folder: Folder) -> None:
    """Pitfall: probing (2), (3), (4)… is quadratic."""
    with folder.batch() as batch:
        for number in range(3000):
            batch.add(header(number, "image001.png"), b"")
    assert "image001 (3000).png" in names(folder)
    assert "image001 (3001).png" == Folder(folder.path).add(header(3000, "image001.png"), b"").name


def test_without_a_suggested_name(folder: Folder) -> None:
    """Message-id, part and the extension of the type."""
    assert "1@x.org-1.txt" == folder.add(header(1), b"").name


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", ".version", ".meta", "/abs", "a/../../b", "\0"]
)
def test_hostile_names_stay_inside(folder: Folder, name: str, tmp_path: Path) -> None:
    """Nothing outside of the folder, nothing over its own files."""
    before = set(tmp_path.rglob("*"))
    entry = folder.add(header(1, name), b"x")
    assert folder.path == entry.path.parent
    assert not entry.name.startswith(".")
    ours = {folder.path, tmp_path / "home" / ".cache"}
    assert {p for p in tmp_path.rglob("*") if not ours & {p, *p.parents}} <= before
    assert (folder.path / ".meta").is_dir()


def test_a_planted_symlink_is_not_followed(folder: Folder, tmp_path: Path) -> None:
    """Pitfall 14."""
    folder.path.mkdir()
    (folder.path / "a.txt").symlink_to(tmp_path / "target")
    assert "a (2).txt" == folder.add(header(1, "a.txt"), b"x").name
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("fields", [[("size", "2")], [("sha256", "0" * 64)]])
def test_content_must_be_what_the_header_says(
    folder: Folder, fields: list[tuple[str, str]]
) -> None:
    """A truncated download never appears."""
    with pytest.raises(ContentMismatchError):
        folder.add(Header([*header(1), *fields]), b"x")
    assert [] == names(folder)
    assert [] == list((folder.path / ".meta" / ".stage").iterdir())


@pytest.mark.parametrize(
    ("fields", "error"), [([], HeaderError), ([("url", "nonsense")], PartURLError)]
)
def test_an_entry_needs_a_url(
    folder: Folder, fields: list[tuple[str, str]], error: type[Exception]
) -> None:
    """Nothing is made."""
    with pytest.raises(error):
        folder.add(Header(fields), b"x")
    assert not folder.path.exists()


def test_remove(folder: Folder) -> None:
    """File and header go; the rest stays."""
    folder.add(header(1, "a"), b"1")
    folder.add(header(2, "b"), b"2")
    folder.remove("mdir:1@x.org/1")
    assert ["b"] == names(folder)
    assert not (folder.path / ".meta" / "a").exists()
    with pytest.raises(UnknownURLError):
        folder.remove("mdir:1@x.org/1")
    assert "a" == folder.add(header(3, "a"), b"3").name


def test_remove_keeps_what_a_person_changed(folder: Folder) -> None:
    """If it is asked to: the file is then the person's own."""
    folder.add(header(1, "a", b"1"), b"1")
    folder.add(header(2, "b", b"2"), b"2")
    (folder.path / "a").write_bytes(b"changed")
    with folder.batch() as batch:
        batch.remove("mdir:1@x.org/1", keep_modified=True)
        batch.remove("mdir:2@x.org/1", keep_modified=True)
    assert ["a"] == names(folder)
    assert 0 == len(folder)


def test_rename(folder: Folder) -> None:
    """Both files, to a safe and free name."""
    folder.add(header(1, "a"), b"1")
    folder.add(header(2, "b"), b"2")
    assert "b (2)" == folder.rename("mdir:1@x.org/1", "b").name
    assert "x_y" == folder.rename("mdir:1@x.org/1", "x/y").name
    assert ["b", "x_y"] == names(folder)
    assert b"1" == folder.resolve("mdir:1@x.org/1").read_bytes()
    assert not (folder.path / ".meta" / "a").exists()


def test_replace_changes_header_and_content(folder: Folder) -> None:
    """Under the same name; an edit by hand goes to lost+found."""
    folder.add(header(1, "a", b"1"), b"1")
    with folder.batch() as batch:
        batch.replace(header(1, "a", b"22"), b"22")
    entry = folder["mdir:1@x.org/1"]
    assert ("a", b"22", "2") == (entry.name, entry.path.read_bytes(), entry.header["size"])


def test_batch_applies_all_or_nothing(folder: Folder) -> None:
    """An error in its context leaves the folder as it was."""
    folder.add(header(1, "a"), b"1")
    with pytest.raises(ZeroDivisionError), folder.batch() as batch:
        batch.add(header(2, "b"), b"2")
        batch.remove("mdir:1@x.org/1")
        raise ZeroDivisionError
    assert ["a"] == names(folder)
    assert [] == list((folder.path / ".meta" / ".stage").iterdir())


def test_batch_adds_and_removes_the_same(folder: Folder) -> None:
    """The last word counts; one url is added once."""
    with folder.batch() as batch:
        batch.add(header(1, "a"), b"1")
        batch.add(header(1, "b"), b"1")
        batch.add(header(2, "c"), b"2")
        batch.remove("mdir:2@x.org/1")
    assert ["a"] == names(folder)


def test_version_moves_with_a_batch(folder: Folder) -> None:
    """And the origin."""
    origin = Origin("id", "epoch", "name")
    with folder.batch() as batch:
        batch.count(Counted(5, 0, origin))
    assert (5, origin) == (folder.version, folder.origin)


@pytest.mark.parametrize("held", [b"3\n", b"6\n", b"garbage"])
def test_a_counter_that_moved_stops_the_batch(folder: Folder, held: bytes) -> None:
    """Somebody else knows better: what was planned may be wrong."""
    with folder.batch() as batch:
        batch.count(Counted(5, 0))
    batch = folder.batch()
    batch.add(header(1, "a"), b"1")
    batch.count(Counted(9, 5))
    (folder.path / ".version").write_bytes(held)
    with pytest.raises((CounterMovedError, VersionFormatError)):
        folder.apply(batch)
    assert held == (folder.path / ".version").read_bytes()
    assert [] == names(folder)
    assert [] == list((folder.path / ".meta" / ".stage").iterdir())


def test_another_origin_stops_the_batch(folder: Folder) -> None:
    """The counter counts for another folder now."""
    batch = folder.batch()
    batch.count(Counted(5, 0, None, Origin("id", "epoch", "name")))
    with pytest.raises(CounterMovedError):
        folder.apply(batch)


def test_pending_entries(folder: Folder) -> None:
    """They have a reason and go when the content came."""
    with folder.batch() as batch:
        batch.pend(header(1, "a"), "not there")
    (pending,) = folder.pending().values()
    assert "not there" == pending["pending-reason"]
    assert "mdir:1@x.org/1" not in folder
    folder.add(header(1, "a"), b"1")
    assert {} == folder.pending()


def test_pending_of_an_entry_that_is_there_goes_too(folder: Folder) -> None:
    """With any change of it."""
    folder.add(header(1, "a", b"1"), b"1")
    changes: list[Callable[[Batch], None]] = [
        lambda batch: batch.replace(header(1, "a", b"1")),
        lambda batch: batch.remove("mdir:1@x.org/1"),
    ]
    for change in changes:
        with folder.batch() as batch:
            batch.pend(header(1, "a", b"2"), "not there")
        with folder.batch() as batch:
            change(batch)
        assert {} == folder.pending()


def test_a_full_header_can_be_pending(folder: Folder) -> None:
    """Without room for the reason."""
    full = Header([("url", "mdir:1@x.org/1"), *[("x", "")] * 999])
    with folder.batch() as batch:
        batch.pend(full, "no content")
    assert [full] == list(folder.pending().values())


@pytest.mark.parametrize("reason", ["\ud800", "x" * 9999])
def test_any_reason_can_be_noted(folder: Folder, reason: str) -> None:
    """Also one with a path that is no UTF-8, or a long one."""
    with folder.batch() as batch:
        batch.pend(header(1, "a"), reason)
    assert 1 == len(folder.pending())


def test_what_was_spoilt_in_pending_is_left_out(folder: Folder) -> None:
    """It stops nothing."""
    with folder.batch() as batch:
        batch.pend(header(1, "a"), "not there")
    for name, held in (("x", b"subject: no url\n"), ("y", b"\xff"), ("z", b"url: nonsense\n")):
        (folder.path / ".meta" / ".pending" / name).write_bytes(held)
    assert 1 == len(folder.pending())


def test_a_batch_changes_a_url_once(folder: Folder) -> None:
    """What would contradict itself is an error, not a guess."""
    folder.add(header(1, "a"), b"1")
    batch = folder.batch()
    batch.rename("mdir:1@x.org/1", "b")
    changes: list[Callable[[], None]] = [
        lambda: batch.rename("mdir:1@x.org/1", "c"),
        lambda: batch.remove("mdir:1@x.org/1"),
        lambda: batch.add(header(1, "a"), b"2"),
        lambda: batch.replace(header(1, "a")),
        lambda: batch.pend(header(1, "a"), ""),
    ]
    for change in changes:
        with pytest.raises(ValueError, match="this batch changes"):
            change()
    folder.apply(batch)
    assert ["b"] == names(folder)


def test_staged_contents_that_are_gone_stop_the_batch(folder: Folder) -> None:
    """Before anything is recorded: the counter does not move past them."""
    batch = folder.batch()
    batch.add(header(1, "a"), b"1")
    batch.count(Counted(7, 0))
    for path in (folder.path / ".meta" / ".stage").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError):
        folder.apply(batch)
    assert (0, 0) == (folder.version, len(folder))


@pytest.mark.parametrize("damage", ["lock", "journal"])
def test_nothing_staged_is_left_when_a_change_is_refused(folder: Folder, damage: str) -> None:
    """By a lock. While there is a journal, it may need what is staged."""
    folder.add(header(1, "a"), b"1")
    waiter = Folder(folder.path, lock_timeout=0.01)
    if damage == "journal":
        (folder.path / ".meta" / ".journal").write_bytes(b"garbage")
        with pytest.raises(JournalError):
            waiter.add(header(2, "b"), b"2")
        (folder.path / ".meta" / ".journal").unlink()
    else:
        with folder._writer.locked(), pytest.raises(LockTimeoutError):
            waiter.add(header(2, "b"), b"2")
    assert [] == list((folder.path / ".meta" / ".stage").iterdir())
    waiter.add(header(2, "b"), b"2")


def test_what_cannot_be_swept_is_no_error(folder: Folder) -> None:
    """A directory of somebody else in `.stage`."""
    folder.add(header(1, "a"), b"1")
    old = folder.path / ".meta" / ".stage" / "old"
    (old / "deep").mkdir(parents=True)
    os.utime(old, (0, 0))
    assert "b" == Folder(folder.path).add(header(2, "b"), b"2").name


def test_a_file_in_the_way_of_a_replacement_is_kept(folder: Folder) -> None:
    """What a person made of it goes to lost+found."""
    folder.add(header(1, "a", b"1"), b"1")
    (folder.path / "a").write_bytes(b"edited")
    with folder.batch() as batch:
        batch.replace(header(1, "a", b"22"), b"22")
    assert b"22" == folder.resolve("mdir:1@x.org/1").read_bytes()
    (kept,) = (folder.path / ".meta" / ".lost+found").iterdir()
    assert b"edited" == kept.read_bytes()


def test_names_that_are_no_utf8(folder: Folder) -> None:
    """From an old archive: they are the user's, and stop nothing."""
    folder.add(header(1, "a"), b"1")
    for place in (folder.path, folder.path / ".meta"):
        Path(os.fsdecode(os.fsencode(place) + b"/caf\xe9.txt")).write_bytes(b"url: mdir:2@x/1\n")
    assert 1 == len(folder) == len(Folder(folder.path))
    assert "b" == folder.add(header(2, "b"), b"2").name


def test_readers_meet_an_entry_always(folder: Folder) -> None:
    """While another process renames it, under its old name or its new one."""
    for number in range(5):
        folder.add(header(number, f"{number}"), b"")
    stop = threading.Event()

    def rename() -> None:
        other = Folder(folder.path, durability="none")
        turn = 0
        while not stop.is_set():
            turn += 1
            other.rename("mdir:0@x.org/1", f"name {turn}")

    thread = threading.Thread(target=rename)
    thread.start()
    try:
        for _ in range(300):
            assert 5 == len(folder)
            assert 5 == len(list(Folder(folder.path)))
            assert "mdir:0@x.org/1" in folder
    finally:
        stop.set()
        thread.join()


def test_messages_group_parts(folder: Folder) -> None:
    """By anchor, in the order of the parts."""
    for part in (3, 1, 2):
        fields = [("url", f"mdir:m@x/{part}"), ("anchor", "mdir:m@x/1"), ("suggested-name", "a")]
        folder.add(Header(fields), b"")
    folder.add(header(9, "other"), b"")
    grouped = {
        str(message.anchor.url): [entry.url.part for entry in message.parts]
        for message in folder.messages()
    }
    assert {"mdir:m@x/1": [1, 2, 3], "mdir:9@x.org/1": [1]} == grouped


@pytest.mark.parametrize(
    ("is_refused", "number", "begins"),
    [
        (lambda name: len(os.fsencode(name)) > 143, errno.ENAMETOOLONG, "漢漢漢"),
        (lambda name: not name.isascii(), errno.EILSEQ, "___"),
    ],
)
@pytest.mark.parametrize("how", ["add", "rename"])
def test_a_name_that_the_file_system_refuses_becomes_plainer(
    folder: Folder,
    monkeypatch: pytest.MonkeyPatch,
    is_refused: Callable[[str], bool],
    number: int,
    begins: str,
    how: str,
) -> None:
    """Pitfall 13: eCryptfs has names of 143 bytes; others know a few characters only."""
    link = os.link

    def refuse(source: str, target: str, **options: bool) -> None:
        if is_refused(os.path.basename(target)):
            raise OSError(number, os.strerror(number), target)
        link(source, target, **options)

    monkeypatch.setattr(os, "link", refuse)
    name = "漢" * 60 + ".pdf"
    if how == "add":
        entry = folder.add(header(1, name), b"1")
    else:
        folder.add(header(1, "plain"), b"1")
        entry = folder.rename("mdir:1@x.org/1", name)
    assert not is_refused(entry.name)
    assert entry.name.endswith(".pdf")
    assert [entry.name] == names(folder)
    assert b"1" == folder.resolve("mdir:1@x.org/1").read_bytes()
    assert entry.name == next(iter(Folder(folder.path))).name
    assert folder.status().is_clean
    assert () == folder.check()
    assert entry.name.startswith(begins)
