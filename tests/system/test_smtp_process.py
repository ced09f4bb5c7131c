"""`mdir-smtp serve` as a process: where it listens, how it waits, reloads and ends."""

from __future__ import annotations

import json
import os
import resource
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mdirclient.service.listen import Place, listen
from mdirclient.service.tls import own_certificate
from tests.mails import small
from tests.smtped import trusting
from tests.system.commands import SCRIPTS, World

JO = "jo@machin.com"


class Daemon:
    """A running `mdir-smtp serve --json`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.events: list[dict[str, object]] = []

    def event(self, name: str) -> dict[str, object]:
        """Wait until it logs something."""
        assert self.process.stderr
        for event in self.events:
            if event["event"] == name:
                return event
        for line in self.process.stderr:
            self.events.append(json.loads(line))
            if self.events[-1]["event"] == name:
                return self.events[-1]
        raise AssertionError(f"no {name}: {self.events}")

    def port(self, kind: str = "smtp") -> int:
        """Where it listens."""
        while not (found := [e for e in self.events if e.get("kind") == kind]):
            assert self.process.stderr
            self.events.append(json.loads(self.process.stderr.readline()))
        return int(str(found[0]["address"]).rpartition(":")[2])

    def stop(self) -> list[dict[str, object]]:
        """End it; what it logged."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=60)
        assert 0 == self.process.returncode, errors
        self.events += [json.loads(line) for line in errors.splitlines()]
        return self.events


@contextmanager
def daemon(
    world: World, *words: str, before: Callable[[], None] | None = None, **environ: str
) -> Iterator[Daemon]:
    """Run it until the context ends."""
    listens = () if "LISTEN_FDS" in environ else ("--listen", "smtp://127.0.0.1:0")
    with subprocess.Popen(
        [SCRIPTS / "mdir-smtp", "serve", "--json", *listens, *words],
        env=world.environ | {"MDIR_SMTP_STATE": f"{world.path}/smtp.sqlite3", **environ},
        stderr=subprocess.PIPE,
        text=True,
        pass_fds=range(3, 3 + int(environ.get("LISTEN_FDS", "0"))),
        preexec_fn=before,  # noqa: PLW1509 - no thread runs in these tests
    ) as process:
        try:
            yield Daemon(process)
        finally:
            process.kill()


def test_embedded_mdird_lmtp_socket_and_sigterm(served: World) -> None:
    """It receives for an mdird in a file, also by LMTP on a Unix socket; SIGTERM ends it with 0."""
    places = f"smtp://127.0.0.1:0,submissions://127.0.0.1:0,unix:{served.path}/lmtp"
    with daemon(served, "--listen", places, MDIR_SMTP_HOSTNAME="mx.test") as server:
        with smtplib.SMTP("127.0.0.1", server.port(), "x") as client:
            client.sendmail("a@b.test", [JO], small(1).replace(b"\n", b"\r\n"))
        with smtplib.LMTP(f"{served.path}/lmtp", local_hostname="x") as client:
            client.sendmail("a@b.test", [JO], small(2).replace(b"\n", b"\r\n"))
        events = server.stop()
    mails = [event for event in events if event["event"] == "mail"]
    assert ["accepted", "accepted"] == [event["verdict"] for event in mails]
    assert {"certificate", "listening", "accounts", "stopping"} < {str(e["event"]) for e in events}
    served.right("mdir", "sync", f"SMTP/Accounts/{JO}", "inbox")
    assert 2 == len([name for name in (served.path / "inbox").iterdir() if name.suffix == ".txt"])


def test_it_waits_for_the_mdird(world: World) -> None:
    """Nobody is let in before there is one; a signal ends the waiting."""
    with daemon(world, "--no-tls", MDIRD=f"unix://{world.path}/none") as server:
        assert "none" in str(server.event("waiting")["reason"])
        assert [] == [event for event in server.stop() if event["event"] == "listening"]


def test_sockets_and_readiness_of_systemd(served: World) -> None:
    """It serves what the service manager opened, by the names, and says when it is ready."""
    with (
        closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as told,
        closing(listen(Place(host="127.0.0.1"))[0]) as one,
    ):
        told.bind(f"{served.path}/notify")
        told.settimeout(30)
        port = one.getsockname()[1]
        code = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3, inheritable=True);"
            "os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[2], sys.argv[2:])"
        )
        words = [sys.executable, "-c", code, str(one.fileno()), str(SCRIPTS / "mdir-smtp"), "serve"]
        environ = served.environ | {
            "LISTEN_FDS": "1",
            "LISTEN_FDNAMES": "lmtp",
            "NOTIFY_SOCKET": f"{served.path}/notify",
            "MDIR_SMTP_STATE": f"{served.path}/smtp.sqlite3",
        }
        with subprocess.Popen(words, env=environ, pass_fds=[one.fileno()]) as process:
            assert b"READY=1" == told.recv(100)
            with socket.create_connection(("127.0.0.1", port), 10) as sock:
                assert b"LMTP" in sock.recv(100)
            process.terminate()
            assert b"STOPPING=1" == told.recv(100)
            assert 0 == process.wait(60)


