"""Delivery by LMTP and by a program, beside Dovecot's, in one run; one command for the tables.

    .venv/bin/python -m tests.benchmarks.mta [--quick] [--programs]

Takes some 5 minutes, and needs root, Dovecot (dovecot-lmtpd) and Postfix, whose smtp-source speaks
to both LMTP servers on their Unix sockets: some sessions, each with mails one after the other. A
mail of ours counts when it is durable, taken apart and in the mdird; one of Dovecot when it is
durable in its Maildir (mail_fsync=always). The two take turns, figures are medians. By a program:
whole processes, and the same called by Postfix's pipe(8), one after the other.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import smtplib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.daemons import JO, Daemons, daemons
from tests.dovecot import USER, Dovecot, dovecot
from tests.mounted import SENDER, Mta
from tests.postfixed import enclosed_postfix
from tests.smtped import eventually

#: Bytes of a mail → mails of a run.
SIZES = {4_000: 600, 100_000: 200}
SESSIONS = (1, 4, 10)
REPEATS = 3
PROCESSES = 40


def mail(name: str, size: int) -> bytes:
    """One of its own."""
    line = b"y" * 70 + b"\r\n"
    return f"Message-ID: <{name}>\r\nSubject: x\r\n\r\n".encode() + line * (size // 72)


def rate(path: Path, to: str, *, count: int, size: int, sessions: int) -> float:
    """Mails a second."""
    command = shutil.which("smtp-source", path="/usr/sbin:/usr/bin")
    assert command
    begin = time.perf_counter()
    subprocess.run(
        [command, "-d", "-L", "-s", str(sessions), "-m", str(count), "-l", str(size),
         "-f", SENDER, "-t", to, f"unix:{path}"],
        check=True,
    )  # fmt: skip
    return count / (time.perf_counter() - begin)


def lmtp(both: Daemons, peer: Dovecot, *, quick: bool) -> Iterator[str]:
    """A line for each size and number of sessions."""
    rate(both.socket, JO, count=20, size=1000, sessions=2)
    rate(peer.socket, USER, count=20, size=1000, sessions=2)
    for size, ordinary in SIZES.items():
        count = ordinary // 10 if quick else ordinary
        for sessions in SESSIONS:
            ours, other = [], []
            for _ in range(1 if quick else REPEATS):
                ours.append(rate(both.socket, JO, count=count, size=size, sessions=sessions))
                other.append(rate(peer.socket, USER, count=count, size=size, sessions=sessions))
            mine, its = statistics.median(ours), statistics.median(other)
            name = f"{size:,} bytes, {sessions} sessions"
            yield f"| {name} | {mine:.0f} | {its:.0f} | {mine / its:.2f} |"


def process(words: list[str], size: int, environ: dict[str, str]) -> float:
    """Milliseconds of a whole process that delivers a mail of its own."""
    data = mail(f"{os.urandom(6).hex()}@bench", size).replace(b"\r\n", b"\n")
    begin = time.perf_counter()
    done = subprocess.run(words, input=data, env=environ, capture_output=True)
    took = (time.perf_counter() - begin) * 1000
    assert done.returncode == 0, done
    return took


def installed(path: Path) -> Path:
    """The package as pip installs it, not editable; its directory of programs."""
    subprocess.run([sys.executable, "-m", "venv", path], check=True)
    checkout = Path(__file__).resolve().parents[2]
    subprocess.run(
        [path / "bin" / "python", "-m", "pip", "-q", "install", f"{checkout}[smtp,server,http]"],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return path / "bin"


def programs(both: Daemons, peer: Dovecot, programs: Path, *, quick: bool) -> Iterator[str]:
    """A line for the hand-over, and one for direct delivery."""
    deliver = [str(programs / "mdir-deliver"), "--config", str(both.config)]
    address = ["--sender", SENDER, "--recipient", JO]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(both.path)}
    ways: dict[str, Callable[[], float]] = {
        "dovecot-lda": lambda: process(peer.lda(sender=SENDER), 4000, environ),
        "hand-over": lambda: process(
            [*deliver, "--socket", str(both.socket), *address], 4000, environ
        ),
        "direct": lambda: process([*deliver, *address], 4000, environ),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(2 + (5 if quick else PROCESSES)):
        for name, run in ways.items():
            took = run()
            if number >= 2:
                times[name].append(took)
    for name in ("hand-over", "direct"):
        ratio = statistics.median(
            mine / its for mine, its in zip(times[name], times["dovecot-lda"], strict=True)
        )
        mine, its = statistics.median(times[name]), statistics.median(times["dovecot-lda"])
        yield f"| {name}, whole process | {mine:.1f} ms | {its:.1f} ms | {ratio:.2f} |"


def piped(mta: Mta, domain: str, count: int) -> float:
    """Milliseconds of a mail from SMTP to its end, one delivery at a time."""
    pattern = rf"to=<mail@{domain}>.*status=sent"
    before = len(re.findall(pattern, mta.log))
    begin = time.perf_counter()
    with smtplib.SMTP("127.0.0.1", mta.port, "client.test") as client:
        for number in range(count):
            data = mail(f"{number}.{os.urandom(4).hex()}", 4000)
            client.sendmail(SENDER, [f"mail@{domain}"], data)
    mta.logged(pattern, before + count, timeout=120)
    return (time.perf_counter() - begin) * 1000 / count


@contextmanager
def postfix(path: Path, ways: dict[str, list[str]]) -> Iterator[Mta]:
    """A Postfix with a pipe for each way, each the transport of a domain; one at a time."""
    services = "\n".join(
        f"{name} unix - n n - 1 pipe\n  user={'mail' if name == 'lda' else 'mdir'}\n"
        f"  argv={' '.join(words)}"
        for name, words in ways.items()
    )
    table = path / "transport"
    path.mkdir()
    table.write_text("".join(f"{name}.test {name}\n" for name in ways))
    settings = {f"{name}_destination_recipient_limit": "1" for name in ways}
    with enclosed_postfix(
        path / "mta", services=services, relay_domains=" ".join(f"{name}.test" for name in ways),
        transport_maps=f"texthash:{table}", **settings,
    ) as server:  # fmt: skip
        yield server


def by_postfix(
    place: Path, both: Daemons, peer: Dovecot, programs: Path, *, quick: bool
) -> Iterator[str]:
    """The same as `programs`, called by Postfix."""
    deliver = [str(programs / "mdir-deliver"), "--config", str(both.config)]
    address = ["--sender", "${sender}", "--recipient", JO]
    ways = {
        "lda": peer.lda(sender=SENDER),
        "handover": [*deliver, "--socket", str(both.socket), *address],
        "direct": [*deliver, *address],
    }
    with postfix(place / "postfix", ways) as mta:
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(1 if quick else REPEATS):
            for name in ways:
                times[name].append(piped(mta, f"{name}.test", 5 if quick else 30))
    its = statistics.median(times["lda"])
    for name in ("handover", "direct"):
        mine = statistics.median(times[name])
        yield f"| {name}, by pipe(8) | {mine:.1f} ms | {its:.1f} ms | {mine / its:.2f} |"


def main() -> None:
    """Run all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--programs", action="store_true", help="not the LMTP servers")
    words = parser.parse_args()
    quick = words.quick
    version = subprocess.run(["dovecot", "--version"], capture_output=True, text=True).stdout
    print(
        f"Python {platform.python_version()}, Dovecot {version.split()[0]},"
        f" Linux {platform.release()}, {os.cpu_count()} cores"
    )
    place = Path(tempfile.mkdtemp(prefix="mta-", dir="/tmp"))
    place.chmod(0o755)
    try:
        bin_ = installed(place / "venv")
        with daemons(place / "w", "mdird", "lmtp") as both, dovecot(place / "d") as peer:
            eventually(both.socket.exists, 30)
            (peer.path / "log").chmod(0o666)  # lda writes it as another user, when Postfix calls it
            for line in () if words.programs else lmtp(both, peer, quick=quick):
                print(line, flush=True)
            for line in programs(both, peer, bin_, quick=quick):
                print(line, flush=True)
            for line in by_postfix(place, both, peer, bin_, quick=quick):
                print(line, flush=True)
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    main()
