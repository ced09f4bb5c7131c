"""Syncs of trees, moves, and syncs that stay, by a real server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mdirclient import (
    Folder,
    Header,
    Mdird,
    TreeReport,
    connect,
    folder_id,
    make_folder,
    sync,
    sync_tree,
)
from mdirclient.cli import exits
from mdirclient.cli.mdir import main
from mdirclient.errors import (
    ContentMismatchError,
    MassRemovalError,
    PermanentReplyError,
    TransportError,
    UnknownURLError,
)
from mdirclient.mdird.users import set_rights
from mdirclient.sync.follow import follow
from mdirclient.sync.mv import move_files
from mdirclient.sync.push import Push
from tests.served import Served, serving


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    """A server with a fresh mdir."""
    with serving(tmp_path / "mdir") as server:
        yield server


@pytest.fixture
def mdird(served: Served) -> Iterator[Mdird]:
    """The administrator, of an mdir with some folders."""
    with connect(served.unix) as mdird:
        for name in ("Box/One", "Box/Two/Deep"):
            make_folder(mdird, name)
        put(mdird, "Box/One", "a.txt", b"a")
        yield mdird


def put(mdird: Mdird, folder: str, name: str, content: bytes) -> Header:
    """Another program adds an entry."""
    stored = mdird.store.add_file(content, media_type="text/plain", suggested_name=name)
    mdird.put(folder, stored.headers()[0])
    return stored.headers()[0]


def names(mdird: Mdird, folder: str) -> list[str]:
    """What the entries of a folder are suggested."""
    found = mdird.lookup(folder)
    return sorted(h["suggested-name"] for h in found if h.get("type") is None)


def until(holds: Callable[[], bool]) -> None:
    """Wait for something."""
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


# -- trees


def test_a_tree_comes_and_goes(mdird: Mdird, tmp_path: Path) -> None:
    """Folders become directories, and directories folders."""
    top = tmp_path / "box"
    report = sync_tree(top, mdird, "Box")
    assert ["Box", "Box/One", "Box/Two", "Box/Two/Deep"] == [name for _, name, _ in report.folders]
    assert b"a" == (top / "One" / "a.txt").read_bytes()
    (top / "Two" / "Deep" / "n.txt").write_text("n")
    (top / "New" / "Newer").mkdir(parents=True)
    (top / "New" / "Newer" / "m.txt").write_text("m")
    dry = sync_tree(top, mdird, "Box", push=True, dry_run=True)
    assert ("Box/New",) == dry.made
    assert [] == names(mdird, "Box/Two/Deep")
    report = sync_tree(top, mdird, "Box", push=True)
    assert ("Box/New", "Box/New/Newer") == report.made
    assert ["n.txt"] == names(mdird, "Box/Two/Deep")
    assert ["m.txt"] == names(mdird, "Box/New/Newer")
    assert not any(one.steps for _, _, one in sync_tree(top, mdird, "Box", push=True).folders)


def test_names_of_folders_are_strangers_input(mdird: Mdird, tmp_path: Path) -> None:
    """They lead nowhere else, and two that differ in case are two."""
    for name in ("..a\\b", "CON", "box", "BOX", ".meta", "a:b"):
        mdird.put("Box", Header([("type", "dir"), ("name", name)]))
    top = tmp_path / "box"
    report = sync_tree(top, mdird, "Box")
    paths = [path for path, _, _ in report.folders]
    assert len(paths) == len({str(path).casefold() for path in paths}) == 10
    assert all(path == top or path.is_relative_to(top) for path in paths)
    assert not any(path.name.startswith(".") for path in paths)
    again = sync_tree(top, mdird, "Box", push=True)
    assert paths == [path for path, _, _ in again.folders]
    assert () == again.made


def test_a_folder_that_is_gone(mdird: Mdird, tmp_path: Path) -> None:
    """Its directory stays, and is not made a folder again."""
    top = tmp_path / "box"
    sync_tree(top, mdird, "Box")
    mdird.remove("Box/Two", Header([("type", "dir"), ("name", "Deep")]))
    report = sync_tree(top, mdird, "Box", push=True)
    assert (top / "Two" / "Deep",) == report.gone
    assert () == report.made
    assert (top / "Two" / "Deep").is_dir()


def test_a_mount_is_a_mirror_of_its_own(mdird: Mdird, tmp_path: Path) -> None:
    """A folder at two places of a tree is twice in the directories, in step."""
    one = folder_id(mdird, "Box/One")
    mdird.put("Box/Two", Header([("type", "dir"), ("name", "Again"), ("id", one)]))
    top = tmp_path / "box"
    sync_tree(top, mdird, "Box")
    (top / "Two" / "Again" / "n.txt").write_text("n")
    for _ in range(2):
        sync_tree(top, mdird, "Box", push=True)
    assert b"n" == (top / "One" / "n.txt").read_bytes()
    assert ["a.txt", "n.txt"] == names(mdird, "Box/One")


def test_a_vanished_disk_removes_nothing(mdird: Mdird, tmp_path: Path) -> None:
    """The guard is for each folder."""
    for number in range(30):
        put(mdird, "Box/One", f"{number}.txt", b"%d" % number)
    top = tmp_path / "box"
    sync_tree(top, mdird, "Box")
    for path in (top / "One").glob("*.txt"):
        path.unlink()
    (top / "Two" / "n.txt").write_text("n")
    ((path, error),) = sync_tree(top, mdird, "Box", push=True).errors
    assert (top / "One", MassRemovalError) == (path, type(error))
    assert ["n.txt"] == names(mdird, "Box/Two")
    assert 31 == len(names(mdird, "Box/One"))


def test_who_may_not_read_a_folder_has_the_others(
    served: Served, mdird: Mdird, tmp_path: Path
) -> None:
    """And one who may not write is told, and keeps what they wrote."""
    make_folder(mdird, "Users")
    token = served.user("jo")
    set_rights(mdird, "Box", owner="anna", rights=("read jo",))
    set_rights(mdird, "Box/Two", owner="anna", rights=("none jo",))
    top = tmp_path / "box"
    with connect(served.tls("jo", token)) as jo:
        report = sync_tree(top, jo, "Box")
        assert ["Box", "Box/One"] == [name for _, name, _ in report.folders]
        (top / "One" / "n.txt").write_text("n")
        ((path, error),) = sync_tree(top, jo, "Box", push=True).errors
        assert (top / "One", PermanentReplyError) == (path, type(error))
        (top / "New").mkdir()
        errors = dict(sync_tree(top, jo, "Box", push=True).errors)
        assert {top / "One", top / "New"} == errors.keys()
        (top / "New").rmdir()
        assert "n" == (top / "One" / "n.txt").read_text()
        set_rights(mdird, "Box", owner="anna", rights=("read,write jo",))
        sync_tree(top, jo, "Box", push=True)
    assert ["a.txt", "n.txt"] == names(mdird, "Box/One")


def test_links_and_files_lead_nowhere(mdird: Mdird, tmp_path: Path) -> None:
    """A folder that is called like one of them gets a directory of another name."""
    private = tmp_path / "private"
    private.mkdir()
    (private / "id_rsa").write_text("secret")
    top = tmp_path / "box"
    sync_tree(top, mdird, "Box")
    (top / "link").symlink_to(private)
    (top / "file").write_text("x")
    for name in ("link", "file"):
        make_folder(mdird, f"Box/{name}")
        put(mdird, f"Box/{name}", "authorized_keys", b"theirs")
    assert () == sync_tree(top, mdird, "Box", push=True).errors
    assert ["id_rsa"] == [path.name for path in private.iterdir()]
    assert ["authorized_keys"] == names(mdird, "Box/link")
    assert (top / "link (2)" / "authorized_keys").exists()
    assert (top / "file (2)" / "authorized_keys").exists()


def test_a_folder_that_mirrors_nothing_keeps_its_files(mdird: Mdird, tmp_path: Path) -> None:
    """They become files of the user's, and go to the mdir as such."""
    top = tmp_path / "box"
    sync_tree(top, mdird, "Box")
    with Folder(top / "own") as folder:
        folder.add(Header([("url", "mdir:a@x.org/1"), ("suggested-name", "p.txt")]), b"precious")
    for _ in range(2):
        sync_tree(top, mdird, "Box", push=True)
    assert b"precious" == (top / "own" / "p.txt").read_bytes()
    assert ["p.txt"] == names(mdird, "Box/own")


