"""The power fails at any moment: every state that the flushes permit is recovered from."""

from __future__ import annotations

import os
import random
import shutil
import sys
from pathlib import Path

import pytest

from mdirclient import Folder
from tests.crash.disk import Disk, Moment
from tests.crash.operations import (
    OPERATIONS,
    Operation,
    add,
    apply,
    check,
    check_recovered,
    contents,
    finished,
    laboratory,
    prepared,
    rename,
    replace_edited,
    state,
)
from tests.folders import refuse_link


def cut(lab: Path, operation: Operation, stride: int) -> int:
    """Try states of every moment; returns how many."""
    chance = random.Random(operation.__name__)
    expected = finished(lab / "expected", operation)
    folder = prepared(lab / "real", operation)
    before = contents(folder.path)
    disk = Disk(folder.path, lab / "vault")
    with disk.watched():
        operation(Folder(folder.path))
    states = 0
    for moment in disk.moments:
        for tree, lost in disk.states(moment, chance):
            states += 1
            if states % stride:
                continue
            path = lab / "f"
            disk.write(tree, lost, path)
            check(path, operation)
            if (path / ".meta" / ".journal").exists() and chance.random() < 0.2:
                recovered_in_part(lab, path, chance)
            check_recovered(path, operation, before)
            operation(Folder(path))
            assert expected == state(path), moment
    # The call has returned: what it did stays.
    last = disk.moments[-1]
    for tree, lost in disk.states(last, chance):
        disk.write(tree, lost, lab / "f")
        assert expected == state(lab / "f"), "acknowledged and lost"
    return states


def recovered_in_part(lab: Path, path: Path, chance: random.Random) -> None:
    """Recover, and put in its place a state that a second power cut permits."""
    disk = Disk(path, lab / "second")
    with disk.watched():
        Folder(path).recover()
    moment: Moment = chance.choice(disk.moments)
    tree, lost = chance.choice(list(disk.states(moment, chance)))
    disk.write(tree, lost, lab / "part")
    shutil.rmtree(path)
    (lab / "part").rename(path)


@pytest.mark.parametrize("stride", [31, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_power_cut(operation: Operation, stride: int) -> None:
    """Nothing half is seen, nothing acknowledged is lost, the same again ends as without a cut."""
    with laboratory() as lab:
        states = cut(lab, operation, stride)
    print(f"{operation.__name__}: {states // stride} states of a power cut")
    assert states >= 50


@pytest.mark.parametrize("stride", [31, pytest.param(1, marks=pytest.mark.long)])
@pytest.mark.parametrize("operation", OPERATIONS)
def test_power_cut_without_hard_links(
    operation: Operation, stride: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where names are reserved and replaced."""
    monkeypatch.setattr(os, "link", refuse_link)
    test_power_cut(operation, stride)


@pytest.mark.parametrize(
    "operation", [add, rename, pytest.param(apply, marks=pytest.mark.long), replace_edited]
)
def test_the_laboratory_finds_a_missing_flush(
    operation: Operation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A laboratory that cannot fail is none."""
    for module in ("", ".flush", ".write", ".publish"):
        place = sys.modules[f"mdirclient._fs{module}"]
        monkeypatch.setattr(place, "sync_directory", lambda _: None)
    with laboratory() as lab, pytest.raises(AssertionError):
        cut(lab, operation, 1)
