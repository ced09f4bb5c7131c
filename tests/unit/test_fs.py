"""What is below the folder: flushing in groups, times of our own, odd files, the probe."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
import threading
import time
from pathlib import Path

import pytest

from mdirclient import _fs
from mdirclient._fs import flush
from mdirclient.errors import LockTimeoutError


def written(group: _fs.Group, path: Path, count: int) -> None:
    """Files of a group."""
    for number in range(count):
        with _fs.NewFile(path / f"{number}", group=group) as file:
            file.write(b"x")
            file.close()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Notes each flush."""
    found: list[str] = []
    fsync, syncfs = os.fsync, flush.syncfs

    def noted_fsync(descriptor: int) -> None:
        found.append("fsync")
        fsync(descriptor)

    def noted_syncfs(descriptor: int) -> None:
        found.append("syncfs")
        syncfs(descriptor)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(flush, "syncfs", noted_syncfs)
    return found


def test_a_few_files_are_flushed_one_by_one(tmp_path: Path, calls: list[str]) -> None:
    """And their directory; nothing else on the machine is waited for."""
    group = _fs.Group(str(tmp_path))
    written(group, tmp_path, 3)
    assert [] == calls
    group.flush()
    assert ["fsync"] * 4 == calls


def test_many_files_are_flushed_at_once(tmp_path: Path, calls: list[str]) -> None:
    """Where syncfs can be relied on."""
    if not _fs.has_syncfs(tmp_path):
        pytest.skip(f"no syncfs(2) on {_fs.filesystem_type(tmp_path)}")
    group = _fs.Group(str(tmp_path))
    written(group, tmp_path, 100)
    group.flush()
    assert ["syncfs", "fsync"] == calls


