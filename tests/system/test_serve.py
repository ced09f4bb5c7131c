"""`mdird serve` as a process: where it listens, who may come in, how it ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory

import attrs
import pytest

from mdirclient import End, Header, Now, connect, make_folder
from mdirclient.errors import TransportError
from mdirclient.service.listen import Place, listen
from mdirclient.service.tls import CERTIFICATE, own_certificate
from tests.system.commands import SCRIPTS, World


@attrs.frozen
class Daemon:
    """A running `mdird serve`."""

    process: subprocess.Popen[bytes]
    events: list[dict[str, object]]

    @property
    def port(self) -> int:
        """Of its first TCP address."""
        found = [str(event["address"]) for event in self.events if event["event"] == "listening"]
        return int(next(one for one in found if one.startswith("tcp:")).rpartition(":")[2])

    @property
    def pin(self) -> str:
        """The fingerprint that it printed."""
        (event,) = (event for event in self.events if event["event"] == "certificate")
        return str(event["fingerprint"])

    def stop(self) -> list[dict[str, object]]:
        """End it; what it logged after it began."""
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=60)
        assert 0 == self.process.returncode, errors
        return [json.loads(line) for line in errors.splitlines()]


@contextmanager
def daemon(
    world: World, *words: str, before: Callable[[], None] | None = None, **environ: str
) -> Iterator[Daemon]:
    """Run `mdird serve --json` until the context ends; it listens on `s` in the world too."""
    listens = "--listen" in words or "LISTEN_FDS" in environ
    given = words if listens else ("--listen", f"unix:{world.path}/s", *words)
    process = subprocess.Popen(
        [SCRIPTS / "mdird", "serve", "--json", *given],
        env=world.environ | environ,
        stderr=subprocess.PIPE,
        preexec_fn=before,  # noqa: PLW1509 - no thread of ours holds a lock
        pass_fds=(3,) if before else (),
    )
    try:
        assert process.stderr
        events: list[dict[str, object]] = []
        expected = (
            1 if "LISTEN_FDS" in environ else given[given.index("--listen") + 1].count(",") + 1
        )
        while sum(event["event"] == "listening" for event in events) < expected:
            line = process.stderr.readline()
            assert line, process.wait(30)
            events.append(json.loads(line))
        yield Daemon(process, events)
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=60)


@pytest.mark.skipif(not shutil.which("nc"), reason="netcat is not installed")
def test_netcat_is_a_client(world: World) -> None:
    """By hand: lines in, lines out, blanks and CR ignored, and it ends when the input does."""
    with daemon(world):
        lines = "put / \r\nTYPE: dir\r\nname: Notes\r\n\r\n7 Get %2f  \r\n\r\nnonsense\r\n"
        done = subprocess.run(
            ["nc", "-N", "-U", world.path / "s"],
            input=lines.encode(),
            capture_output=True,
            timeout=60,
            check=True,
        )
    head, *rest = done.stdout.decode().splitlines()
    assert "-0 put 200 1" == head
    assert ["PATCH / 0 1 +", "type: dir", "name: Notes"] == rest[:3]
    assert ["", "-7 get 200 done"] == rest[4:6]
    assert rest[6].startswith("-0 nonsense 400 no such keyword")


def test_its_own_certificate_and_fingerprint(world: World) -> None:
    """Made once, kept, printed; a client that pins it gets in, another does not."""
    token = world.right("mdird", "user", "add", "jo", "--right", "admin").strip()
    with daemon(world, "--listen", "tcp://127.0.0.1:0") as first:
        base = f"mdird://jo:{token}@127.0.0.1:{first.port}"
        with connect(f"{base}?fingerprint={first.pin}") as mdird:
            make_folder(mdird, "A")
        with pytest.raises(TransportError, match="fingerprint"):
            connect(f"{base}?fingerprint={'0' * 64}")
        with pytest.raises(TransportError, match="certificate"):
            connect(base)
        connect(f"mdird://jo:{token}@127.0.0.1:{first.port}?fingerprint={first.pin}").close()
    assert 0o600 == (world.path / "mdir" / "certificate.pem").stat().st_mode & 0o777
    with daemon(world, "--listen", "tcp://127.0.0.1:0") as second:
        assert first.pin == second.pin


def test_a_certificate_that_is_given(world: World) -> None:
    """Checked by name and authority, without a pin."""
    try:
        socket.getaddrinfo("localhost", None)
    except socket.gaierror:
        pytest.skip("this system has no /etc/hosts that knows localhost")
    # What another start left, with the number that this process has too, as in a container.
    (world.path / f"{CERTIFICATE}.{os.getpid()}").write_text("half of")
    file = own_certificate(str(world.path), "localhost")
    token = world.right("mdird", "user", "add", "jo").strip()
    with daemon(world, "--listen", "tcp://localhost:0", "--certificate", file) as one:
        port = one.port
        connect(f"mdird://jo:{token}@localhost:{port}?ca={file}").close()
        with pytest.raises(TransportError, match=r"mismatch|not valid"):
            connect(f"mdird://jo:{token}@127.0.0.1:{port}?ca={file}")
        with pytest.raises(TransportError, match="nowhere"):
            connect(f"mdird://jo:{token}@localhost:{port}?ca=/nowhere")


def test_without_tls_on_loopback_only(world: World) -> None:
    """Refused elsewhere, on both sides."""
    token = world.right("mdird", "user", "add", "jo").strip()
    with daemon(world, "--listen", "tcp://127.0.0.1:0", "--no-tls") as one:
        connect(f"mdird://jo:{token}@127.0.0.1:{one.port}?tls=off").close()
    done = world.run("mdird", "serve", "--no-tls", "--listen", "tcp://0.0.0.0:0")
    assert 78 == done.status
    assert "without TLS" in done.errors
    done = world.run("mdir", "sync", "A", "a", MDIRD="mdird://jo:secret@example.org?tls=off")
    assert 78 == done.status
    assert "secret" not in done.errors


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--listen", "udp://x"], 78, "expected unix:/path or tcp://host:port"),
        (["--listen", "unix:relative"], 78, "must begin with /"),
        (["--listen", "tcp://127.0.0.1:1:2"], 78, "MDIRD_LISTEN"),
        (["--listen", "unix:/proc/s"], 69, "cannot listen there"),
        (["--listen", "tcp://127.0.0.1:0", "--certificate", "/nowhere"], 78, "certificate"),
        (["--reserve", "much"], 64, "expected a size"),
    ],
)
def test_what_cannot_be_served(world: World, words: list[str], status: int, text: str) -> None:
    """One line and an exit code."""
    done = world.run("mdird", "serve", *words)
    assert status == done.status, done
    assert text in done.errors
    assert 1 == done.errors.count("\n")


def test_a_socket_of_a_dead_process_is_replaced(world: World) -> None:
    """And that of a living one is not."""
    with daemon(world) as one:
        done = world.run("mdird", "serve", "--listen", f"unix:{world.path}/s")
        assert 69 == done.status
        assert "Address already in use" in done.errors
        one.process.kill()
        one.process.wait(30)
        with daemon(world), connect(f"unix://{world.path}/s") as mdird:
            make_folder(mdird, "A")
    (world.path / "plain").write_text("a file")
    done = world.run("mdird", "serve", "--listen", f"unix:{world.path}/plain")
    assert 69 == done.status
    assert "a file" == (world.path / "plain").read_text()


def test_it_ends_when_what_was_asked_is_answered(world: World) -> None:
    """SIGTERM: subscriptions get END 503, acknowledged changes are there, exit 0."""
    with daemon(world) as one:
        with connect(f"unix://{world.path}/s") as mdird:
            make_folder(mdird, "A")
            events = iter(mdird.subscribe("A", timeout=60))
            assert isinstance(next(events), Now)
            with socket.socket(socket.AF_UNIX) as pipelined:
                pipelined.connect(f"{world.path}/s")
                for number in range(200):
                    pipelined.sendall(b"put A\nurl: mdir:%d@x.org/1\n\n" % number)
                assert pipelined.recv(5)
                logged = one.stop()
                replies = b""
                while data := pipelined.recv(65536):
                    replies += data
        end = [event for event in events if isinstance(event, End)]
        assert [503] == [event.status for event in end]
    assert "stopping" == logged[0]["event"]
    with connect(f"file://{world.path}/mdir") as mdird:
        assert len(list(mdird.lookup("A"))) >= replies.count(b"put 200")


def test_the_service_manager_is_told(world: World) -> None:
    """READY=1 when it listens, STOPPING=1 when it ends. Source: sd_notify(3)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(f"{world.path}/notify")
        manager.settimeout(60)
        with daemon(world, NOTIFY_SOCKET=f"{world.path}/notify") as one:
            assert b"READY=1" == manager.recv(100)
            one.stop()
            assert b"STOPPING=1" == manager.recv(100)


