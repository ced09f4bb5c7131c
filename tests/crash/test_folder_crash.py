"""Every operation of a folder, stopped at every step: nothing is half and nothing lost."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from mdirclient import Counted, Folder
from mdirclient._fs import has_syncfs
from tests.crash.ladder import Ladder, counted, failed_at, killed_at
from tests.crash.operations import (
    OPERATIONS,
    Operation,
    check,
    check_recovered,
    contents,
    copied,
    finished,
    follow,
    laboratory,
    prepared,
    repair,
    state,
)
from tests.crash.operations import apply as apply_some
from tests.folders import refuse_link


@pytest.fixture
def lab() -> Iterator[Path]:
    """Where the folders are."""
    with laboratory() as path:
        yield path


def each_step(
    lab: Path, operation: Operation, stopped: Callable[[int, Callable[[], object]], bool]
) -> int:
    """Stop at each step, look, recover, do it again; returns how many states were seen."""
    expected = finished(lab / "expected", operation)
    prepared(lab / "prepared", operation)
    before = contents(lab / "prepared")
    path = lab / "f"
    ladder = Ladder()
    reached = 0
    for step in ladder:
        copied(lab / "prepared", path)
        is_reached = stopped(step, lambda: operation(Folder(path)))
        ladder.note(is_reached=is_reached)
        reached += is_reached
        check(path, operation)
        check_recovered(path, operation, before)
        if operation is not repair:
            assert 1 <= Folder(path).version <= 2
        operation(Folder(path))
        # What could not be read is taken for the person's own, and stays.
        left = {"z.txt"} if operation is follow else set()
        assert expected == {name: data for name, data in state(path).items() if name not in left}
    return reached


@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_each_step(lab: Path, operation: Operation) -> None:
    """The process ends without notice."""
    states = each_step(lab, operation, killed_at)
    print(f"{operation.__name__}: {states} states")
    assert states >= 5


@pytest.fixture
def _no_links(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without hard links, such as FAT."""

    monkeypatch.setattr(os, "link", refuse_link)


@pytest.mark.usefixtures("_no_links")
@pytest.mark.parametrize("operation", OPERATIONS)
def test_killed_at_each_step_without_hard_links(lab: Path, operation: Operation) -> None:
    """Names are reserved there; a reservation that was left is found."""
    assert each_step(lab, operation, killed_at) >= 10


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EACCES, errno.EINTR])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_error_at_each_step(lab: Path, operation: Operation, number: int) -> None:
    """The disk refuses, once."""
    states = each_step(lab, operation, lambda step, stopped: failed_at(step, number, stopped))
    print(f"{operation.__name__}, {errno.errorcode[number]}: {states} states")
    assert states >= 5


@pytest.mark.parametrize("stride", [89, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_recovery_killed_at_each_step(lab: Path, operation: Operation, stride: int) -> None:
    """Recovery may itself be cut, at each of its steps, after each point where it has work.

    With a stride not each: others of the steps after each point.
    """
    expected = finished(lab / "expected", operation)
    prepared(lab / "prepared", operation)
    before = contents(lab / "prepared")
    path = lab / "f"
    states = 0
    ladder = Ladder()
    for step in ladder:
        is_reached = False
        for again in count(1 + step % stride, stride):
            copied(lab / "prepared", path)
            is_reached |= killed_at(step, lambda: operation(Folder(path)))
            has_work = (path / ".meta" / ".journal").exists()
            cut = has_work and killed_at(again, lambda: Folder(path).recover())
            check(path, operation)
            check_recovered(path, operation, before)
            operation(Folder(path))
            assert expected == state(path)
            states += has_work
            if not cut:
                break
        ladder.note(is_reached=is_reached)
    print(f"{operation.__name__}: {states} states")
    assert states >= (5 if stride == 1 else 1)


def test_what_is_flushed_before_what(tmp_path: Path) -> None:
    """Pitfall 3: the calls, not the intention.

    Content and header, `.stage`; the journal and its name; then the pair and its directories;
    then the counter and its name; then the journal goes.
    """
    folder = prepared(tmp_path / "f", apply_some)
    batch = folder.batch()
    batch.add(folder["mdir:1@x.org/1"].header.replace("url", "mdir:2@x.org/1"), b"one")
    batch.count(Counted(2, 1))
    with counted(None, lambda: None) as counter:
        folder.apply(batch)
    watched = ("fsync", "syncfs", "link", "replace", "unlink")
    assert (
        ["fsync", "fsync", "fsync"]  # content, header, .stage
        + ["fsync", "replace", "fsync"]  # the journal, its name
        + ["link", "link", "fsync", "fsync"]  # the pair, both directories
        + ["fsync", "replace", "fsync"]  # .version, its name
        + ["unlink", "fsync"]  # the journal
        + ["unlink", "unlink"]  # what was staged
    ) == [name for name in counter.calls if name in watched]


def test_a_large_batch_costs_a_handful_of_flushes(tmp_path: Path) -> None:
    """One for all that was staged, whatever their number."""
    if not has_syncfs(tmp_path):
        pytest.skip("no syncfs(2) that can be relied on: each file is flushed by itself")
    folder = prepared(tmp_path / "f", apply_some)
    with counted(None, lambda: None) as counter, folder.batch() as batch:
        for number in range(500):
            header = folder["mdir:1@x.org/1"].header.replace("url", f"mdir:{number}@y.org/1")
            batch.add(header, b"one")
    assert 1 == counter.calls.count("syncfs")
    assert counter.calls.count("fsync") <= 6
