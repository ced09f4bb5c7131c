"""Eight writers and four readers, processes all, on one folder."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from mdirclient import Folder
from tests.folders import header, names

WRITERS = 8
READERS = 4


def write(path: Path, writer: int, seconds: float) -> None:
    """Add, rename and remove entries of one's own; never surprised."""
    chance = random.Random(writer)
    folder = Folder(path, lock_timeout=60)
    mine: dict[str, bytes] = {}
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        number += 1
        key = writer * 1_000_000 + number
        url = f"mdir:{key}@x.org/1"
        content = b"%d" % key
        folder.add(header(key, "same.txt", content), content)
        mine[url] = content
        if chance.random() < 0.3:
            folder.rename(chance.choice(list(mine)), f"renamed {number}.txt")
        if chance.random() < 0.3:
            gone = chance.choice(list(mine))
            folder.remove(gone)
            del mine[gone]
        for known, expected in mine.items():
            assert expected == folder.resolve(known).read_bytes(), known
    # What it is left with, for the parent.
    (path.parent / f"writer {writer}").write_text("\n".join(mine))


def read(path: Path, done: Event) -> None:
    """What is seen is whole; what never changes is always there."""
    folder = Folder(path)
    while not done.is_set():
        assert b"fixed" == folder.resolve("mdir:fixed@x.org/1").read_bytes()
        assert "mdir:unknown@x.org/1" not in folder
        urls = []
        for entry in folder:
            urls.append(entry.url)
            assert int(entry.header["size"]) > 0
        assert len(urls) == len(set(urls))
        assert "mdir:fixed@x.org/1" in [str(url) for url in urls]


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.long)])
def test_eight_writers_and_four_readers(tmp_path: Path, seconds: float) -> None:
    """Nothing is lost, double, half or waited for too long."""
    path = tmp_path / "f"
    with Folder(path) as folder:
        folder.add(header("fixed", "fixed", b"fixed"), b"fixed")
    context = multiprocessing.get_context("spawn")
    done = context.Event()
    writers = [context.Process(target=write, args=(path, n, seconds)) for n in range(WRITERS)]
    readers = [context.Process(target=read, args=(path, done)) for _ in range(READERS)]
    for process in (*writers, *readers):
        process.start()
    for process in writers:
        process.join()
    done.set()
    for process in readers:
        process.join()
    assert [0] * (WRITERS + READERS) == [process.exitcode for process in (*writers, *readers)]
    expected = {"mdir:fixed@x.org/1"}
    for number in range(WRITERS):
        expected |= set(filter(None, (tmp_path / f"writer {number}").read_text().split("\n")))
    with Folder(path) as folder:
        assert expected == {str(entry.url) for entry in folder}
        assert len(expected) == len(names(folder))
        assert () == folder.check()
        assert [] == os.listdir(path / ".meta" / ".stage")
    print(f"{len(expected)} entries left by {WRITERS} writers in {seconds} s")