def test_a_copy_of_a_directory_is_left_alone(mdird: Mdird, tmp_path: Path) -> None:
    """The one of the folder's name goes on; removals in the copy are nobody's."""
    top = tmp_path / "box"
    sync_tree(top, mdird, "Box")
    shutil.copytree(top / "One", top / "A copy")
    (top / "A copy" / "a.txt").unlink()
    (top / "One" / "n.txt").write_text("n")
    report = sync_tree(top, mdird, "Box", push=True)
    assert (top / "A copy",) == report.gone
    assert ["a.txt", "n.txt"] == names(mdird, "Box/One")


def test_one_bad_directory_does_not_stop_the_others(mdird: Mdird, tmp_path: Path) -> None:
    """It is told."""
    top = tmp_path / "box"
    sync_tree(top, mdird, "Box")
    (top / "One" / ".version").write_text("oops")
    (top / "Two" / ".meta" / ".origin").write_text("oops")
    (top / "n.txt").write_text("n")
    report = sync_tree(top, mdird, "Box", push=True)
    assert [top / "One"] == [path for path, _ in report.errors]
    assert top / "Two" in report.gone
    assert ["n.txt"] == names(mdird, "Box")


def test_many_folders_of_one_name(mdird: Mdird, tmp_path: Path) -> None:
    """Names that are the same on some system, and too long for a word more."""
    long = "x" * 230
    for name in (long, long.upper(), long[:-1] + "X", "é" * 120, "É" * 120):
        make_folder(mdird, f"Box/{name}")
    report = sync_tree(tmp_path / "box", mdird, "Box")
    assert 9 == len({path for path, _, _ in report.folders})


