"""The SMTP server's own database as a file: damage, formats, who closes it, what is forgotten."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import attrs
import pytest

from mdirclient import _fs
from mdirclient._sqlite import connect as sqlite_connect
from mdirclient.errors import StoreError
from mdirclient.smtp.state import MIGRATIONS, State, open_state
from mdirclient.smtp.statistics.archive import Archive
from tests.traffic import month


def test_a_database_of_format_5(tmp_path: Path) -> None:
    """A host that was renamed, and a report that waited: both are no hindrance."""
    path = str(tmp_path / "smtp.sqlite3")
    old = sqlite_connect(path, MIGRATIONS[:5], timeout=1, create=True)
    rows = [("old day 2026-10-01", 1.0, None), ("new day 2026-10-01", 2.0, None),
            ("new day 2026-10-02", 3.0, b"begun")]  # fmt: skip
    old.executemany("INSERT INTO published VALUES (?, ?, ?)", rows)
    old.close()
    state, aside = open_state(path, 9.0)
    state.close()
    assert aside is None
    with contextlib.closing(Archive(path)) as archive:
        assert archive.is_published("day 2026-10-01", 9.0)
        assert not archive.is_published("day 2026-10-02", 9.0)


@pytest.mark.parametrize("kind", [State, Archive])
def test_it_is_for_its_owner_only(
    kind: type[State | Archive], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """It knows who wrote to whom; also where its directory was there before."""
    request.addfinalizer(partial(os.umask, os.umask(0o022)))
    with contextlib.closing(kind(str(tmp_path / "smtp.sqlite3"))):
        modes = {stat.S_IMODE(one.stat().st_mode) for one in tmp_path.glob("smtp.sqlite3*")}
    assert {0o600} == modes


def test_a_kill_while_it_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is whole before it has its name: what is left is not taken for a damaged one."""
    path = str(tmp_path / "smtp.sqlite3")
    with monkeypatch.context() as patch:
        patch.setattr("mdirclient.smtp.state._connected", _die)
        with pytest.raises(_Died):
            State(path)
    assert not os.path.lexists(path)
    state, aside = open_state(path, 9.0)
    state.close()
    assert aside is None


def _die(_: str) -> None:
    raise _Died


def test_what_cannot_be_read_says_what_to_do(tmp_path: Path) -> None:
    """A database of an older version, and one that is none."""
    path = tmp_path / "smtp.sqlite3"
    sqlite_connect(str(path), MIGRATIONS[:5], timeout=1, create=True).close()
    for text in ("older version", "not a database"):
        with pytest.raises(StoreError, match=rf"{path}: .*{text}.*`mdir-smtp serve`"):
            Archive(str(path), read_only=True)
        path.write_bytes(b"nonsense" * 1_000)


def test_who_closes_waits_for_who_reads(tmp_path: Path) -> None:
    """A statement that runs in a thread is not taken from it."""
    archive, order = Archive(str(tmp_path / "smtp.sqlite3")), list[str]()
    is_reading = threading.Event()
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n LIMIT 2000000)"

    def read() -> None:
        with archive.reading() as connection:
            is_reading.set()
            connection.execute(f"{endless} SELECT max(x) FROM n").fetchone()
            order.append("read")

    thread = threading.Thread(target=read)
    thread.start()
    assert is_reading.wait(10)
    archive.close()
    order.append("closed")
    thread.join()
    assert ["read", "closed"] == order


def test_the_oldest_are_forgotten(tmp_path: Path) -> None:
    """By their time: what a new database was filled with came after what is new."""
    state = State(str(tmp_path / "smtp.sqlite3"))
    base = next(iter(month(1)))
    for at in (90.0, 91.0, 1.0, 2.0, 3.0):
        state.add([attrs.evolve(base, at=at)])
    assert 3 == state.forget(0.0, 2)
    assert [90.0, 91.0] == [one.at for one in state.since(0)]
    state.close()


@pytest.mark.parametrize(
    "harm",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"S"),
        lambda path: _change(path, "DROP TABLE total"),
    ],
    ids=["empty", "one byte", "table"],
)
def test_other_damage(tmp_path: Path, harm: Callable[[Path], object]) -> None:
    """It is set aside, and what takes its place is to be filled until that is done."""
    path = tmp_path / "smtp.sqlite3"
    State(str(path)).close()
    harm(path)
    state, aside = open_state(str(path), 7.0)
    assert f"{path}.damaged-7" == aside
    state.close()
    state, aside = open_state(str(path), 8.0)
    assert (None, 7.0) == (aside, state.filling())
    state.end_filling()
    assert state.filling() is None
    state.close()


def _change(path: Path, query: str) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(query)


@pytest.mark.parametrize("place", [0, 5_000, 50_000])
def test_a_file_that_is_damaged(tmp_path: Path, place: int) -> None:
    """Found when it is opened, wherever the damage is; what is newer is not damaged."""
    path = tmp_path / "smtp.sqlite3"
    state, aside = open_state(str(path), 1.0)
    assert aside is None
    state.add(list(month(500)))
    state._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    state.close()
    data = bytearray(path.read_bytes())
    data[place : place + 9_000] = b"x" * 9_000
    path.write_bytes(data)
    state, aside = open_state(str(path), 1.0)
    assert f"{path}.damaged-1" == aside
    assert () == state.since(0)
    state._connection.execute("PRAGMA user_version=99")
    state.close()
    with pytest.raises(StoreError, match="newer version"):
        open_state(str(path), 2.0)


@pytest.mark.parametrize("turn", range(5))
def test_two_servers_that_find_a_damaged_file(tmp_path: Path, turn: int) -> None:
    """One sets it aside; both have the new one."""
    path = tmp_path / "smtp.sqlite3"
    path.write_bytes(b"nonsense" * 10_000)
    found: list[tuple[State, str | None]] = []
    threads = [
        threading.Thread(target=lambda: found.append(open_state(str(path), 7.0))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {None, f"{path}.damaged-7"} == {aside for _, aside in found}
    assert b"nonsense" * 10_000 == Path(f"{path}.damaged-7").read_bytes()
    for state, _ in found:
        state.add([attrs.evolve(next(iter(month(1))), at=float(turn))])
        assert 7.0 == state.filling()
    assert 2 == len(found[0][0].since(0))
    for state, _ in found:
        state.close()


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_a_server_that_dies_when_a_damaged_file_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Wherever it dies, the next one has a database that is to be filled, and the damaged one."""
    path, real, moves = tmp_path / "smtp.sqlite3", _fs.replace_with, list[str]()
    path.write_bytes(b"nonsense" * 10_000)

    def dies(staged: str, target: str) -> None:
        moves.append(staged)
        if len(moves) == step:
            raise _Died
        real(staged, target)

    with monkeypatch.context() as patched:
        patched.setattr(_fs, "replace_with", dies)
        with pytest.raises(_Died):
            open_state(str(path), 7.0)
    state, _ = open_state(str(path), 8.0)
    assert state.filling() in (7.0, 8.0)
    state.close()
    assert b"nonsense" * 10_000 in [one.read_bytes() for one in tmp_path.glob("*.damaged-?")]
    assert not list(tmp_path.glob("*.new*"))


class _Died(BaseException):
    """The server is killed here."""