def test_many_files_without_syncfs(
    tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by itself, and the directory once."""
    monkeypatch.setattr(flush, "has_syncfs", lambda _: False)
    group = _fs.Group(str(tmp_path))
    written(group, tmp_path, 100)
    group.flush()
    assert ["fsync"] * 101 == calls


@pytest.mark.parametrize(
    ("kind", "release", "expected"),
    [
        ("ext4", "6.1.0-26-amd64", True),
        ("ext4", "5.16.20", False),
        ("xfs", "7.0", True),
        ("overlay", "6.1.0", False),
        ("fuse.sshfs", "6.1.0", False),
        (None, "6.1.0", False),
    ],
)
def test_where_syncfs_can_be_relied_on(
    kind: str | None, release: str, expected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It must report what it could not write."""
    system = os.uname()
    uname = os.uname_result((system.sysname, system.nodename, release, *system[3:]))
    monkeypatch.setattr(flush, "filesystem_type", lambda _: kind)
    monkeypatch.setattr(os, "uname", lambda: uname)
    assert expected == _fs.has_syncfs("/anywhere")


def test_a_flush_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of syncfs, whose errors come through errno; and no descriptor is left open."""
    with pytest.raises(OSError, match="Bad file descriptor"):
        flush.syncfs(9999)
    before = len(os.listdir("/proc/self/fd"))
    group = _fs.Group(str(tmp_path))
    written(group, tmp_path, 30)

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(flush, "syncfs", fail)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        group.flush()
    assert before == len(os.listdir("/proc/self/fd"))


def test_a_group_that_is_dropped_leaves_nothing_open(tmp_path: Path) -> None:
    """Such as that of a batch that nobody applied."""
    before = len(os.listdir("/proc/self/fd"))
    written(_fs.Group(str(tmp_path)), tmp_path, 5)
    assert before == len(os.listdir("/proc/self/fd"))


def test_a_mark_is_no_time_that_anything_else_sets(tmp_path: Path) -> None:
    """Another one each time, and whatever happens next shows."""
    marks = {_fs.mark(str(tmp_path)) for _ in range(20)}
    assert None not in marks
    assert 20 == len(marks)
    (tmp_path / "x").write_bytes(b"")
    assert tmp_path.stat().st_mtime_ns not in marks


def test_where_times_cannot_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder of somebody else, or a file system that rounds."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "utime", refuse)
    assert _fs.mark(str(tmp_path)) is None
    monkeypatch.setattr(os, "utime", lambda *_, **__: None)
    assert _fs.mark(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("stamp", "moment", "grain", "expected"),
    [
        ((1, 1, 999, 999), 2_000, 1_000, True),
        ((1, 1, 999, 1_500), 2_000, 1_000, False),
        ((1, 1, 10**18, 10**18), 10**18 + 10**9, 1_000, False),
        ((1, 1, 10**18, 10**18), 10**18 + 3 * 10**9, 1_000, True),
        ((1, 1, 10**18 + 1, 10**18), 10**18 + 10**9, 1_000, True),
    ],
)
def test_is_older(stamp: _fs.Stamp, moment: int, grain: int, expected: bool) -> None:
    """Times in whole seconds are of a clock that counts in seconds."""
    assert expected == _fs.is_older(stamp, moment, grain)


@pytest.mark.parametrize("kind", ["directory", "symlink", "pipe", "missing"])
def test_only_regular_files_are_read(tmp_path: Path, kind: str) -> None:
    """Nothing is followed and nobody is waited for."""
    path = tmp_path / "x"
    if kind == "directory":
        path.mkdir()
    if kind == "symlink":
        path.symlink_to("/etc/passwd")
    if kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(OSError):
        _fs.read_file(str(path), 100)
    with pytest.raises(OSError):
        _fs.open_file(str(path))


@pytest.mark.parametrize("size", [0, 1, 99, 100, 101, 5000])
def test_a_file_is_read_up_to_a_limit(tmp_path: Path, size: int) -> None:
    """And one byte more, so that too much can be told from enough."""
    (tmp_path / "x").write_bytes(b"x" * size)
    data, stamp = _fs.read_file(str(tmp_path / "x"), 100)
    assert min(size, 101) == len(data)
    assert size == stamp[1]


def test_the_lock_says_who_holds_it(tmp_path: Path) -> None:
    """While it is held, and nothing afterwards; a holder that was killed is told apart."""
    path = tmp_path / "lock"
    with _fs.lock(path, timeout=1):
        assert f"{os.getpid()} {os.uname().nodename}" == path.read_text().strip()
        assert not _fs.is_abandoned(path)
        failed: list[str] = []

        def wait() -> None:
            try:
                with _fs.lock(path, timeout=0.05):
                    pass
            except LockTimeoutError as error:
                failed.append(str(error))

        thread = threading.Thread(target=wait)
        thread.start()
        thread.join()
        assert f"by process {os.getpid()} on {os.uname().nodename}" in failed[0]
    assert _fs.is_abandoned(path)
    child = os.fork()
    if child == 0:
        with _fs.lock(path, timeout=1):
            os._exit(0)
    os.waitpid(child, 0)
    assert str(child) in path.read_text()
    assert _fs.is_abandoned(path)


@pytest.mark.parametrize(
    ("held", "expected"),
    [(b"", True), (b"\n", True), (b"1 elsewhere\n", False), (b"x y\n", False), (b"\xff\xff", True)],
)
@pytest.mark.parametrize("has_locks", [True, False])
def test_who_held_a_lock_matters_only_without_locks(
    tmp_path: Path, held: bytes, expected: bool, has_locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers of processes come again, in containers all the time; the kernel knows."""
    (tmp_path / "lock").write_bytes(held)
    if not has_locks:

        def refuse(*_: object) -> None:
            raise OSError(errno.ENOLCK, "No locks available")

        monkeypatch.setattr(fcntl, "flock", refuse)
    assert (has_locks or expected) == _fs.is_abandoned(tmp_path / "lock")


def test_a_planted_lock_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link to a file of somebody else."""
    (tmp_path / "precious").write_bytes(b"precious")
    (tmp_path / "lock").symlink_to(tmp_path / "precious")
    with pytest.raises(OSError), _fs.lock(tmp_path / "lock", timeout=1):
        pass
    assert b"precious" == (tmp_path / "precious").read_bytes()


def test_the_probe(tmp_path: Path) -> None:
    """It finds what there is and leaves nothing behind."""
    place = tmp_path / "place"
    place.mkdir()
    found = _fs.try_file_system(str(place))
    assert found.is_writable
    assert _fs.filesystem_type(tmp_path) == found.type
    assert 100 < found.longest_name <= 255
    assert [] == list(place.iterdir())
    assert not _fs.try_file_system(str(tmp_path / "missing")).is_writable


def test_windows_refuses_for_a_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pitfall 5: while a virus scanner has the file open. Only there, and not for ever."""
    (tmp_path / "a").write_bytes(b"a")
    replace = os.replace
    refusals = iter([5, 32, 33])

    def refuse(source: str, target: str) -> None:
        number = next(refusals, None)
        if number:
            error = PermissionError(errno.EACCES, "Access is denied")
            error.winerror = number  # type: ignore[attr-defined]
            raise error
        replace(source, target)

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        _fs.replace_with(tmp_path / "a", tmp_path / "b")
    refusals = iter([5, 32, 33])
    monkeypatch.setattr(sys.modules["mdirclient._fs.publish"], "IS_WINDOWS", True)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    _fs.replace_with(tmp_path / "a", tmp_path / "b")
    assert b"a" == (tmp_path / "b").read_bytes()
    refusals = iter([5] * 1000)
    with pytest.raises(PermissionError):
        _fs.replace_with(tmp_path / "b", tmp_path / "c")


def test_what_a_crash_left_is_no_hindrance(tmp_path: Path) -> None:
    """A file that was to take the place of another, and did not come to it."""
    (tmp_path / "new").write_bytes(b"half of")
    _fs.replace(tmp_path / "a", b"whole", staged=str(tmp_path / "new"))
    assert b"whole" == (tmp_path / "a").read_bytes()
    assert not (tmp_path / "new").exists()
