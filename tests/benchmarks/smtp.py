"""The SMTP server beside Postfix and aiosmtpd, in one run; one command for the whole table.

    .venv/bin/python -m tests.benchmarks.smtp [--quick] [--place DIR]

Takes some 5 minutes, and needs root and Postfix (its `smtp-source` is the client of all three). A
mail of ours counts when it is durable, taken apart and in the mdird, one of Postfix when it is in
its Maildir, one of aiosmtpd when its Mailbox handler has written it. The three take turns; figures
are medians. All share two cores with the client.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import resource
import shutil
import smtplib
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from mdirclient import connect
from mdirclient.smtp.accounts import add_account
from tests.places import PLACES
from tests.ports import free_port
from tests.postfixed import Postfix, postfix

ACCOUNT = "mail@postfix.test"
#: Bytes of a mail → mails of a run.
SIZES = {4_000: 500, 100_000: 200, 5_000_000: 40}
SESSIONS = (1, 10, 50)
REPEATS = 3
_AIOSMTPD = (
    "import asyncio, sys\n"
    "from aiosmtpd.controller import Controller\n"
    "from aiosmtpd.handlers import Mailbox\n"
    "controller = Controller(Mailbox(sys.argv[1]), hostname='127.0.0.1', port=int(sys.argv[2]))\n"
    "controller.start()\n"
    "sys.stdin.read()\n"
)


class Ours:
    """Both servers as processes.

    Args:
        place: an empty directory.
        options: of `mdir-smtp serve`.
        program: what Python is told to run.
    """

    def __init__(
        self, place: Path, *options: str, program: Sequence[str] = ("-m", "mdirclient.cli.smtp")
    ) -> None:
        self.place = place
        self.port = free_port()
        url = f"file://{place}/mdir"
        with connect(url) as mdird:
            add_account(mdird, PLACES, ACCOUNT)
        environ = os.environ | {
            "MDIRD": f"unix://{place}/socket",
            "MDIR_STORE": f"{url}/store",
            "MDIR_SMTP_STATE": f"{place}/smtp.sqlite3",
            "MDIR_SMTP_HOSTNAME": "mx.test",
        }
        own = os.environ | {"MDIRD": url}
        module = [sys.executable, "-m"]
        with (place / "log").open("wb") as log:
            self.mdird = subprocess.Popen(
                [*module, "mdirclient.cli.mdird", "serve", "--listen", f"unix:{place}/socket"],
                env=own, stderr=log,
            )  # fmt: skip
            self.smtp = subprocess.Popen(
                [sys.executable, *program, "serve", "--no-tls", *options,
                 "--listen", f"smtp://127.0.0.1:{self.port}"],
                env=environ, stderr=log,
            )  # fmt: skip
        until(lambda: greets(self.port))

    def count(self) -> int:
        """Mails in the mdird."""
        with connect(f"file://{self.place}/mdir", create=False) as mdird:
            return sum("part" in one for one in mdird.lookup(f"SMTP/Accounts/{ACCOUNT}"))

    def stop(self) -> None:
        """End both."""
        for process in (self.smtp, self.mdird):
            process.terminate()
            process.wait(60)


@contextlib.contextmanager
def serving(
    place: Path, *options: str, program: Sequence[str] = ("-m", "mdirclient.cli.smtp")
) -> Iterator[Ours]:
    """Ours, with one mail in it."""
    ours = Ours(place, *options, program=program)
    try:
        with smtplib.SMTP("127.0.0.1", ours.port, "x") as client:
            client.sendmail("a@b.test", [ACCOUNT], b"warm\r\n")
        yield ours
    finally:
        ours.stop()


def until(is_so: Callable[[], bool], timeout: float = 60) -> None:
    """Wait for something."""
    deadline = time.monotonic() + timeout
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.02)


def greets(port: int) -> bool:
    """Whether a server is there."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as sock:
        return sock.recv(10).startswith(b"220")
    return False


def send(port: int, sessions: int, count: int, size: int) -> None:
    """Send mails by smtp-source, each in a connection of its own, as it does by default."""
    command = shutil.which("smtp-source", path="/usr/sbin:/usr/bin")
    assert command
    subprocess.run(
        [command, "-s", str(sessions), "-m", str(count), "-l", str(size), "-f", "a@b.test",
         "-t", ACCOUNT, f"127.0.0.1:{port}"],
        check=True,
    )  # fmt: skip


def rate_of_ours(ours: Ours, sessions: int, count: int, size: int) -> float:
    """Mails a second; all are in the mdird when smtp-source ends."""
    begin = time.perf_counter()
    send(ours.port, sessions, count, size)
    return count / (time.perf_counter() - begin)


def rate_of_postfix(server: Postfix, sessions: int, count: int, size: int) -> float:
    """Mails a second, to the last one in the Maildir."""
    new = server.path / "mail" / "mail" / "new"
    before = len(os.listdir(new)) if new.is_dir() else 0
    begin = time.perf_counter()
    send(server.port, sessions, count, size)
    until(lambda: new.is_dir() and len(os.listdir(new)) - before >= count, 300)
    return count / (time.perf_counter() - begin)


