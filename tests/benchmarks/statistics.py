"""What statistics cost: `python -m tests.benchmarks.statistics [--count N] [--place DIR]`.

Ten million recorded transactions of a hundred days (some 15 minutes): the size of the database,
daily and monthly reports. With `--receiving` in place of it (some 15 minutes): receiving speed with
recording and with a server that records nothing, in turns, as root (smtp-source of Postfix is the
client), and the processor's time that both servers took. The median of the ratios of all pairs
counts: one pair is as noisy as the machine.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import random
import statistics
import tempfile
import time
from datetime import timedelta
from pathlib import Path

import attrs

from mdirclient.smtp.state import State
from mdirclient.smtp.statistics.archive import Archive, View
from mdirclient.smtp.statistics.figures import date_of, day_of, month_of
from mdirclient.smtp.statistics.page import page_of
from mdirclient.smtp.statistics.totals import DAY
from tests.benchmarks.antispam import MAILS, in_turns
from tests.benchmarks.smtp import Ours, serving
from tests.traffic import MONTH, record

COUNT, DAYS, BATCH = 10_000_000, 100, 5_000
PAIRS = 101


def fill(state: State, archive: Archive, count: int) -> float:
    """Record so many; seconds that recording took."""
    source, took = random.Random(1), 0.0
    # Their texts are made once, and their networks and senders differ.
    usual = [record(source, 0.0, number) for number in range(BATCH)]
    for start in range(0, count, BATCH):
        first = MONTH + start / count * DAYS * DAY
        step = DAYS * DAY / count
        records = [
            attrs.evolve(
                one,
                at=first + place * step,
                client=f"{(start // BATCH * 7 + place) % 223 + 1}.{place % 250}.{start % 251}.7",
                # Strangers say what they like: a domain that nobody has heard of for each.
                reverse_path=one.user or f"a@{start + place}.test",
                anchor=one.anchor and f"mdir:{start + place}@example.test/1",
            )
            for place, one in enumerate(usual)
        ]
        begin = time.perf_counter()
        state.add(records)
        took += time.perf_counter() - begin
        if start % (count // DAYS) < BATCH:  # what a server does every day
            state.forget(first - 90 * DAY)
            archive.fold(int(first) // DAY)
    state.forget(0.0)
    return took


_WITHOUT = (
    "import sys\n"
    "from mdirclient.cli.smtp import main\n"
    "from mdirclient.smtp.serve.server import Server\n"
    "Server.record = lambda server, record: server._tell(record)\n"
    "sys.exit(main(sys.argv[1:]))\n"
)


def _used(server: Ours) -> float:
    """Seconds of the processor that a server has taken (proc(5), `utime` and `stime`)."""
    fields = Path(f"/proc/{server.smtp.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def receiving(place: Path) -> None:
    """Print mails a second of both, and their ratio: the median of that of each pair."""
    with contextlib.ExitStack() as stack:
        servers = {}
        programs = {"with": ("-m", "mdirclient.cli.smtp"), "without": ("-c", _WITHOUT)}
        for name, program in programs.items():
            (place / name).mkdir()
            servers[name] = stack.enter_context(serving(place / name, program=program))
        for size, count in MAILS.items():
            before = {name: _used(server) for name, server in servers.items()}
            found = in_turns(servers, size, count, PAIRS)
            ratios = [a / b for a, b in zip(found["with"], found["without"], strict=True)]
            low, middle, high = statistics.quantiles(ratios, n=4)
            for name, rates in found.items():
                used = (_used(servers[name]) - before[name]) / count / (PAIRS + 1) * 1e6
                print(f"{size:,} bytes, {name}: {statistics.median(rates):.0f}/s, {used:.0f} µs")
            print(f"{size:,} bytes: {middle:.3f} (quartiles {low:.2f} and {high:.2f})", flush=True)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--place")
    parser.add_argument("--receiving", action="store_true")
    arguments = parser.parse_args()
    if arguments.receiving:
        with tempfile.TemporaryDirectory(dir=arguments.place) as place:
            receiving(Path(place))
        return
    view = View("mx.test", lambda network: network, "network", "full")
    with tempfile.TemporaryDirectory(dir=arguments.place) as place:
        path = f"{place}/smtp.sqlite3"
        state, archive = State(path), Archive(path)
        took = fill(state, archive, arguments.count)
        last = date_of(MONTH + (DAYS - 1) * DAY)  # as it is when its report is made: not folded
        size = sum(os.path.getsize(f"{place}/{name}") for name in os.listdir(place))
        print(f"Python {platform.python_version()}, {arguments.count:,} transactions")
        print(f"recorded: {took / arguments.count * 1e6:.1f} µs each; database {size >> 20} MiB")
        for period in (day_of(last), day_of(last - timedelta(days=1)), month_of(last)):
            begin = time.perf_counter()
            page = page_of(archive.figures(period, view))
            print(f"{period.name}: {time.perf_counter() - begin:.2f} s, {len(page) >> 10} KiB")
        state.close()
        archive.close()


if __name__ == "__main__":
    main()
