"""What the user did by hand: told by status, found by check, mended by repair; never deleted."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from mdirclient import Counted, Finding, Folder, Origin, _fs
from mdirclient.errors import FolderNotFoundError, MassRemovalError
from mdirclient.folder.check import KINDS
from tests.folders import header, names


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """A folder with three entries whose headers tell size and digest."""
    made = Folder(tmp_path / "inbox")
    for number in range(3):
        content = b"content %d" % number
        made.add(header(number, f"{number}.txt", content), content)
    return made


def kinds(findings: tuple[Finding, ...]) -> list[str]:
    """What was found."""
    return [finding.kind for finding in findings]


def half_gone(path: Path, missing: int) -> Folder:
    """A folder of 50 entries of which so many files are not there."""
    folder = Folder(path)
    with folder.batch() as batch:
        for number in range(50):
            batch.add(header(number, f"{number}"), b"")
    for number in range(missing):
        (folder.path / f"{number}").unlink()
    return folder


def everything(path: Path) -> set[bytes]:
    """What all files hold, but the library's own."""
    own = {".lock", ".journal", ".origin"}
    return {
        file.read_bytes() for file in path.rglob("*") if file.is_file() and file.name not in own
    }


def test_a_folder_as_it_was_written_is_clean(folder: Folder) -> None:
    """There is nothing to tell, find or repair."""
    assert folder.status().is_clean
    assert () == folder.check() == folder.repair()


@pytest.mark.parametrize("operation", ["status", "check", "repair", "watch", "file_system"])
def test_a_vanished_folder_is_not_an_empty_one(tmp_path: Path, operation: str) -> None:
    """Pitfall 19."""
    (tmp_path / "plain").mkdir()
    with pytest.raises(FolderNotFoundError):
        getattr(Folder(tmp_path / "plain"), operation)()
    assert [] == list((tmp_path / "plain").iterdir())


def test_status_tells_what_the_user_changed(folder: Folder) -> None:
    """As values, each file once."""
    (folder.path / "0.txt").rename(folder.path / "other name.pdf")
    (folder.path / "1.txt").unlink()
    (folder.path / "2.txt").write_bytes(b"edited")
    (folder.path / "mine").write_bytes(b"mine")
    (folder.path / "a directory").mkdir()
    with folder.batch() as batch:
        batch.pend(header(7, "p"), "not there")
    status = folder.status()
    assert ("mine",) == status.new
    assert ["1.txt"] == [entry.name for entry in status.missing]
    assert [("0.txt", "other name.pdf")] == [(f.entry.name, f.name) for f in status.renamed]
    assert ["2.txt"] == [entry.name for entry in status.modified]
    assert ["not there"] == [found["pending-reason"] for found in status.pending]
    assert not status.is_clean
    assert status == Folder(folder.path).status()