@contextlib.contextmanager
def aiosmtpd(place: Path) -> Iterator[int]:
    """Its port."""
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-c", _AIOSMTPD, str(place / "maildir"), str(port)],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        until(lambda: greets(port))
        yield port
        process.kill()


def rates(place: Path, *, quick: bool) -> Iterator[tuple[str, dict[str, float]]]:
    """For each size and number of sessions the medians of the three."""
    for size, ordinary in SIZES.items():
        count = ordinary // 10 if quick else ordinary
        for sessions in SESSIONS:
            found: dict[str, list[float]] = {"ours": [], "postfix": [], "aiosmtpd": []}
            work = place / f"{size}-{sessions}"
            work.mkdir()
            with (
                serving(work) as ours,
                postfix(work / "postfix") as server,
                aiosmtpd(work) as other,
            ):
                send(server.port, 1, 5, 1000)
                for _ in range(1 if quick else REPEATS):
                    found["ours"].append(rate_of_ours(ours, sessions, count, size))
                    found["postfix"].append(rate_of_postfix(server, sessions, count, size))
                    begin = time.perf_counter()
                    send(other, sessions, count, size)
                    found["aiosmtpd"].append(count / (time.perf_counter() - begin))
                assert ours.count() == 1 + count * (1 if quick else REPEATS)
            shutil.rmtree(work)
            yield (
                f"{size:,} bytes, {sessions} sessions",
                {name: statistics.median(values) for name, values in found.items()},
            )


def memory(process: int) -> int:
    """Bytes that a process has in memory."""
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def idle(place: Path, count: int) -> float:
    """KiB of each of many connections that only said EHLO."""
    with serving(place, "--connections", str(count + 10)) as ours:
        return _idle(ours, count)


def _idle(ours: Ours, count: int) -> float:
    before = memory(ours.smtp.pid)
    held = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", ours.port), 30)
        sock.recv(100)
        sock.sendall(b"EHLO x\r\n")
        assert sock.recv(1000).startswith(b"250")
        held.append(sock)
    each = (memory(ours.smtp.pid) - before) / count / 1024
    for sock in held:
        sock.close()
    return each


def large(place: Path, count: int, size: int) -> tuple[float, float, float]:
    """Many large mails at once: p99 and most of the time of a NOOP in ms, growth in MiB."""
    with serving(place, "--size", str(2 * size)) as ours:
        return _large(ours, count, size)


def _large(ours: Ours, count: int, size: int) -> tuple[float, float, float]:
    before, most = memory(ours.smtp.pid), 0
    sending = threading.Thread(target=send, args=(ours.port, count, count, size))
    stalls: list[float] = []
    sock = socket.create_connection(("127.0.0.1", ours.port), 30)
    sock.recv(100)
    sending.start()
    said = 0
    while sending.is_alive():
        if said == 90:  # before it is too many
            sock.close()
            sock, said = socket.create_connection(("127.0.0.1", ours.port), 30), 0
            sock.recv(100)
        begin = time.perf_counter()
        sock.sendall(b"NOOP\r\n")
        sock.recv(100)
        stalls.append((time.perf_counter() - begin) * 1000)
        said += 1
        most = max(most, memory(ours.smtp.pid))
        time.sleep(0.002)
    sock.close()
    stalls.sort()
    return stalls[int(len(stalls) * 0.99)], stalls[-1], (most - before) / (1 << 20)


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--place")
    parser.add_argument("--load", action="store_true", help="only the idle and the large ones")
    words = parser.parse_args()
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    postconf = ["/usr/sbin/postconf", "-h", "mail_version"]
    postfixes = subprocess.run(postconf, capture_output=True, text=True).stdout.strip()
    print(
        f"Python {platform.python_version()}, Postfix {postfixes}, aiosmtpd {version('aiosmtpd')},"
        f" Linux {platform.release()}, {os.cpu_count()} cores"
    )
    place = Path(tempfile.mkdtemp(prefix="smtp-", dir=words.place or "/tmp"))
    place.chmod(0o755)
    try:
        for name, row in () if words.load else rates(place, quick=words.quick):
            ours = row["ours"]
            figures = [f"{value:.0f}" for value in row.values()]
            figures += [f"{ours / row[peer]:.2f}" for peer in ("postfix", "aiosmtpd")]
            print(f"| {name} | {' | '.join(figures)} |", flush=True)
        for name in ("idle", "large"):
            (place / name).mkdir()
        count = 1_000 if words.quick else 10_000
        print(
            f"| {count:,} idle connections | {idle(place / 'idle', count):.1f} KiB each |",
            flush=True,
        )
        size = (5 if words.quick else 50) << 20
        p99, worst, growth = large(place / "large", 8, size)
        print(f"| 8 mails of {size >> 20} MiB at once | NOOP p99 {p99:.1f} ms, most {worst:.1f} ms,"
              f" memory +{growth:.0f} MiB |")  # fmt: skip
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
