"""What keeping spam out costs: `python -m tests.benchmarks.antispam [--quick] [--place DIR]`.

Receiving speed with blocking and greylisting on and off, in turns, as root (smtp-source of Postfix
is the client); one decision with a million keys; the two processes share two cores with the client.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from mdirclient.smtp.antispam.blocking import Blocking, Visit
from mdirclient.smtp.antispam.blocks import Blocks
from mdirclient.smtp.antispam.greys import Grey, Greys, Key
from mdirclient.smtp.serve.limits import Limits
from tests.benchmarks.smtp import ACCOUNT, Ours, rate_of_ours, serving
from tests.unit.test_greylisting import World

MAILS = {4_000: 1_000, 100_000: 300}
SESSIONS = 10
PAIRS = 9
KEYS = 1_000_000
ASKED = 20_000
ALL = ("--early", "0", "--allow", "192.0.2.1/32")
#: How a server is run → what it knows of its client.
WAYS = {
    "off": (("--grey-for", "0", "--block-for", "0"), ""),
    "network known": ((), "INSERT INTO known VALUES ('127.0.0.0/24', 9, {now})"),
    "key known": (
        (),
        "INSERT INTO grey VALUES ('127.0.0.0/24', 'a@b.test', '{account}', {now}, {now}, 1, '')",
    ),
}


def receiving(place: Path, *, quick: bool) -> Iterator[tuple[int, str, list[float]]]:
    """Size, way, and mails a second of each run."""
    with contextlib.ExitStack() as stack:
        servers = {}
        for name, (options, row) in WAYS.items():
            directory = place / name.replace(" ", "-")
            directory.mkdir()
            with contextlib.closing(Greys(f"{directory}/smtp.sqlite3")) as greys:
                if row:
                    with greys.transaction() as connection:
                        connection.execute(row.format(now=time.time(), account=ACCOUNT))
            servers[name] = stack.enter_context(serving(directory, *ALL, *options))
        for size, count in MAILS.items():
            found = in_turns(servers, size, count // (4 if quick else 1), 2 if quick else PAIRS)
            yield from ((size, name, rates) for name, rates in found.items())


def in_turns(servers: dict[str, Ours], size: int, count: int, pairs: int) -> dict[str, list[float]]:
    """Server → its rates; the first runs warm up."""
    found: dict[str, list[float]] = {name: [] for name in servers}
    for number in range(pairs + 1):
        names = list(servers) if number % 2 else list(reversed(servers))
        for name in names:
            rate = rate_of_ours(servers[name], SESSIONS, count, size)
            if number:  # the first ones warm up
                found[name].append(rate)
    return found


def _key(number: int) -> Key:
    network = f"{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}.0/24"
    return Key(network, f"sender{number}@example{number % 1_000}.test", f"{number % 100}@ours.test")


async def deciding(path: str) -> list[float]:
    """Seconds of each decision with so many keys, half of them let in, a third of them unknown."""
    greys, now = Greys(path), time.time()
    for start in range(0, KEYS, 10_000):
        numbers = range(start, start + 10_000)
        greys.put({_key(one): Grey(now - 400, now - 400, one % 2 == 0) for one in numbers}, {})
    greys.close()
    world = World(path)
    world.now = now
    source, seconds = random.Random(1), []
    for number in range(ASKED):
        key = _key(source.randrange(KEYS * 3 // 2))
        note = world.note(key.source.replace(".0/24", ".7"), key.sender)
        begin = time.perf_counter()
        world.greylisting.judge(note, key.recipient)
        seconds.append(time.perf_counter() - begin)
        if number % 100 == 0:
            await asyncio.sleep(0.01)  # what is new is written meanwhile
    await world.greylisting.close()
    return seconds


def blocked(path: str) -> list[float]:
    """The same of blocking, with as many networks."""
    blocks, now = Blocks(path), time.time()
    blocking = Blocking(blocks, Limits(), lambda *_, **__: None, now=lambda: now)
    names = [f"{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}.7" for n in range(KEYS)]
    for start in range(0, KEYS, 10_000):
        missed = {"a@x": now, "b@x": now, "c@x": now}
        blocking.judge(Visit(name, dict(missed)) for name in names[start : start + 10_000])
    source, seconds = random.Random(1), []
    for _ in range(ASKED):
        name = source.choice(names)
        begin = time.perf_counter()
        blocking.is_blocked(name)
        seconds.append(time.perf_counter() - begin)
    blocks.close()
    return seconds


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--place")
    arguments = parser.parse_args()
    print(f"Python {platform.python_version()}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory(dir=arguments.place) as place:
        rates: dict[int, dict[str, list[float]]] = {}
        for size, name, found in receiving(Path(place), quick=arguments.quick):
            rates.setdefault(size, {})[name] = found
        for size, by_way in rates.items():
            for name, found in by_way.items():
                ratios = [one / base for one, base in zip(found, by_way["off"], strict=True)]
                print(
                    f"{size:,} bytes, {name}: {statistics.median(found):.0f} mails/s,"
                    f" {statistics.median(ratios):.3f} of off"
                )
        print(f"{KEYS:,} keys:")
        greylisting = asyncio.run(deciding(f"{place}/greys.sqlite3"))
        for name, seconds in (("greylisting", greylisting), ("blocking", blocked(f"{place}/b"))):
            ordered = sorted(seconds)
            p50, p99 = (ordered[int(len(ordered) * share)] * 1e6 for share in (0.5, 0.99))
            print(f"{name}: p50 {p50:.0f} µs, p99 {p99:.0f} µs, most {ordered[-1] * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
