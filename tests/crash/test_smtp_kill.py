"""The SMTP server and its mdird, killed under load: what was answered 250 is there exactly once."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import smtplib
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from mdirclient import connect
from mdirclient.mdird.check import check
from mdirclient.mdird.embedded import EmbeddedMdird
from mdirclient.mstore import DirectoryMstore
from mdirclient.smtp.accounts import add_account
from tests.places import PLACES
from tests.ports import free_port
from tests.system.commands import SCRIPTS

_SENDERS = 6
_SIZES = (100, 3_000, 60_000, 300_000)


class Pair:
    """Both servers as processes, started again whenever one was killed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = free_port()
        own = f'MDIRD = "file://{path}/mdir"\nMDIRD_LISTEN = "unix:{path}/socket"\n'
        (path / "mdird.toml").write_text(own)
        (path / "smtp.toml").write_text(
            f'MDIRD = "unix://{path}/socket"\nMDIR_STORE = "file://{path}/mdir/store"\n'
            f'MDIR_SMTP_LISTEN = "smtp://127.0.0.1:{self.port}"\n'
            f'MDIR_SMTP_STATE = "{path}/smtp.sqlite3"\n'
        )
        self.commands = {
            "mdird": [f"{SCRIPTS}/mdird", "serve", "--config", f"{path}/mdird.toml"],
            "smtp": [f"{SCRIPTS}/mdir-smtp", "serve", "--no-tls", "--config", f"{path}/smtp.toml"],
        }
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """Start one."""
        with (self.path / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(self.commands[name], stdout=log, stderr=log)
        self.processes[name] = process

    def kill(self, name: str) -> None:
        """Kill one, without notice."""
        self.processes[name].send_signal(signal.SIGKILL)
        self.processes[name].wait(20)

    def stop(self) -> None:
        """End both."""
        for process in self.processes.values():
            process.terminate()
            process.wait(60)


class Sender(threading.Thread):
    """Sends mails one after the other, each until it is answered 250."""

    def __init__(self, number: int, pair: Pair, ended: threading.Event) -> None:
        super().__init__()
        self.number = number
        self.taken: list[str] = []
        self.answers: Counter[int] = Counter()
        self._pair = pair
        self._ended = ended

    def run(self) -> None:
        """Until the test ends; then the last mail is still tried until it is taken."""
        count = 0
        while not self._ended.is_set():
            count += 1
            name = f"{self.number}.{count}@kill"
            size = _SIZES[count % len(_SIZES)]
            mail = f"Message-ID: <{name}>\r\n\r\n{'x' * 70}\r\n" + ("y" * 70 + "\r\n") * (
                size // 72
            )
            while not self._send(mail.encode()):
                time.sleep(0.01)
            self.taken.append(name)

    def _send(self, mail: bytes) -> bool:
        is_taken = False
        with (
            contextlib.suppress(OSError, smtplib.SMTPException),
            smtplib.SMTP("127.0.0.1", self._pair.port, "x", timeout=30) as client,
        ):
            client.ehlo()
            if client.mail("a@b.test")[0] != 250 or client.rcpt("jo@ours.test")[0] != 250:
                self.answers[451] += 1
                return False
            code = client.data(mail)[0]
            self.answers[code] += 1
            assert code in (250, 451)
            # It counts from this moment, whatever becomes of the farewell.
            is_taken = code == 250
        return is_taken


def _is_up(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1) as sock:
        sock.settimeout(2)
        return sock.recv(10).startswith(b"220")
    return False


def _wait(until: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not until():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@contextlib.contextmanager
def _pair(path: Path) -> Iterator[Pair]:
    with connect(f"file://{path}/mdir") as mdird:
        add_account(mdird, PLACES, "jo@ours.test")
    pair = Pair(path)
    try:
        pair.start("mdird")
        pair.start("smtp")
        yield pair
    finally:
        pair.stop()


def _taken(senders: list[Sender]) -> int:
    return sum(len(sender.taken) for sender in senders)


def _has_more(senders: list[Sender], before: int) -> bool:
    return _taken(senders) > before


def kill_under_load(path: Path, rounds: int) -> None:
    """Kill one of them again and again; then look at everything."""
    chance = random.Random()
    ended = threading.Event()
    with _pair(path) as pair:
        _wait(lambda: _is_up(pair.port))
        senders = [Sender(number, pair, ended) for number in range(_SENDERS)]
        for sender in senders:
            sender.start()
        try:
            for _ in range(rounds):
                before = _taken(senders)
                time.sleep(chance.random() * 0.3)
                name = chance.choice(("smtp", "mdird"))
                pair.kill(name)
                pair.start(name)
                # The next one is killed when mails are taken again.
                _wait(partial(_has_more, senders, before))
        finally:
            ended.set()
            for sender in senders:
                sender.join(120)
        assert not any(sender.is_alive() for sender in senders)
    taken = [name for sender in senders for name in sender.taken]
    store = DirectoryMstore(path / "mdir" / "store", create=False)
    with EmbeddedMdird(path / "mdir", store, create=False) as mdird:
        found = Counter(
            header["url"]
            for header in mdird.lookup("SMTP/Accounts/jo@ours.test")
            if "part" in header
        )
        assert Counter(f"mdir:{name}/1" for name in taken) == found
        assert () == tuple(check(mdird, store))
    for name in taken:
        with store.open(f"mdir:{name}/0") as file:
            assert file.read().startswith(f"Message-ID: <{name}>\r\n".encode())
    answers = sum((sender.answers for sender in senders), Counter())
    print(f"\n{rounds} rounds, {len(taken)} mails, answers {dict(answers)}")


def test_mdird_away(tmp_path: Path) -> None:
    """From an old list nobody is told that there is no such account: 451, until it is back."""

    def answers() -> list[int]:
        with smtplib.SMTP("127.0.0.1", pair.port, "x", timeout=30) as client:
            client.ehlo()
            client.mail("a@b.test")
            recipients = ("jo@ours.test", "nobody@ours.test", "x@other.test")
            return [client.rcpt(address)[0] for address in recipients]

    with _pair(tmp_path) as pair:
        _wait(lambda: _is_up(pair.port))
        _wait(lambda: answers() == [250, 550, 550])
        pair.kill("mdird")
        _wait(lambda: answers() == [451, 451, 451])
        pair.start("mdird")
        _wait(lambda: answers() == [250, 550, 550])


def test_killed_under_load(tmp_path: Path) -> None:
    """A few rounds."""
    kill_under_load(tmp_path, 6)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_killed_a_thousand_times(tmp_path: Path) -> None:
    """A thousand; `MDIR_TEST_ROUNDS` says another number."""
    kill_under_load(tmp_path, int(os.environ.get("MDIR_TEST_ROUNDS", "1000")))