def test_socket_activation(world: World) -> None:
    """It serves the sockets that the service manager opened. Source: sd_listen_fds(3)."""
    (opened,) = listen(Place(path=f"{world.path}/activated"))
    with opened:
        number = opened.fileno()

        def become() -> None:
            os.dup2(number, 3, inheritable=True)

        # The variable must hold the process's own number, which only a shell in between knows.
        process = subprocess.Popen(
            ["sh", "-c", f'LISTEN_PID=$$ exec "{SCRIPTS}/mdird" serve --json'],
            env=world.environ | {"LISTEN_FDS": "1"},
            stderr=subprocess.PIPE,
            preexec_fn=become,  # noqa: PLW1509
            pass_fds=(3,),
        )
        try:
            assert process.stderr
            assert b"activated" in process.stderr.readline()
            with connect(f"unix://{world.path}/activated") as mdird:
                make_folder(mdird, "A")
        finally:
            process.terminate()
            process.communicate(timeout=60)
    assert 0 == process.returncode


def test_a_peer_is_told_by_its_login(world: World) -> None:
    """Another login is the user of that name, if there is one; else AUTH is needed."""
    if os.getuid():
        pytest.skip("only root can be somebody else")
    world.right("mdird", "user", "add", "nobody")
    script = (
        "import os, socket, sys\n"
        "os.setgid(65534); os.setuid(int(sys.argv[2]))\n"
        "s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])\n"
        "s.sendall(b'sub / 0\\nquit\\n')\n"
        "print(s.recv(1000).decode())\n"
    )
    with TemporaryDirectory() as place, daemon(world, "--listen", f"unix:{place}/s"):
        os.chmod(place, 0o755)
        answers = [
            subprocess.run(
                [sys.executable, "-c", script, f"{place}/s", uid],
                capture_output=True,
                text=True,
                timeout=60,
            ).stdout
            for uid in ("65534", "2")
        ]
    assert answers[0].startswith("-0 sub 403")
    assert answers[1].startswith("-0 sub 401")


