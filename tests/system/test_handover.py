"""A delivery hands over to a resident server: what arrives, what is answered, what it costs."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdirclient import Header, connect
from tests.mails import small
from tests.smtped import ACCOUNTS, Smtped, eventually, smtp_serving
from tests.system.commands import SCRIPTS, Done, World

JO, LI = ACCOUNTS


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smtped]:
    """One server, listening on a socket too."""
    with smtp_serving(tmp_path_factory.mktemp("s"), lmtp_socket=True) as world:
        yield world


def deliver(server: Smtped, *words: str, mail: bytes, program: str = "mdir-deliver") -> Done:
    """Hand a mail over. Without the server nothing could be delivered."""
    command = [program, *(["deliver"] if program == "mdir-smtp" else [])]
    world = World(server.path)
    environ = {"MDIRD": "file:///nonexistent"}
    return world.run(*command, "--socket", str(server.path / "lmtp"), *words, mail=mail, **environ)


def found(server: Smtped, mail_id: str, address: str = JO) -> list[Header]:
    """The entries of a mail."""
    return [one for one in server.entries(address) if mail_id in one["url"]]


def mail(name: str, rest: bytes = b"body\n") -> bytes:
    """A mail of its own."""
    return f"Message-ID: <{name}@x.org>\nSubject: x\n\n".encode() + rest


@pytest.mark.parametrize("program", ["mdir-deliver", "mdir-smtp"])
def test_what_arrives(server: Smtped, program: str) -> None:
    """The envelope, whose mail it is, and each byte; silent."""
    data = mail(f"arrives.{program}", b".\n.\r\n..\r\r\nodd \xff\0 bytes\n\n.")
    words = ["--recipient", JO, "--sender", "a@b.test", "--client-address", "2001:db8::1"]
    words += ["--client-name", "mx.x.org", "--helo", "he lo"]
    done = deliver(server, *words, mail=data, program=program)
    assert (0, "", "") == (done.status, done.output, done.errors)
    (header,) = found(server, f"arrives.{program}")
    expected = (JO, "a@b.test", "2001:db8::1", "mx.x.org", "he?lo")
    names = ("envelope-to", "envelope-from", "client-address", "client-name", "helo")
    assert expected == tuple(header[name] for name in names)
    assert data in server.mails()
    eventually(lambda: bool(server.state.find(header["anchor"])))  # kept after the answer
    record = server.state.find(header["anchor"])[-1]
    assert ("2001:db8::1", "he?lo", "lmtp") == (record.client, record.helo, record.listener)


def test_the_same_mail_either_way(server: Smtped) -> None:
    """Handed over and delivered directly it is one."""
    data = mail("either")
    assert 0 == deliver(server, "--recipient", JO, "--sender", "a@b.test", mail=data).status
    environ = {"MDIRD": f"file://{server.served.path}"}
    done = World(server.path).run(
        "mdir-deliver", "--recipient", JO, "--sender", "a@b.test", mail=data, **environ
    )
    assert 0 == done.status
    assert 1 == len(found(server, "either"))


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        (["--recipient", "no@ours.test"], 67, "5.1.1 no account for 'no@ours.test'\n"),
        (["--recipient", "jo@elsewhere.test"], 67, "5.1.1 no account for 'jo@elsewhere.test'\n"),
        (["--recipient", "no@ours.test", "--recipient", LI], 75, "4.1.1 no account for"),
        (["--recipient", "é@ours.test"], 67, "5.1.1 no account for"),
        (["--recipient", "jo"], 75, "4.3.0 the mail was not taken"),
        (["--recipient", JO, "--deadline", "-1"], 75, "4.3.0 the mail was not taken"),
        (["--recipient", JO, "--nonsense"], 75, "4.3.0 the mail was not taken"),
        (["--recipient"], 75, "4.3.0 the mail was not taken"),
    ],
)
def test_exit_codes(server: Smtped, words: list[str], status: int, text: str) -> None:
    """The same as of a direct delivery."""
    done = deliver(server, "--sender", "", *words, mail=mail("codes"))
    assert status == done.status, done
    assert done.errors.startswith(text)
    assert 1 == done.errors.count("\n")
    assert [] == found(server, "codes")


def test_spellings_of_the_environment(server: Smtped) -> None:
    """The first that has an account."""
    environ = {"RECIPIENT": "mdir+x@ours.test", "ORIGINAL_RECIPIENT": "jo+x@ours.test"}
    environ |= {"SENDER": "", "LOCAL": "mdir+x", "DOMAIN": "ours.test", "EXTENSION": "x"}
    environ["MDIR_SMTP_SOCKET"] = str(server.path / "lmtp")
    done = World(server.path).run("mdir-deliver", mail=mail("spellings"), **environ)
    assert 0 == done.status, done
    (header,) = found(server, "spellings")
    assert ("jo+x@ours.test", "<>") == (header["envelope-to"], header["envelope-from"])


def test_an_empty_mail(server: Smtped) -> None:
    """75, as directly."""
    done = deliver(server, "--recipient", JO, "--sender", "a@b.test", mail=b"")
    assert 75 == done.status
    assert "The mail is empty" in done.errors


def test_a_large_mail(server: Smtped) -> None:
    """In pieces, each at another place."""
    data = mail("large", b"\r\n.x" * 1_000_000)
    assert 0 == deliver(server, "--recipient", JO, "--sender", "a@b.test", mail=data).status
    assert data in server.mails()


def test_all_is_read(server: Smtped) -> None:
    """Also of a mail that nobody wants: an MTA may take a closed pipe for a failure."""
    command = ["mdir-deliver", "--socket", str(server.path / "lmtp"), "--recipient", "no@ours.test"]
    environ = {"PATH": f"{SCRIPTS}:/usr/bin:/bin"}
    with subprocess.Popen(
        [*command, "--sender", "a@b.test"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
    ) as process:
        assert process.stdin
        process.stdin.write(b"x" * 5_000_000)
        process.stdin.close()
        assert 67 == process.wait(30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal(server: Smtped, number: int) -> None:
    """75, whenever it comes."""
    command = ["mdir-smtp", "deliver", "--socket", str(server.path / "lmtp"), "--recipient", JO]
    environ = {"PATH": f"{SCRIPTS}:/usr/bin:/bin"}
    with subprocess.Popen(
        [*command, "--sender", "a@b.test"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
    ) as process:
        assert server.server
        eventually(lambda: any(one.engine.is_in_data for one in list(server.server.sessions)))  # type: ignore[union-attr]
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
        assert 75 == process.returncode
        assert errors.startswith(b"4.3.0 ")


def test_without_a_server_it_delivers(served: World) -> None:
    """Nothing there, or one that is gone."""
    import socket

    gone = served.path / "gone"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(gone))
    for number, path in enumerate((served.path / "nothing", gone)):
        words = ["--socket", str(path), "--recipient", "jo@machin.com", "--sender", "a@b.c"]
        assert 0 == served.run("mdir-deliver", *words, mail=small(number)).status
    with connect(served.environ["MDIRD"]) as mdird:
        found = [one for one in mdird.lookup("SMTP/Accounts/jo@machin.com") if "part" in one]
    assert 2 == len(found)


def test_an_installation_with_a_known_place(served: World, tmp_path: Path) -> None:
    """Python begins without `site`, and again with it where no server is."""
    prefix = tmp_path / "prefix"
    packages = prefix / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
    packages.mkdir(parents=True)
    (prefix / "bin").mkdir()
    import mdirclient

    (packages / "mdirclient").symlink_to(Path(mdirclient.__file__).parent)
    shutil.copy(SCRIPTS / "mdir-deliver", prefix / "bin")
    (prefix / "bin" / "mdir-smtp").symlink_to(SCRIPTS / "mdir-smtp")
    python = prefix / "bin" / "python3"
    python.write_text(f'#!/bin/sh\necho "$@" >>{prefix}/calls\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    words = ["--socket", str(tmp_path / "nothing"), "--recipient", "jo@machin.com"]
    done = served.run(
        str(prefix / "bin" / "mdir-deliver"), *words, "--sender", "a@b.c", mail=small(1)
    )
    assert (0, "") == (done.status, done.errors)
    assert " -S " in (prefix / "calls").read_text()


def test_a_hand_over_imports_nothing() -> None:
    """What is not loaded by Python itself is a tenth of the time each."""
    code = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "import mdirclient.cli.smtp, mdirclient.cli.smtp_deliver, mdirclient.smtp.handover\n"
        "import mdirclient.smtp.envelope\n"
        "print(*sys.modules)"
    )
    words = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert "_socket" in loaded
    costly = "typing re enum collections functools socket signal attr attrs argparse contextlib"
    assert set() == loaded & set(costly.split())


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b""])
def test_a_mail_of_many_lines_or_of_none(server: Smtped, end: bytes) -> None:
    """What would be taken directly is taken: bytes have no lines."""
    data = mail(f"lines{len(end)}", (b"x" * 70 + end) * 40_000)
    done = deliver(server, "--recipient", JO, "--sender", "a@b.test", mail=data)
    assert (0, "") == (done.status, done.errors)
    assert data in server.mails()


@pytest.mark.parametrize(
    "words",
    [["--helo", "+" * 3000], ["--client-address", "nonsense"], ["--client-name", "\x1b" * 500]],
)
def test_what_strangers_call_themselves(server: Smtped, words: list[str]) -> None:
    """It does not keep their mail out."""
    data = mail("strange." + words[0][2:])
    done = deliver(server, "--recipient", JO, "--sender", "a@b.test", *words, mail=data)
    assert (0, "") == (done.status, done.errors)