def test_an_unchanged_content_is_read_once(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library wrote, or has compared before, is known by its stamp."""
    read: list[str] = []

    def sha256_of(path: str) -> str:
        read.append(path)
        return "another"

    monkeypatch.setattr("mdirclient.folder.status.sha256_of", sha256_of)
    assert folder.status().is_clean
    assert [] == read
    # The same length, and the time put back.
    path = folder.path / "1.txt"
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(b"CONTENT 1")
    os.utime(path, ns=times)
    assert ["1.txt"] == [entry.name for entry in folder.status().modified]
    assert [str(path)] == read


@pytest.mark.parametrize("how", ["symlink", "dangling", "fifo", "directory"])
def test_something_else_in_the_place_of_a_content(folder: Folder, how: str) -> None:
    """It is not what the header says, and nothing waits for it or follows it."""
    path = folder.path / "1.txt"
    path.rename(folder.path.parent / "outside")
    if how == "fifo":
        os.mkfifo(path)
    elif how == "directory":
        path.mkdir()
    else:
        path.symlink_to(folder.path.parent / ("outside" if how == "symlink" else "nothing"))
    status = folder.status()
    found = status.missing if how == "directory" else status.modified
    assert ["1.txt"] == [entry.name for entry in found]
    folder.check()


def test_progress_is_told(folder: Folder) -> None:
    """While contents are compared."""
    told: list[tuple[int, int]] = []
    folder.status(progress=lambda done, total: told.append((done, total)))
    assert [(1, 3), (2, 3), (3, 3)] == told


def journal(folder: Folder) -> None:
    """A journal that is none, with what it staged."""
    (folder.path / ".meta" / ".stage" / "staged").write_bytes(b"staged")
    (folder.path / ".meta" / ".journal").write_bytes(b"garbage")


def cut(folder: Folder) -> None:
    """A change that was recorded and not made."""
    (folder.path / ".meta" / ".journal").write_bytes(b"journal: 1\nsteps: 0\n")


def version(folder: Folder) -> None:
    """No counter."""
    (folder.path / ".version").write_bytes(b"12abc")


def version_directory(folder: Folder) -> None:
    """A directory in its place, with something in it."""
    (folder.path / ".version").mkdir()
    (folder.path / ".version" / "inside").write_bytes(b"inside")


def origin(folder: Folder) -> None:
    """Not a header."""
    (folder.path / ".meta" / ".origin").write_bytes(b"garbage")


def spoilt_header(folder: Folder) -> None:
    """Not a header."""
    (folder.path / ".meta" / "1.txt").write_bytes(b"spoilt\xff")


def header_without_url(folder: Folder) -> None:
    """Left over by another program."""
    (folder.path / ".meta" / "left over").write_bytes(b"subject: x\n")


def header_directory(folder: Folder) -> None:
    """A directory where a header should be."""
    (folder.path / ".meta" / "directory").mkdir()


def copied_pair(folder: Folder) -> None:
    """The user made a copy, with its header."""
    for place in (folder.path, folder.path / ".meta"):
        (place / "1 copy.txt").write_bytes((place / "1.txt").read_bytes())


def renamed(folder: Folder) -> None:
    """In a file manager, which knows nothing of `.meta`."""
    (folder.path / "1.txt").rename(folder.path / "renamed.txt")


def missing(folder: Folder) -> None:
    """Removed in a file manager."""
    (folder.path / "1.txt").unlink()


def pending(folder: Folder) -> None:
    """A pending header that is none."""
    with folder.batch() as batch:
        batch.pend(header(7, "p"), "not there")
    (folder.path / ".meta" / ".pending" / "spoilt").write_bytes(b"garbage")


BREAKS: list[tuple[Callable[[Folder], None], str]] = [
    (journal, "journal"),
    (cut, "cut"),
    (version, "version"),
    (version_directory, "version"),
    (origin, "origin"),
    (spoilt_header, "header"),
    (header_without_url, "header"),
    (header_directory, "header"),
    (copied_pair, "same-url"),
    (renamed, "renamed"),
    (missing, "missing"),
    (pending, "pending"),
]


@pytest.mark.parametrize(
    ("broken", "kind"), BREAKS, ids=lambda value: getattr(value, "__name__", "")
)
def test_what_is_broken_is_found_and_repaired(
    folder: Folder, broken: Callable[[Folder], None], kind: str
) -> None:
    """With a dry run that changes nothing; and no content is lost."""
    broken(folder)
    before = everything(folder.path)
    findings = Folder(folder.path).check()
    assert [kind] == kinds(findings) == kinds(folder.check())
    assert findings[0].problem
    assert findings[0].remedy
    assert findings == folder.repair(dry_run=True)
    assert findings == folder.check()
    assert before == everything(folder.path)
    assert kind in kinds(folder.repair())
    assert () == folder.check() == folder.repair()
    assert before <= everything(folder.path)
    folder.add(header(9, "9.txt"), b"9")
    assert "9.txt" in names(folder)


def test_all_at_once(folder: Folder) -> None:
    """One repair mends everything, also what a cut change has hidden."""
    for broken in (journal, version, spoilt_header, origin):
        broken(folder)
    assert ["journal", "version", "origin"] == kinds(folder.check())
    assert {"journal", "version", "origin", "header"} == set(kinds(folder.repair()))
    assert () == folder.check()
    assert 0 == folder.version


def test_some_findings_only(folder: Folder) -> None:
    """Those that were given, if they still are."""
    version(folder)
    missing(folder)
    chosen = [finding for finding in folder.check() if finding.kind == "version"]
    assert tuple(chosen) == folder.repair(chosen)
    assert ["missing"] == kinds(folder.check())
    assert () == folder.repair(chosen)


def test_a_renamed_file_takes_its_header_along(folder: Folder) -> None:
    """And is the same entry."""
    renamed(folder)
    assert "mdir:1@x.org/1" not in folder
    folder.repair()
    assert "renamed.txt" == folder["mdir:1@x.org/1"].name
    assert not (folder.path / ".meta" / "1.txt").exists()


def test_a_vanished_disk_is_not_taken_for_removals(tmp_path: Path) -> None:
    """Guarantee 7: more than half of the folder, and more than 20 entries."""
    folder = half_gone(tmp_path / "f", 30)
    with pytest.raises(MassRemovalError):
        folder.repair()
    assert 50 == len([p for p in (folder.path / ".meta").iterdir() if p.name[0] != "."])
    assert 30 == len(folder.repair(allow_mass_removal=True))
    assert 20 == len(folder)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda path: (path / "0.TXT").write_bytes(b""), "same-name"),
        (lambda path: Path(os.fsdecode(bytes(path) + b"/caf\xe9")).write_bytes(b""), "not-utf8"),
        (lambda path: (path / ".meta" / ".lost+found").write_bytes(b""), "in-the-way"),
        (lambda path: (path / ".meta" / ".pending").write_bytes(b""), "in-the-way"),
    ],
)
def test_what_is_left_to_the_user(folder: Folder, make: Callable[[Path], None], kind: str) -> None:
    """Names on disk are never rewritten; the rest of the folder goes on."""
    make(folder.path)
    assert [kind] == kinds(folder.check())
    assert () == folder.repair()
    folder.add(header(9, "9.txt"), b"9")
    assert 4 == len(folder)


def test_a_change_under_way_is_not_broken(folder: Folder) -> None:
    """By somebody who is alive."""
    found: list[tuple[Finding, ...]] = []
    with folder._writer.locked():
        cut(folder)
        thread = threading.Thread(target=lambda: found.append(Folder(folder.path).check()))
        thread.start()
        thread.join()
        (folder.path / ".meta" / ".journal").unlink()
    assert [()] == found


@pytest.mark.parametrize("name", ["../../outside", "/etc/passwd", "a/b", ".meta", ".version", ""])
@pytest.mark.parametrize("action", ["add", "remove", "rename", "keep", "pend"])
def test_a_planted_journal_leads_nowhere(folder: Folder, action: str, name: str) -> None:
    """A folder may come from a stranger, with a journal in it."""
    if (action, name) == ("keep", ".version"):
        return
    step = f"action: {action}\nname: {name}\nnew-name: x\nstaged: s\nurl: mdir:1@x.org/1\n"
    (folder.path / ".meta" / ".journal").write_text(f"journal: 1\nsteps: 1\n\n{step}")
    assert "journal" == folder.check()[0].kind
    folder.repair()
    assert () == folder.check()
    assert 3 == len(folder)


def test_a_lower_counter_changes_nothing_that_is_there(folder: Folder) -> None:
    """Pitfall 23: it replays; see also the tests of sync."""
    with folder.batch() as batch:
        batch.count(Counted(9, 0, Origin("id", "epoch", "name")))
    folder.version = 3
    before = everything(folder.path)
    with folder.batch() as batch:
        for number in range(3):
            batch.replace(header(number, f"{number}.txt", b"content %d" % number))
        batch.count(Counted(9, 3, None, folder.origin))
    assert before - everything(folder.path) <= {b"3\n"}
    assert 9 == folder.version


def test_every_kind_is_tested() -> None:
    """And has its words."""
    tested = {kind for _, kind in BREAKS} | {"same-name", "not-utf8", "in-the-way", "unreadable"}
    assert set(KINDS) == tested


def test_an_edit_that_was_kept_stays_when_the_user_saves_again(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between a cut and the recovery: each is kept under a name of its own."""
    path = folder.path / "1.txt"
    path.write_bytes(b"first edit")
    replace_with = _fs.replace_with

    def cut_here(staged: str, target: str) -> None:
        if target == str(path):
            raise KeyboardInterrupt
        replace_with(staged, target)

    monkeypatch.setattr(_fs, "replace_with", cut_here)
    with pytest.raises(KeyboardInterrupt), folder.batch() as batch:
        batch.replace(header(1, "1.txt", b"new"), b"new")
    monkeypatch.undo()
    path.write_bytes(b"second edit")
    folder.recover()
    assert b"new" == path.read_bytes()
    assert {b"first edit", b"second edit"} <= everything(folder.path)
    assert () == folder.check()


def refuse_to_remove(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an immutable file does."""
    unlink, rename = os.unlink, os.rename

    def refuse(original: Callable[..., None]) -> Callable[..., None]:
        def act(path: str, *words: object) -> None:
            if os.path.basename(path) == name:
                raise PermissionError(errno.EPERM, "Operation not permitted", path)
            original(path, *words)

        return act

    monkeypatch.setattr(os, "unlink", refuse(unlink))
    monkeypatch.setattr(os, "rename", refuse(rename))


def test_what_may_not_be_removed_does_not_stop_the_folder(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is an error once; nothing is left that would have to be finished."""
    refuse_to_remove("1.txt", monkeypatch)
    with pytest.raises(PermissionError):
        folder.remove("mdir:1@x.org/1")
    assert not (folder.path / ".meta" / ".journal").exists()
    folder.add(header(9, "9.txt"), b"9")
    monkeypatch.undo()
    assert () == folder.check()
    assert "1.txt" in names(folder)


def test_what_may_not_be_kept_does_not_stop_the_folder(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repair that the system refuses is an error; everything else goes on."""
    spoilt_header(folder)
    refuse_to_remove("1.txt", monkeypatch)
    with pytest.raises(PermissionError):
        folder.repair()
    folder.add(header(9, "9.txt"), b"9")
    monkeypatch.undo()
    assert ["header"] == kinds(folder.repair())


def test_a_chain_of_renames_loses_no_content(folder: Folder) -> None:
    """An entry whose content is there, under another's name, is not taken for removed."""
    (folder.path / "2.txt").rename(folder.path / "3.txt")
    (folder.path / "1.txt").rename(folder.path / "2.txt")
    (folder.path / "0.txt").rename(folder.path / "1.txt")
    assert ["0.txt"] == [entry.name for entry in folder.status().missing]
    assert "missing" not in kinds(folder.check())


def test_the_guard_counts_all_that_is_missing(tmp_path: Path) -> None:
    """Not only what was given."""
    folder = half_gone(tmp_path / "f", 45)
    with pytest.raises(MassRemovalError):
        folder.repair(folder.check()[:5])


def test_findings_of_a_busy_folder_are_true(folder: Folder) -> None:
    """While another process adds, renames and removes: a change under way is not broken."""
    stop = threading.Event()

    def change() -> None:
        other = Folder(folder.path, durability="none")
        turn = 10
        while not stop.is_set():
            turn += 1
            other.add(header(turn, "n.txt", b"x"), b"x")
            other.rename(f"mdir:{turn}@x.org/1", f"renamed {turn}")
            other.remove(f"mdir:{turn}@x.org/1")
            stop.wait(0.02)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        for _ in range(20):
            assert () == folder.check()
            assert folder.status().is_clean
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("how", ["symlink", "directory"])
def test_something_in_the_place_of_the_lock(folder: Folder, how: str) -> None:
    """It is told, and nothing is locked through it."""
    (folder.path / ".meta" / ".lock").unlink()
    if how == "symlink":
        (folder.path / ".meta" / ".lock").symlink_to(folder.path / "1.txt")
    else:
        (folder.path / ".meta" / ".lock").mkdir()
    assert ["in-the-way"] == kinds(folder.check())
    with pytest.raises(OSError):
        folder.add(header(9, "9.txt"), b"9")
