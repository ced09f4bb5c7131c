"""The folder at scale, beside the standard library's Maildir; one command for the whole table.

    .venv/bin/python -m tests.benchmarks.folder [--quick] [--place DIR]

Takes some 15 minutes and 10 GB of disk in DIR (default: the system's directory for temporary
files), which it removes again. `--quick` is a hundredth of it. Figures are medians; ratios are of
the same run. Peaks of memory are those of a process of its own.
"""

from __future__ import annotations

import argparse
import contextlib
import mailbox
import os
import platform
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from mdirclient import Folder, Header
from tests.benchmarks import names

BATCH = 10_000
REPEATS = 5


def url(number: int) -> str:
    """The url of an entry."""
    return f"mdir:20261122.{number}@mail.example.org/1"


def header(number: int, name: str) -> Header:
    """An ordinary header."""
    return Header(
        [
            ("url", url(number)),
            ("anchor", url(number)),
            ("part", "1"),
            ("parts", "1"),
            ("suggested-name", name),
            ("content-type", "application/pdf"),
            ("size", "12"),
            ("from", "Jo Lapin <jo@machin.com>"),
            ("to", "An <an@example.org>"),
            ("subject", f"Report {number}"),
            ("date", "Sun, 22 Nov 2026 12:00:00 +0000"),
        ]
    )


def distinct(number: int) -> str:
    """A name of its own."""
    return f"report {number}.pdf"


def filled(path: Path, count: int, name: Callable[[int], str] = distinct) -> float:
    """Fill a folder in durable batches; returns seconds."""
    start = time.perf_counter()
    with Folder(path) as folder:
        for first in range(0, count, BATCH):
            with folder.batch() as batch:
                for number in range(first, min(first + BATCH, count)):
                    batch.add(header(number, name(number)), b"content here")
    return time.perf_counter() - start


def filled_maildir(path: Path, count: int) -> float:
    """The same mails in a Maildir, which flushes each; returns seconds."""
    box = mailbox.Maildir(path)
    start = time.perf_counter()
    for number in range(count):
        box.add(header(number, distinct(number)).to_bytes() + b"\ncontent here")
    return time.perf_counter() - start


def seconds(operation: Callable[[], object]) -> float:
    """How long it takes."""
    start = time.perf_counter()
    operation()
    return time.perf_counter() - start


def median(operation: Callable[[], object], repeats: int = REPEATS) -> float:
    """The median of several runs."""
    return statistics.median(seconds(operation) for _ in range(repeats))


def opened(path: Path, number: int) -> None:
    """Open, first look-up, close."""
    with Folder(path) as folder:
        folder.resolve(url(number))


def add_all(path: Path, new: list[Header]) -> None:
    """Add entries in one batch."""
    with Folder(path) as folder, folder.batch() as batch:
        for one in new:
            batch.add(one, b"content here")


def added_one_by_one(folder: Folder, first: int, count: int) -> float:
    """Seconds of one durable add, the median."""
    new = [header(number, distinct(number)) for number in range(first, first + count)]
    return statistics.median(seconds(partial(folder.add, one, b"content here")) for one in new)


def refreshed(folder: Folder, directories: tuple[Path, ...]) -> None:
    """Look at directories that somebody has touched; the times are older than their grain."""
    for directory in directories:
        os.utime(directory)
    time.sleep(0.05)
    folder._index.refresh()


def forget_index(cache: Path) -> None:
    """Remove all indexes."""
    for directory in (cache / "mdirclient").glob("index-*/*"):
        shutil.rmtree(directory)


def row(what: str, found: str, target: str) -> None:
    """One row of the table."""
    print(f"| {what} | {found} | {target} |", flush=True)