def test_the_whole_job_over_tls(world: World) -> None:
    """A connector delivers and a user syncs, with their own tokens and rights."""
    connector = world.right("mdird", "user", "add", "mta", "--right", "connector").strip()
    world.account("jo@machin.com")
    token = world.right("mdird", "user", "token", "jo@machin.com").strip()
    mail = b"Message-ID: <a@x.org>\r\nSubject: hello\r\n\r\nhello\r\n"
    with daemon(world, "--listen", "tcp://127.0.0.1:0") as one:
        where = f"@127.0.0.1:{one.port}?fingerprint={one.pin}"
        done = world.run(
            "mdir-smtp", "deliver", "--recipient", "jo@machin.com", mail=mail,
            MDIRD=f"mdird://mta:{connector}{where}",
        )  # fmt: skip
        assert (0, "") == (done.status, done.errors)
        user = f"mdird://jo%40machin.com:{token}{where}"
        done = world.run("mdir", "sync", "SMTP/Accounts/jo@machin.com", "inbox", MDIRD=user)
        assert (0, "") == (done.status, done.errors)
        assert "1 fetched" in done.output
        assert b"hello\r\n" == (world.path / "inbox" / "a@x.org-1.txt").read_bytes()
        done = world.run("mdir", "sync", "SMTP/Accounts", "accounts", MDIRD=user)
        assert 65 == done.status
        assert "no right to do this here" in done.errors
    done = world.run("mdir", "sync", "SMTP/Accounts/jo@machin.com", "inbox", MDIRD=user)
    assert 69 == done.status
    assert token not in done.errors


def test_users_by_command(world: World) -> None:
    """Added once, renewed, listed, removed."""
    token = world.right("mdird", "user", "add", "jo", "--right", "read").strip()
    assert 43 == len(token)
    assert 65 == world.run("mdird", "user", "add", "jo").status
    assert 65 == world.run("mdird", "user", "add", "a:b").status
    assert 65 == world.run("mdird", "user", "add", "x", "--right", "everything").status
    assert token != world.right("mdird", "user", "token", "jo").strip()
    world.right("mdird", "user", "password", "jo", mail=b"correct horse\n")
    assert 64 == world.run("mdird", "user", "password", "jo").status
    assert "jo  read\n" == world.right("mdird", "user", "ls")
    assert {"name": "jo", "addresses": [], "rights": ["read"]} == json.loads(
        world.right("mdird", "user", "ls", "--json")
    )
    world.right("mdird", "user", "rm", "jo")
    assert 66 == world.run("mdird", "user", "rm", "jo").status
    with connect(f"file://{world.path}/mdir") as mdird:
        database = (world.path / "mdir" / "mdird.sqlite3").read_bytes()
        assert token.encode() not in database
        mdird.put("", Header([("type", "dir"), ("name", "A")]))
    world.right("mdird", "rights", "A", "--owner", "jo", "--right", "read *")
    assert "owner: jo\nright: read *\n" == world.right("mdird", "rights", "A")
    assert 65 == world.run("mdird", "rights", "A", "--right", "nonsense").status


def test_a_port_with_tls_speaks_nothing_else(world: World) -> None:
    """A token that is sent in the clear gets no answer, and the connection ends."""
    with (
        daemon(world, "--listen", "tcp://127.0.0.1:0") as one,
        socket.create_connection(("127.0.0.1", one.port), 60) as plain,
    ):
        plain.sendall(b"AUTH jo x\n")
        assert b"auth" not in plain.recv(100)
