"""A sync of a tree of folders: `python -m tests.benchmarks.tree [FOLDERS] [ENTRIES]`.

200 folders with 50,000 entries in all; nothing changed, and ten changes, one way and both. Each
figure is of the whole process `mdir sync --recursive`, start-up included; medians of five.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from mdirclient import Mdird, connect, make_folder
from mdirclient.settings import file_url

RUNS = 5


def fill(mdird: Mdird, folders: int, entries: int) -> list[str]:
    """Make the folders; their paths."""
    paths = []
    for number in range(folders):
        path = f"Home/Group {number // 20}/Folder {number}"
        make_folder(mdird, path)
        paths.append(path)
        with mdird.batch() as batch:
            for entry in range(entries // folders):
                stored = mdird.store.add_file(
                    b"%d of %d" % (entry, number),
                    media_type="text/plain",
                    suggested_name=f"note {entry}.txt",
                )
                batch.put(path, stored.headers()[0])
    return paths


def measured(work: Callable[[], object], prepare: Callable[[], object]) -> str:
    """Median, fastest and slowest of some runs, in seconds."""
    times = []
    for _ in range(RUNS):
        prepare()
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return f"{statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})"


def main() -> None:
    """Print a table."""
    folders, entries = [*map(int, sys.argv[1:]), 200, 50_000][:2]
    with tempfile.TemporaryDirectory() as path:
        os.environ |= {"MDIRD": file_url(f"{path}/mdir"), "XDG_CACHE_HOME": f"{path}/cache"}

        def run(*options: str) -> None:
            command = [sys.executable, "-m", "mdirclient.cli.mdir", "sync", "Home"]
            subprocess.run(
                [*command, f"{path}/home", "--recursive", *options],
                check=True,
                stdout=subprocess.DEVNULL,
            )

        with connect() as mdird:
            paths = fill(mdird, folders, entries)
            begin = time.perf_counter()
            run()
            print(f"first sync: {time.perf_counter() - begin:.1f} s")
            print(f"nothing changed: {measured(run, lambda: None)}")
            run("--push")  # contents are compared once
            print(f"nothing changed, --push: {measured(lambda: run('--push'), lambda: None)}")

            def deliver() -> None:
                for each in paths[:: max(len(paths) // 10, 1)][:10]:
                    stored = mdird.store.add_file(b"x", media_type="a/b", suggested_name="x")
                    mdird.put(each, stored.headers()[0])

            def save() -> None:
                for number, each in enumerate(paths[:: max(len(paths) // 10, 1)][:10]):
                    place = Path(path, "home", each.removeprefix("Home/"))
                    place.joinpath(f"own {number} {time.time_ns()}").write_text("own")

            print(f"10 entries came: {measured(run, deliver)}")
            print(f"10 files were put, --push: {measured(lambda: run('--push'), save)}")


if __name__ == "__main__":
    main()