# -- races


def meanwhile(monkeypatch: pytest.MonkeyPatch, method: str, action: Callable[[], object]) -> None:
    """Do something once, before a method of the push."""
    original = getattr(Push, method)

    def wrapped(self: Push, *arguments: object) -> object:
        monkeypatch.setattr(Push, method, original)
        action()
        return original(self, *arguments)

    monkeypatch.setattr(Push, method, wrapped)


@pytest.fixture
def one(mdird: Mdird, tmp_path: Path) -> Iterator[Folder]:
    """A mirror of one folder."""
    with Folder(tmp_path / "one") as folder:
        sync(folder, mdird, "Box/One")
        yield folder


def test_a_file_that_comes_back_is_not_removed(
    mdird: Mdird, one: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While others were uploaded."""
    path = one.path / "a.txt"
    path.rename(tmp_path / "away")
    (one.path / "big.bin").write_bytes(b"big")
    meanwhile(monkeypatch, "_delete", lambda: (tmp_path / "away").rename(path))
    sync(one, mdird, "Box/One", push=True)
    assert b"a" == path.read_bytes()
    assert ["a.txt", "big.bin"] == names(mdird, "Box/One")


def test_a_file_that_is_gone_in_a_moment_is_not_sent(
    mdird: Mdird, one: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Editors write other files first, and rename them."""
    temporary = one.path / "a.txt.tmp"
    temporary.write_text("edited")
    meanwhile(monkeypatch, "_send", lambda: temporary.rename(one.path / "a.txt"))
    for _ in range(2):
        sync(one, mdird, "Box/One", push=True)
    assert ["a.txt"] == names(mdird, "Box/One")
    assert ["a.txt"] == [entry.name for entry in one]
    assert "edited" == (one.path / "a.txt").read_text()


def test_two_entries_are_not_one_file(mdird: Mdird, one: Folder, tmp_path: Path) -> None:
    """Of two with the same content and name each has one."""
    (one.path / "n.txt").write_bytes(b"n")
    (one.path / "n (2).txt").write_bytes(b"n")
    for _ in range(3):
        put(mdird, "Box/One", "n.txt", b"n")
    sync(one, mdird, "Box/One")
    assert 4 == len(one)
    assert 0 == sync(one, mdird, "Box/One", push=True).pushed


def test_two_processes_send_a_file_once(mdird: Mdird, one: Folder, tmp_path: Path) -> None:
    """One waits for the other."""
    for number in range(20):
        (one.path / f"{number}.txt").write_text(str(number))
    url = f"unix://{tmp_path}/mdir/socket"
    command = [sys.executable, "-m", "mdirclient.cli.mdir", "sync", "Box/One", str(one.path)]
    processes = [
        subprocess.Popen([*command, "--push"], env=os.environ | {"MDIRD": url}) for _ in range(3)
    ]
    assert [0, 0, 0] == [process.wait(60) for process in processes]
    assert 21 == len(names(mdird, "Box/One"))


def test_a_removal_can_be_allowed_beside_a_renaming(mdird: Mdird, one: Folder) -> None:
    """The guard is not asked twice."""
    for number in range(40):
        put(mdird, "Box/One", f"{number}.txt", b"%d" % number)
    sync(one, mdird, "Box/One")
    for number in range(30):
        (one.path / f"{number}.txt").unlink()
    (one.path / "35.txt").rename(one.path / "renamed.txt")
    with pytest.raises(MassRemovalError):
        sync(one, mdird, "Box/One", push=True)
    sync(one, mdird, "Box/One", push=True, allow_mass_removal=True)
    assert 11 == len(names(mdird, "Box/One"))


def test_an_edit_without_a_digest_is_one(mdird: Mdird, one: Folder) -> None:
    """A header that says nothing of its content; the file was changed after it."""
    stored = mdird.store.add_file(b"plain", media_type="text/plain", suggested_name="p.txt")
    url = stored.headers()[0]["url"]
    mdird.put("Box/One", Header([("url", url), ("suggested-name", "p.txt")]))
    sync(one, mdird, "Box/One")
    path = one.path / "p.txt"
    path.write_bytes(b"mine!")
    later = time.time_ns() + 5_000_000_000
    os.utime(path, ns=(later, later))
    mdird.remove("Box/One", Header([("url", url)]))
    sync(one, mdird, "Box/One", push=True)
    assert b"mine!" == path.read_bytes()
    assert ["a.txt", "p.txt"] == names(mdird, "Box/One")


def test_a_link_in_the_place_of_a_file_does_not_stop_the_others(mdird: Mdird, one: Folder) -> None:
    """It is told, and nothing behind it is sent."""
    (one.path / "a.txt").unlink()
    (one.path / "a.txt").symlink_to("/etc/hostname")
    (one.path / "n.txt").write_text("n")
    report = sync(one, mdird, "Box/One", push=True)
    assert ["a.txt"] == [skipped.name for skipped in report.skipped]
    assert ["a.txt", "n.txt"] == names(mdird, "Box/One")


# -- moves


def test_mv(mdird: Mdird, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command: the same url, here and there."""
    monkeypatch.setenv("MDIRD", f"unix://{tmp_path}/mdir/socket")
    top = tmp_path / "box"
    sync_tree(top, mdird, "Box")
    url = next(iter(mdird.lookup("Box/One")))["url"]
    assert exits.OK == main(["mv", str(top / "One" / "a.txt"), str(top / "Two")])
    assert b"a" == (top / "Two" / "a.txt").read_bytes()
    assert not (top / "One" / "a.txt").exists()
    assert [url] == [h["url"] for h in mdird.lookup("Box/Two", Header([("url", url)]))]
    assert not any(one.steps for _, _, one in sync_tree(top, mdird, "Box", push=True).folders)


def test_mv_of_what_is_none(mdird: Mdird, tmp_path: Path) -> None:
    """Nothing happens to a file that is no entry, or was changed by hand."""
    top = tmp_path / "box"
    sync_tree(top, mdird, "Box")
    (top / "One" / "own.txt").write_text("own")
    (top / "One" / "a.txt").write_text("changed")
    for name, error in (("own.txt", UnknownURLError), ("a.txt", ContentMismatchError)):
        with pytest.raises(error):
            list(move_files(mdird, [top / "One" / name], top / "Two"))
    assert ["a.txt"] == names(mdird, "Box/One")
    assert "changed" == (top / "One" / "a.txt").read_text()
    assert [] == names(mdird, "Box/Two")


# -- syncs that stay


def test_watch(mdird: Mdird, tmp_path: Path) -> None:
    """What changes on either side is on the other soon; SIGTERM ends it."""
    top = tmp_path / "box"
    sync_tree(top, mdird, "Box")
    command = [sys.executable, "-m", "mdirclient.cli.mdir", "sync", "Box", str(top)]
    process = subprocess.Popen(
        [*command, "--push", "--recursive", "--watch"],
        env=os.environ | {"MDIRD": f"unix://{tmp_path}/mdir/socket"},
        stdout=subprocess.PIPE,
    )
    try:
        put(mdird, "Box/Two/Deep", "one.txt", b"1")
        until((top / "Two" / "Deep" / "one.txt").exists)
        (top / "One" / "mine.txt").write_text("mine")
        until(lambda: "mine.txt" in names(mdird, "Box/One"))
        make_folder(mdird, "Box/Later")
        put(mdird, "Box/Later", "two.txt", b"2")
        until((top / "Later" / "two.txt").exists)
    finally:
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=30)
    assert 0 == process.returncode
    assert b"1 fetched" in output


def test_watch_connects_again(mdird: Mdird, tmp_path: Path) -> None:
    """What was missed meanwhile comes; the pauses are told."""
    stop = threading.Event()
    troubles: list[float] = []
    calls: list[None] = []
    url = f"unix://{tmp_path}/mdir/socket"

    def opened() -> Mdird:
        calls.append(None)
        if len(calls) in (1, 2, 3):
            raise TransportError("mdird", "not there")
        return connect(url)

    def trouble(_: Exception, seconds: float) -> None:
        troubles.append(seconds)
        stop.wait = lambda timeout=None: stop.is_set()  # type: ignore[method-assign]

    def once(opened_mdird: Mdird) -> TreeReport:
        with Folder(tmp_path / "one") as folder:
            report = sync(folder, opened_mdird, "Box/One")
        return TreeReport(((tmp_path / "one", "Box/One", report),), (), ())

    for report in follow(opened, once, push=False, trouble=trouble, stop=stop):
        assert 1 == report.folders[0][2].fetched
        stop.set()
    assert 4 == len(calls)
    for expected, seconds in zip((1, 2, 4), troubles, strict=True):
        assert 0.75 * expected < seconds < 1.25 * expected