def test_a_new_certificate(served: World) -> None:
    """SIGHUP: new connections get it; one that does not fit leaves the old one."""
    paths = [served.path / name for name in ("one", "two")]
    for path in paths:
        path.mkdir()
        own_certificate(str(path), "mx.test")
    file = served.path / "certificate"
    file.write_bytes((paths[0] / "certificate.pem").read_bytes())

    with daemon(served, MDIR_SMTP_TLS_CERT=str(file)) as server:

        def offered() -> str:
            with smtplib.SMTP("127.0.0.1", server.port(), "x") as client:
                client.starttls(context=trusting())
                assert isinstance(client.sock, ssl.SSLSocket)
                der = client.sock.getpeercert(binary_form=True)
                assert der
                return ssl.DER_cert_to_PEM_cert(der)

        assert offered() in (paths[0] / "certificate.pem").read_text()
        file.write_bytes((paths[1] / "certificate.pem").read_bytes())
        server.process.send_signal(signal.SIGHUP)
        _until(lambda: offered() in (paths[1] / "certificate.pem").read_text())
        file.write_bytes(b"broken")
        server.process.send_signal(signal.SIGHUP)
        server.event("certificate-failed")
        assert offered() in (paths[1] / "certificate.pem").read_text()


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_without_descriptors(served: World) -> None:
    """When there are no more it pauses, says 421, and goes on as soon as there are some."""

    def few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (45, 45))

    with daemon(served, "--no-tls", "--connections", "1000", before=few) as server:
        port = server.port()
        held: list[socket.socket] = []
        for _ in range(60):
            sock = socket.create_connection(("127.0.0.1", port), 10)
            sock.settimeout(20 if not held else 3)
            held.append(sock)
        answers = []
        for sock in held:
            try:
                answers.append(sock.recv(3))
            except OSError:
                answers.append(b"")
            if answers[-1] != b"220":
                break
        assert b"220" == answers[0]
        assert answers[-1] in (b"421", b"")
        for sock in held:
            sock.close()

        def is_back() -> bool:
            try:
                with smtplib.SMTP("127.0.0.1", port, "x", timeout=5) as client:
                    return client.ehlo()[0] == 250
            except (OSError, smtplib.SMTPException):
                return False

        _until(is_back)
        cpu = _cpu(server.process.pid)
        time.sleep(0.5)
        assert _cpu(server.process.pid) - cpu < 0.4


def _cpu(process: int) -> float:
    words = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--listen", "http://:80"], 78, "expected smtp://host:port"),
        (["--listen", "smtp://127.0.0.1:x"], 78, "MDIR_SMTP_LISTEN"),
        (["--listen", "unix:here"], 78, "begins with /"),
        (["--listen", "submission://127.0.0.1:0", "--no-tls"], 78, "needs TLS"),
        (["--listen", "smtp://192.0.2.1:25"], 69, "cannot listen there"),
        (["--size", "x"], 64, "--size"),
        (["--idle", "0"], 64, "--idle"),
        (["--allow", "here"], 78, "--allow"),
    ],
)
def test_what_cannot_be_used(served: World, words: list[str], status: int, text: str) -> None:
    """Says what is wrong, and where."""
    done = served.run("mdir-smtp", "serve", *words, MDIR_SMTP_STATE=f"{served.path}/s")
    assert status == done.status, done
    assert text in done.errors


@pytest.mark.parametrize("command", ["serve", "spam", "outbox"])
def test_folders_that_cannot_be_used(served: World, command: str) -> None:
    """They are looked at first: a spam box that is where mails come would be emptied."""
    done = served.run(
        "mdir-smtp", command, MDIRD="file:///nowhere", MDIR_SMTP_SPAM="SMTP/Accounts",
        MDIR_SMTP_STATE=f"{served.path}/s",
    )  # fmt: skip
    assert 78 == done.status, done
    assert "MDIR_SMTP_ACCOUNTS" in done.errors