def adds(place: Path, count: int) -> None:
    """Durable adds in a batch, and one by one."""
    new = [header(number, distinct(number)) for number in range(count)]
    together = statistics.median(
        seconds(partial(add_all, place / f"batch{number}", new)) for number in range(REPEATS)
    )
    alone = Folder(place / "alone")
    single = added_one_by_one(alone, 0, max(count // 20, 50)) * count
    row(f"durable apply of {count:,} adds", f"{together:.2f} s", "2.5 s")
    row("… faster than one add each", f"{single / together:.0f} times", "20 times")


def same_names(place: Path, count: int) -> None:
    """Parts that are all called the same."""
    pairs = []
    for number in range(3):
        different = filled(place / f"distinct{number}", count)
        same = filled(place / f"same{number}", count, lambda _: "image001.png")
        pairs.append(same / different)
    row(
        f"{count:,} parts called image001.png", f"{statistics.median(pairs):.2f} times", "1.5 times"
    )


def beside_maildir(place: Path, count: int) -> None:
    """Adding, opening and iterating, beside mailbox.Maildir."""
    ours, theirs = place / "ours", place / "maildir"
    added = filled_maildir(theirs, count) / filled(ours, count)
    row(f"adds of {count:,}, durable, against Maildir", f"{added:.1f} times faster", "faster")
    key = next(mailbox.Maildir(theirs).iterkeys())
    first = median(lambda: mailbox.Maildir(theirs)[key], 3) / median(lambda: opened(ours, 1), 3)
    row("open and first look-up, against Maildir", f"{first:.0f} times faster", "faster")

    def ours_read() -> None:
        for entry in Folder(ours):
            _ = entry.header["subject"]

    def theirs_read() -> None:
        for message in mailbox.Maildir(theirs):
            _ = message["subject"]

    read = seconds(theirs_read) / median(ours_read, 3)
    row("iterate with headers, against Maildir", f"{read:.1f} times faster", "faster")


def rebuilt(place: Path, cache: Path, count: int) -> None:
    """The index made anew, and the folder opened with it."""

    def rebuild() -> None:
        forget_index(cache)
        opened(place / "ours", 1)

    row(f"rebuild the index, {count:,}, warm", f"{median(rebuild, 3):.2f} s", "3 s")
    time.sleep(0.1)
    again = median(lambda: opened(place / "ours", 2), 20)
    row(f"open and first resolve, {count:,}", f"{again * 1000:.2f} ms", "5 ms")


def looked_up(path: Path, count: int) -> None:
    """Look-ups, refreshes and an add in a large folder."""
    folder = Folder(path)
    chance = random.Random(1)
    opened(path, 0)
    row(
        f"open and first resolve, {count:,}",
        f"{median(lambda: opened(path, chance.randrange(count)), 20) * 1000:.2f} ms",
        "10 ms",
    )
    urls = [url(chance.randrange(count)) for _ in range(20_000)]
    for wanted in urls:
        folder.resolve(wanted)  # warm is what the kernel has looked up before
    times = [seconds(partial(folder.resolve, wanted)) for wanted in urls]
    times.sort()
    row(
        f"resolve by url, {count:,}, warm, p50 and p99",
        f"{times[10_000] * 1e6:.0f} µs, {times[19_800] * 1e6:.0f} µs",
        "25 µs, 100 µs",
    )
    quick = median(folder._index.refresh, 20)
    row("refresh, nothing changed, quick check", f"{quick * 1000:.2f} ms", "10 ms")

    def looked_at(*directories: Path) -> float:
        return median(partial(refreshed, folder, directories)) - 0.05

    row("refresh, nothing changed, with names", f"{looked_at(path):.2f} s", "3 s")
    row("… and the stamp of every header", f"{looked_at(path, path / '.meta'):.2f} s", "")
    added = added_one_by_one(folder, count, 20)
    row(f"one durable add to {count:,}", f"{added * 1000:.1f} ms", "25 ms")
    folder.close()


MEMORY = """
import sys
def peak():
    rows = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(rows["VmHWM"].split()[0])
before = peak()
from mdirclient import Folder
from tests.benchmarks.folder import url
import os, time
count = int(sys.argv[2])
folder = Folder(sys.argv[1])
for number in range(0, count, max(count // 5000, 1)):
    folder.resolve(url(number))
len(folder)
os.utime(sys.argv[1]); time.sleep(0.05); folder._index.refresh()
print(peak() - before)
"""


def remembered(path: Path, count: int) -> None:
    """The peak of a process that opens, looks up, counts and refreshes."""
    words = [sys.executable, "-c", MEMORY, str(path), str(count)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    row(f"memory, {count:,} open, peak", f"{int(done.stdout) / 1024:.0f} MB", "64 MB")


@contextlib.contextmanager
def workplace(place: str | None) -> Iterator[tuple[Path, Path]]:
    """A directory for the folders and one for the indexes."""
    with tempfile.TemporaryDirectory(dir=place) as path:
        os.environ["XDG_CACHE_HOME"] = f"{path}/cache"
        yield Path(path), Path(path, "cache")


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--place")
    arguments = parser.parse_args()
    scale = 100 if arguments.quick else 1
    versions = f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}"
    print(f"| {versions}, Linux {platform.release()} | found | target |\n|---|---|---|")
    with workplace(arguments.place) as (place, cache):
        adds(place, BATCH // scale)
        same_names(place, 100_000 // scale)
        beside_maildir(place, 100_000 // scale)
        rebuilt(place, cache, 100_000 // scale)
        large = place / "large"
        filled(large, 1_000_000 // scale)
        looked_up(large, 1_000_000 // scale)
        remembered(large, 1_000_000 // scale)
    found = names.counted(1_000_000 // scale)
    row(
        f"{found.names:,} generated names: invalid, outside, not idempotent",
        f"{found.invalid}, {found.outside}, {found.changed}",
        "0, 0, 0",
    )


if __name__ == "__main__":
    main()
