"""mdird under load, beside raw SQLite in the same run; one command for the whole table.

    .venv/bin/python -m tests.benchmarks.mdird [--quick] [--place DIR]

Takes some 2 minutes. The server is a process of its own; the clients are in this one, so that both
share two cores. Figures are medians of several runs.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import resource
import shutil
import sqlite3
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from mdirclient import _sqlite, connect, make_folder
from mdirclient.mdird.schema import MIGRATIONS
from mdirclient.mdird.users import add_user
from mdirclient.protocol.address import parse_address
from tests.benchmarks.folder import header

CONNECTIONS = 16
SUBSCRIBERS = 1000
REPEATS = 5

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Work = Callable[[Stream, list[bytes]], Coroutine[None, None, None]]
Open = Callable[[], Coroutine[None, None, Stream]]


@contextmanager
def serving(place: Path) -> Iterator[tuple[int, str]]:
    """A server with the folder A; its process, and the address of its port without a user."""
    url = f"file://{place}/mdir"
    with connect(url) as mdird:
        make_folder(mdird, "A")
    process = subprocess.Popen(
        [sys.executable, "-m", "mdirclient.cli.mdird", "serve", "--listen",
         f"unix:{place}/socket,tcp://127.0.0.1:0"],
        env={**os.environ, "MDIRD": url},
        stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        assert process.stderr
        pin = process.stderr.readline().split("fingerprint=sha256:")[1].strip()
        process.stderr.readline()
        port = process.stderr.readline().rpartition(":")[2].strip()
        yield process.pid, f"127.0.0.1:{port}?fingerprint={pin}"
    finally:
        process.terminate()
        process.communicate(timeout=60)


def put(number: int) -> bytes:
    """A request with an ordinary header."""
    return b"1 PUT A\n" + header(number, f"report {number}.pdf").to_bytes() + b"\n"


async def opened(place: Path) -> Stream:
    """A connection to the socket."""
    return await asyncio.open_unix_connection(f"{place}/socket")


async def _waiting(stream: Stream, requests: list[bytes]) -> None:
    reader, writer = stream
    for request in requests:
        writer.write(request)
        line = await reader.readline()
        assert b" 200 " in line, line


async def _pipelining(stream: Stream, requests: list[bytes]) -> None:
    reader, writer = stream
    writer.write(b"".join(requests))
    for _ in requests:
        line = await reader.readline()
        assert b" 200 " in line, line


async def rate(place: Path, first: int, each: int, work: Work) -> float:
    """PUT a second, with all connections at once."""
    streams = [await opened(place) for _ in range(CONNECTIONS)]
    requests = [
        [put(first + client * each + number) for number in range(each)]
        for client in range(CONNECTIONS)
    ]
    begin = time.perf_counter()
    await asyncio.gather(*map(work, streams, requests))
    taken = time.perf_counter() - begin
    for _, writer in streams:
        writer.close()
    return CONNECTIONS * each / taken


def raw_rate(place: Path, count: int) -> tuple[float, list[float]]:
    """Rows a second in batches of 16 with the same tables, and the seconds of each batch."""
    times: list[float] = []
    path = place / f"raw-{time.monotonic_ns()}.sqlite3"
    rows = [
        (item["url"], number + 1, item.to_bytes())
        for number, item in ((n, header(n, f"report {n}.pdf")) for n in range(count))
    ]
    with closing(_sqlite.connect(str(path), MIGRATIONS, timeout=5, create=True)) as connection:
        for first in range(0, count, CONNECTIONS):
            begin = time.perf_counter()
            with _sqlite.transaction(connection):
                for url, version, data in rows[first : first + CONNECTIONS]:
                    connection.execute(
                        "INSERT INTO entry VALUES (1, ?, ?, 1, '', NULL, NULL, ?)",
                        (url, version, data),
                    )
            times.append(time.perf_counter() - begin)
    return count / sum(times), times


def raw_commits(place: Path, count: int) -> list[float]:
    """Seconds of durable commits of one row, at the pace of the measurement beside it."""
    path = place / f"raw-{time.monotonic_ns()}.sqlite3"
    times: list[float] = []
    with closing(_sqlite.connect(str(path), MIGRATIONS, timeout=5, create=True)) as connection:
        for number in range(count):
            data = header(number, "report.pdf").to_bytes()
            begin = time.perf_counter()
            with _sqlite.transaction(connection):
                connection.execute(
                    "INSERT INTO entry VALUES (1, ?, ?, 1, '', NULL, NULL, ?)",
                    (f"mdir:{number}@x/1", number + 1, data),
                )
            times.append(time.perf_counter() - begin)
    return times


async def latencies(place: Path, first: int, count: int) -> list[float]:
    """Seconds from a PUT on one connection to the whole PATCH at another."""
    follower, follower_writer = await opened(place)
    follower_writer.write(b"1 SUB A 0\n")
    while not (await follower.readline()).startswith(b"NOW"):
        pass
    reader, writer = await opened(place)
    times: list[float] = []
    for number in range(first, first + count):
        request = put(number)
        begin = time.perf_counter()
        writer.write(request)
        while not (await follower.readline()).startswith(b"NOW"):
            pass
        times.append(time.perf_counter() - begin)
        await reader.readline()
    for one in (writer, follower_writer):
        one.close()
    return times


class _Follower(asyncio.Protocol):
    """Counts what it needs only: a thousand of these must not be what is measured."""

    def __init__(self, arrived: Callable[[int], None]) -> None:
        self._arrived = arrived
        self._tail = b""

    def data_received(self, data: bytes) -> None:
        """Each NOW is one change that has come whole."""
        self._tail = (self._tail + data)[-200:]
        last = self._tail.rpartition(b"\n")[0].rpartition(b"\n")[2]
        if last.startswith(b"NOW") and self._tail.endswith(b"\n"):
            self._tail = b""
            self._arrived(int(last.split()[2]))


async def fan_out(place: Path, first: int, runs: int) -> list[float]:
    """Seconds from a PUT until a thousand subscribers have it."""
    loop = asyncio.get_running_loop()
    left = SUBSCRIBERS
    complete = asyncio.Event()

    expected = 0

    def arrived(version: int) -> None:
        nonlocal left
        assert version == expected
        left -= 1
        if not left:
            complete.set()

    transports = []
    for _ in range(SUBSCRIBERS):
        transport, _ = await loop.create_unix_connection(
            lambda: _Follower(arrived), f"{place}/socket"
        )
        transport.write(b"1 SUB B 0\n")
        transports.append(transport)
    await complete.wait()
    reader, writer = await opened(place)
    times: list[float] = []
    for number in range(first, first + runs):
        left = SUBSCRIBERS
        expected += 1
        complete.clear()
        begin = time.perf_counter()
        writer.write(put(number).replace(b"PUT A", b"PUT B"))
        await complete.wait()
        times.append(time.perf_counter() - begin)
        await reader.readline()
    for transport in transports:
        transport.close()
    writer.close()
    return times


def memory(pid: int) -> int:
    """Bytes that a process has in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmRSS"))


