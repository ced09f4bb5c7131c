"""The index is only a cache: removed, damaged, stale or another folder's, it is never wrong."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mdirclient import Folder, _fs
from mdirclient.folder import cache
from tests.folders import header, names

URLS = [f"mdir:{number}@x.org/1" for number in range(5)]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    """A folder with five entries."""
    with Folder(tmp_path / "inbox") as made:
        for number in range(5):
            made.add(header(number, f"{number}.txt"), b"%d" % number)
        yield made


def index_of(folder: Folder) -> Path:
    """Its database."""
    found = [Path(path) for path in (cache._path_of(folder._layout.path),)]
    return found[0]


def check_right(folder: Folder) -> None:
    """Every way of asking gives what is on the disk."""
    on_disk = {}
    for path in sorted((folder.path / ".meta").iterdir()):
        line = path.read_bytes().split(b"\n")[0] if path.is_file() else b""
        if line.startswith(b"url: ") and (folder.path / path.name).is_file():
            on_disk[line[5:].decode()] = path.name
    assert on_disk == {str(entry.url): entry.name for entry in folder}
    assert len(on_disk) == len(folder)
    assert sorted(on_disk) == sorted(str(part.url) for m in folder.messages() for part in m.parts)
    for url in URLS:
        entry = folder.get(url)
        assert on_disk.get(url) == (entry.name if entry else None)


def scans(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes each reading of a directory."""
    read: list[str] = []
    scandir = os.scandir

    def noted(path: str) -> object:
        if str(path).startswith(str(folder.path)) and not str(path).endswith(".stage"):
            read.append(str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", noted)
    return read


def test_own_changes_cause_no_scan(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """An add to a folder of a million does not read the million; nor does another process."""
    time.sleep(0.05)
    list(folder)
    other = Folder(folder.path)
    assert other.get("mdir:unknown@x.org/1") is None
    read = scans(folder, monkeypatch)
    for number in range(10, 15):
        (folder if number % 2 else other).add(header(number, "n"), b"")
        assert folder.get("mdir:unknown@x.org/1") is None
        assert other.resolve(f"mdir:{number}@x.org/1").exists()
        other.version = number
    folder.rename(URLS[0], "renamed")
    folder.remove(URLS[1])
    assert [] == read
    monkeypatch.undo()
    check_right(folder)


def test_opening_again_reads_nothing(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index is warm."""
    time.sleep(0.05)
    list(folder)
    folder.close()
    read = scans(folder, monkeypatch)
    again = Folder(folder.path)
    assert again.resolve(URLS[3]).name == "3.txt"
    assert "mdir:unknown@x.org/1" not in again
    assert [] == read


def remove_file(path: Path) -> None:
    """The file of an entry."""
    (path / "1.txt").unlink()


def remove_header(path: Path) -> None:
    """The header of an entry; its file stays."""
    (path / ".meta" / "1.txt").unlink()


def rename_pair(path: Path) -> None:
    """File and header, consistently."""
    (path / "1.txt").rename(path / "moved.txt")
    (path / ".meta" / "1.txt").rename(path / ".meta" / "moved.txt")


def add_pair(path: Path) -> None:
    """A header and a file that the library has never seen."""
    (path / "new").write_bytes(b"new")
    (path / ".meta" / "new").write_text("url: mdir:4@y.org/1\n")


def spoil_header(path: Path) -> None:
    """In place."""
    (path / ".meta" / "1.txt").write_bytes(b"spoilt\xff")


def swap_headers(path: Path) -> None:
    """What tar does: the same names, the same inodes, other contents."""
    one, two = (path / ".meta" / name for name in ("1.txt", "2.txt"))
    texts = one.read_bytes(), two.read_bytes()
    for file, text in ((one, texts[1]), (two, texts[0])):
        file.unlink()
        file.write_bytes(text)


def remove_all(path: Path) -> None:
    """Everything but the folder itself."""
    for file in (*path.glob("*.txt"), *path.glob(".meta/*.txt")):
        file.unlink()


EDITS = [remove_file, remove_header, rename_pair, add_pair, spoil_header, swap_headers, remove_all]


@pytest.mark.parametrize("is_fresh", [False, True])
@pytest.mark.parametrize("edit", EDITS)
def test_hand_edits_are_noticed(
    folder: Folder, edit: Callable[[Path], None], is_fresh: bool
) -> None:
    """At once, by a Folder that was open and by a new one."""
    check_right(folder)
    edit(folder.path)
    check_right(Folder(folder.path) if is_fresh else folder)
    before = len(names(folder))
    folder.add(header(9, "9.txt"), b"9")
    assert before + 1 == len(names(folder))
    check_right(folder)


@pytest.mark.parametrize("edit", EDITS)
def test_coarse_times_hide_nothing_for_long(
    folder: Folder, edit: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pitfall 9, where times are kept in steps of two seconds and ours are not kept."""
    stat, lstat, fstat = os.stat, os.lstat, os.fstat
    step = 2_000_000_000

    class Coarse:
        def __init__(self, status: os.stat_result) -> None:
            self._status = status
            self.st_mtime_ns = status.st_mtime_ns // step * step
            self.st_ctime_ns = status.st_ctime_ns // step * step

        def __getattr__(self, name: str) -> object:
            return getattr(self._status, name)

    def coarse(original: Callable[..., os.stat_result]) -> Callable[..., Coarse]:
        return lambda *words, **options: Coarse(original(*words, **options))

    monkeypatch.setattr(os, "stat", coarse(stat))
    monkeypatch.setattr(os, "lstat", coarse(lstat))
    monkeypatch.setattr(os, "fstat", coarse(fstat))
    coarse_folder = Folder(folder.path)
    coarse_folder.add(header(8, "8.txt"), b"8")
    list(coarse_folder)
    edit(folder.path)
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + 3 * step)
    check_right(coarse_folder)


def garbage(path: Path) -> None:
    """Not a database."""
    path.write_bytes(b"garbage" * 1000)


def truncated(path: Path) -> None:
    """Cut in the middle."""
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def overwritten(path: Path) -> None:
    """Pages of it are something else."""
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(path.stat().st_size - 4096))


def newer(path: Path) -> None:
    """Written by another version of the package."""
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()


def emptied(path: Path) -> None:
    """A table without rows."""
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM state")
    connection.close()


def removed(path: Path) -> None:
    """With its directory."""
    shutil.rmtree(path.parent)


def all_removed(path: Path) -> None:
    """The whole cache."""
    shutil.rmtree(path.parents[2])


DAMAGES = [garbage, truncated, overwritten, newer, emptied, removed, all_removed]


@pytest.mark.parametrize("is_open", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_index_is_made_anew(
    folder: Folder, damage: Callable[[Path], None], is_open: bool
) -> None:
    """Also while it is open, and nothing is added twice."""
    list(folder)
    if not is_open:
        folder.close()
    else:
        # What SQLite still has in its own memory is not damaged.
        folder._index._database._connection.execute("PRAGMA shrink_memory")  # type: ignore[union-attr]
    damage(index_of(folder))
    used = folder if is_open else Folder(folder.path)
    assert "3.txt" == used.add(header(3, "3.txt"), b"3").name
    check_right(used)
    used.add(header(9, "9.txt"), b"9")
    check_right(used)
    check_right(Folder(folder.path))
    assert 6 == len(names(folder))


def test_a_cache_that_is_full_is_done_without(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What could not be noted is not half noted."""
    list(folder)
    with sqlite3.connect(index_of(folder)) as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.close()
    folder._index._database._connection.execute(f"PRAGMA max_page_count={pages}")  # type: ignore[union-attr]
    with folder.batch() as batch:
        for number in range(100, 400):
            batch.add(header(number, "n.txt"), b"")
    assert 305 == len(folder) == len(list(folder)) == len(Folder(folder.path))
    assert "3.txt" == folder.add(header(3, "3.txt"), b"3").name


@pytest.mark.parametrize("home", ["/nonexistent", "file"])
def test_without_a_cache_directory(
    folder: Folder, home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The index is in memory, and a home that does not exist is not made."""
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("HOME", home if home.startswith("/") else str(tmp_path / home))
    used = Folder(folder.path)
    check_right(used)
    used.add(header(9, "9.txt"), b"9")
    remove_file(folder.path)
    check_right(used)
    assert not Path("/nonexistent").exists()


def test_a_network_file_system_has_no_database(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pitfall 17: SQLite on a network file system corrupts."""
    cache._made.cache_clear()
    monkeypatch.setattr("mdirclient._fs.is_network_filesystem", lambda _: True)
    assert ":memory:" == cache._path_of(str(folder.path))
    cache._made.cache_clear()
    check_right(Folder(folder.path))


def test_another_folder_at_the_same_place(folder: Folder, tmp_path: Path) -> None:
    """The index knows the directory, not only its path."""
    list(folder)
    with Folder(tmp_path / "other") as other:
        other.add(header(3, "different.txt"), b"3")
    folder.path.rename(tmp_path / "old")
    (tmp_path / "other").rename(folder.path)
    check_right(folder)
    assert "different.txt" == folder[URLS[3]].name


@pytest.mark.parametrize("how", ["cp -a", "tar"])
def test_a_folder_that_was_restored(folder: Folder, tmp_path: Path, how: str) -> None:
    """With its old times, over a newer one."""
    check_right(folder)
    shutil.copytree(folder.path, tmp_path / "backup", symlinks=True)
    subprocess.run(["cp", "-a", f"{folder.path}/.", f"{tmp_path}/backup"], check=True)
    folder.remove(URLS[2])
    folder.rename(URLS[3], "renamed.txt")
    check_right(folder)
    if how == "tar":
        archive = str(tmp_path / "backup.tar")
        subprocess.run(["tar", "-C", tmp_path / "backup", "-cf", archive, "."], check=True)
        subprocess.run(["tar", "-C", folder.path, "-xf", archive], check=True)
    else:
        subprocess.run(["cp", "-a", f"{tmp_path}/backup/.", str(folder.path)], check=True)
    for file in (folder.path / "renamed.txt", folder.path / ".meta" / "renamed.txt"):
        file.unlink()
    for path in (folder.path / ".meta", folder.path):
        status = (tmp_path / "backup" / path.relative_to(folder.path)).stat()
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    check_right(folder)
    assert folder[URLS[2]].name == "2.txt"


def test_times_from_the_future_and_the_past(folder: Folder) -> None:
    """SQLite's integers have 64 bits and a sign."""
    for name, moment in (("1.txt", 13_980_000_000), ("2.txt", -5_000_000_000)):
        os.utime(folder.path / ".meta" / name, (moment, moment))
    os.utime(folder.path, (13_000_000_000, 13_000_000_000))
    check_right(folder)
    folder.add(header(9, "9.txt"), b"9")
    check_right(folder)


def test_iterating_while_others_change(folder: Folder) -> None:
    """One moment: what was renamed since comes with its new name, what was removed does not."""
    entries = iter(folder)
    assert "0.txt" == next(entries).name
    other = Folder(folder.path)
    other.rename(URLS[1], "aaa.txt")
    other.remove(URLS[2])
    other.add(header(9, "zzz.txt"), b"")
    assert ["aaa.txt", "3.txt", "4.txt"] == [entry.name for entry in entries]


def test_a_removed_index_while_iterating(folder: Folder) -> None:
    """The iteration goes on as it began."""
    entries = iter(folder)
    next(entries)
    all_removed(index_of(folder))
    assert 4 == len(list(entries))
    check_right(folder)


def test_two_headers_with_one_url(folder: Folder) -> None:
    """The one that has its file counts, then the first by name."""
    text = (folder.path / ".meta" / "1.txt").read_bytes()
    for name in ("1 copy.txt", "0 before.txt"):
        (folder.path / ".meta" / name).write_bytes(text)
    assert "1.txt" == folder[URLS[1]].name
    (folder.path / "1 copy.txt").write_bytes(b"copy")
    (folder.path / "1.txt").unlink()
    assert "1 copy.txt" == folder[URLS[1]].name
    assert 5 == len(folder) == len(list(folder))


def test_many_headers_with_one_url_are_no_burden(folder: Folder) -> None:
    """Linear time, whatever the headers say."""
    for number in range(3000):
        (folder.path / ".meta" / f"copy {number}").write_bytes(b"url: mdir:1@x.org/1\n")
        (folder.path / f"copy {number}").write_bytes(b"")
    assert 5 == len(list(folder))
    assert 3000 == sum(finding.kind == "same-url" for finding in folder.check())


def test_a_fork_has_its_own_connection(folder: Folder) -> None:
    """Also while another thread was using the folder."""
    list(folder)
    held = threading.Event()
    leave = threading.Event()

    def hold() -> None:
        with folder._guard():
            held.set()
            leave.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    child = os.fork()
    if child == 0:
        try:
            check_right(folder)
            folder.add(header(9, "9.txt"), b"9")
            os._exit(0)
        except BaseException:
            os._exit(1)
    leave.set()
    thread.join()
    assert (child, 0) == os.waitpid(child, 0)
    check_right(folder)
    assert 6 == len(folder)


def test_indexes_that_nobody_uses_are_swept(folder: Folder, tmp_path: Path) -> None:
    """When another one is made."""
    folder.close()
    old = index_of(folder).parent
    os.utime(old, (0, 0))
    with Folder(tmp_path / "second") as second:
        second.add(header(1, "a"), b"")
    assert not old.exists()
    check_right(folder)


def test_an_unreadable_header_for_a_moment(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error, not an unknown url: nothing is added twice."""
    read_file = _fs.read_file

    def fail(path: str, limit: int) -> object:
        if path.endswith(".meta/1.txt"):
            raise PermissionError(13, "Permission denied", path)
        return read_file(path, limit)

    monkeypatch.setattr(_fs, "read_file", fail)
    (folder.path / ".meta" / "1.txt").chmod(0o000)
    assert 4 == len(list(folder))
    with pytest.raises(PermissionError):
        folder.get(URLS[1])
    with pytest.raises(PermissionError):
        folder.add(header(1, "1.txt"), b"1")
    assert ["unreadable"] == [finding.kind for finding in folder.check()]
    assert () == folder.repair()
    monkeypatch.undo()
    (folder.path / ".meta" / "1.txt").chmod(0o644)
    check_right(folder)
    assert "1.txt" == folder.add(header(1, "1.txt"), b"1").name


def test_a_suffix_beyond_the_last_one(folder: Folder) -> None:
    """Somebody sends the last number there is; the next ones are still found at once."""
    folder.add(header(100, "a (999999999).txt"), b"")
    found = {folder.add(header(number, "a.txt"), b"").name for number in range(101, 110)}
    assert 9 == len(found)
    assert all(name.startswith("a") and name.endswith(".txt") for name in found)


def test_a_folder_that_changes_all_the_time_is_not_waited_for(folder: Folder) -> None:
    """Another program writes files; looking up an unknown url does not take for ever."""
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            (folder.path / f"busy {number}").write_bytes(b"")
            time.sleep(0.001)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        start = time.monotonic()
        for _ in range(5):
            assert folder.get("mdir:unknown@x.org/1") is None
            assert folder.resolve(URLS[3]).name == "3.txt"
        assert time.monotonic() - start < 20
    finally:
        stop.set()
        thread.join()
    check_right(folder)