async def idle(pid: int, count: int, connect_one: Open) -> float:
    """Bytes of the server for each connection that has asked something and waits."""
    for _ in range(20):  # what is made once
        await connect_one()
    before = memory(pid)
    streams = [await connect_one() for _ in range(count)]
    await asyncio.sleep(1)
    taken = (memory(pid) - before) / count
    for _, writer in streams:
        writer.close()
    return taken


async def plain_one(place: Path) -> Stream:
    """A subscriber on the socket."""
    reader, writer = await opened(place)
    writer.write(b"1 SUB C 0\n")
    while not (await reader.readline()).startswith(b"NOW"):
        pass
    return reader, writer


async def secured_one(url: str) -> Stream:
    """A subscriber by TLS."""
    address = parse_address(url)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(address.host, address.port, ssl=context)
    writer.write(f"1 AUTH {address.user} {address.token}\n2 SUB C 0\n".encode())
    while not (await reader.readline()).startswith(b"NOW"):
        pass
    return reader, writer


def percentile(times: list[float], share: float) -> float:
    """In milliseconds."""
    return sorted(times)[min(len(times) - 1, int(len(times) * share))] * 1000


def row(what: str, found: str, target: str) -> None:
    """One line of the table."""
    print(f"| {what} | {found} | {target} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    parser.add_argument("--place", default=None)
    arguments = parser.parse_args()
    scale = 10 if arguments.quick else 1
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    place = Path(tempfile.mkdtemp(dir=arguments.place))
    print(
        f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.release()}"
    )
    try:
        with serving(place) as (pid, port):
            measure_memory(place, pid, port, scale)
        with serving(place):
            measure(place, scale)
    finally:
        shutil.rmtree(place)


def measure_memory(place: Path, pid: int, port: str, scale: int) -> None:
    """On a server that has not done anything else: memory that was used once is used again."""
    with connect(f"unix://{place}/socket") as mdird:
        make_folder(mdird, "C")
        token = add_user(mdird, "Users", "jo", rights=("read",))
    plain = asyncio.run(idle(pid, 1000 // scale, lambda: plain_one(place)))
    row("memory of an idle subscriber, plain", f"{plain / 1024:.1f} KB", "40 KB")
    url = f"mdird://jo:{token}@{port}"
    secured = asyncio.run(idle(pid, 300 // scale, lambda: secured_one(url)))
    row("… with TLS", f"{secured / 1024:.0f} KB", "350 KB")


def measure(place: Path, scale: int) -> None:
    """The work, on a server that runs."""
    with connect(f"unix://{place}/socket") as mdird:
        make_folder(mdird, "B")
    each = 500 // scale
    waited, raw, piped = [], [], []
    first = 0
    for _ in range(REPEATS):
        waited.append(asyncio.run(rate(place, first, each, _waiting)))
        raw.append(raw_rate(place, CONNECTIONS * each)[0])
        piped.append(asyncio.run(rate(place, first + 10**6, each, _pipelining)))
        first += CONNECTIONS * each
    shares = [100 * ours / theirs for ours, theirs in zip(waited, raw, strict=True)]
    row(
        "durable PUT a second, 16 connections that wait",
        f"{statistics.median(waited):.0f}",
        "2,000",
    )
    row("raw SQLite, batches of 16 inserts", f"{statistics.median(raw):.0f}", "")
    row("… share of it", f"{statistics.median(shares):.0f} %", "30 %")
    row("durable PUT a second, pipelined", f"{statistics.median(piped):.0f}", "more")
    commits = raw_commits(place, 2000 // scale)
    times = asyncio.run(latencies(place, 5 * 10**6, 2000 // scale))
    row("PUT to PATCH at another client, p50", f"{percentile(times, 0.5):.2f} ms", "3 ms")
    row("… p99", f"{percentile(times, 0.99):.2f} ms", "")
    row(
        "raw commit, p50 and p99",
        f"{percentile(commits, 0.5):.2f}, {percentile(commits, 0.99):.2f} ms",
        "",
    )
    row("… p99 above it", f"{percentile(times, 0.99) - percentile(commits, 0.99):.2f} ms", "10 ms")
    spread = asyncio.run(fan_out(place, 6 * 10**6, 50 // scale))
    row("1,000 subscribers served, p50", f"{percentile(spread, 0.5):.0f} ms", "")
    row("… slowest of all", f"{max(spread) * 1000:.0f} ms", "250 ms")


if __name__ == "__main__":
    main()
