"""Real clients and servers on loopback: swaks, msmtp, curl, Postfix; what they send arrives."""

from __future__ import annotations

import re
import shutil
import smtplib
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mdirclient.smtp.serve.limits import Limits
from tests.mails import small, two_photos
from tests.postfixed import postfix
from tests.smtped import ACCOUNTS, Smtped, smtp_serving
from tests.smuggling import VECTORS

JO, LI = ACCOUNTS


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smtped]:
    """One server for all of them."""
    path = tmp_path_factory.mktemp("smtp")
    with smtp_serving(path, Limits(), passwords=True) as world:
        yield world


def run(*words: str, mail: bytes = b"") -> str:
    """Run a client that has to succeed; what it says."""
    command = shutil.which(words[0], path="/usr/bin:/usr/sbin:/bin")
    if not command:
        pytest.skip(f"needs {words[0]}")
    done = subprocess.run(
        [command, *words[1:]], input=mail, capture_output=True, timeout=60, check=False
    )
    text = (done.stdout + done.stderr).decode(errors="replace")
    assert done.returncode == 0, text
    return text


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("smtp", []),
        ("smtp", ["--pipeline"]),
        ("smtp", ["-tls"]),
        ("smtp", ["-tls", "--pipeline"]),
        ("smtp", ["--helo", "[127.0.0.1]", "--protocol", "SMTP"]),
        ("lmtp", ["--protocol", "LMTP"]),
        ("submission", ["-tls", "--auth", "PLAIN", "-au", JO, "-ap", "secret"]),
        ("submissions", ["--tlsc", "--auth", "LOGIN", "-au", JO, "-ap", "secret"]),
        ("submissions", ["--tlsc", "--pipeline", "-a", "-au", JO, "-ap", "secret"]),
    ],
)
def test_swaks(world: Smtped, kind: str, options: list[str]) -> None:
    """With each extension that it knows."""
    name = re.sub(r"\W", "", "".join([kind, *options]))
    words = [
        "--server",
        "127.0.0.1",
        "--port",
        str(world.ports[kind]),
        "--from",
        JO,
        "--to",
        f"{JO},{LI}",
    ]
    said = run("swaks", *words, "--h-Message-Id", f"<swaks.{name}@x.org>", *options)
    assert "250 2.0.0 Ok, stored" in said
    for address in ACCOUNTS:
        assert any(f"swaks.{name}@" in header["url"] for header in world.entries(address))


def test_msmtp(world: Smtped) -> None:
    """STARTTLS and AUTH."""
    mail = two_photos(message_id="msmtp@x.org").replace(b"jo@example.org", JO.encode())
    words = ["--host=127.0.0.1", f"--port={world.ports['submission']}", f"--from={JO}", "--tls=on"]
    words += ["--tls-starttls=on", "--tls-certcheck=off", "--auth=plain", f"--user={JO}"]
    run("msmtp", *words, "--passwordeval=echo secret", "--", LI, mail=mail.replace(b"\r\n", b"\n"))
    assert 3 == sum("msmtp@x.org" in header["url"] for header in world.entries(LI))


def test_curl(world: Smtped, tmp_path: Path) -> None:
    """Implicit TLS, LOGIN, and SIZE."""
    file = tmp_path / "mail"
    mail = two_photos(message_id="curl@x.org")
    file.write_bytes(mail.replace(b"jo@example.org", LI.encode()))
    words = [
        "--insecure",
        "--silent",
        "--show-error",
        "--url",
        f"smtps://127.0.0.1:{world.ports['submissions']}",
    ]
    words += ["--user", f"{LI}:secret", "--mail-from", LI, "--mail-rcpt", JO, "--mail-rcpt", LI]
    run("curl", *words, "--upload-file", str(file))
    assert file.read_bytes() in world.mails(JO)
    assert file.read_bytes() in world.mails(LI)


def test_smtp_source(world: Smtped) -> None:
    """Postfix's own load generator: many sessions and recipients."""
    before = len(world.entries(JO))
    words = ["-s", "10", "-m", "50", "-l", "5000", "-f", "a@b.test", "-t", JO]
    run("smtp-source", *words, f"127.0.0.1:{world.ports['smtp']}")
    run("smtp-source", "-d", "-L", *words, f"127.0.0.1:{world.ports['lmtp']}")
    assert 100 == len(world.entries(JO)) - before


def test_postfix_hands_on(world: Smtped, tmp_path: Path) -> None:
    """Over SMTP with TLS and over LMTP: each mail is there once, and its envelope."""
    table = tmp_path / "transport"
    table.write_text(
        f"{JO} smtp:[127.0.0.1]:{world.ports['smtp']}\n"
        f"{LI} lmtp:inet:127.0.0.1:{world.ports['lmtp']}\n"
    )
    settings = {
        "relay_domains": "ours.test",
        "transport_maps": f"texthash:{table}",
        "smtp_tls_security_level": "encrypt",
        "smtp_tls_loglevel": "1",
        "lmtp_tls_security_level": "may",
        "smtputf8_enable": "no",
    }
    with postfix(tmp_path / "postfix", **settings) as sender:
        with smtplib.SMTP("127.0.0.1", sender.port, "client.test") as client:
            for number in range(10):
                mail = small(number, f"postfix {number}").replace(b"\n", b"\r\n")
                client.sendmail("a@b.test", [JO, LI], mail)
        sender.drained()
        log = (sender.path / "log").read_text()
    for address in ACCOUNTS:
        found = [h for h in world.entries(address) if h.get("helo") == "postfix.test"]
        assert 10 == len(found)
        assert {address} == {header["envelope-to"] for header in found}
    assert "TLS connection established to 127.0.0.1" in log


def test_postfix_is_smuggled_through(tmp_path: Path) -> None:
    """The positive control: the same vectors do end a mail for Postfix 3.7 as it comes."""
    through = set()
    with postfix(tmp_path / "postfix") as server:
        for name, vector in VECTORS.items():
            before = len(server.mails())
            _smuggle(server.port, vector)
            server.drained()
            if any(
                b"smuggled" in mail.partition(b"\n\n")[2][:40] for mail in server.mails()[before:]
            ):
                through.add(name)
            for file in (server.path / "mail" / "mail" / "new").iterdir():
                file.unlink()
    assert "LF.LF" in through or "LF.CRLF" in through, through
    assert len(through) >= 2, through


def _smuggle(port: int, vector: bytes) -> None:
    inner = b"MAIL FROM:<evil@b.test>\r\nRCPT TO:<mail@postfix.test>\r\nDATA\r\n"
    inner += b"smuggled\r\n.\r\nQUIT\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as sock:
        sock.sendall(b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<mail@postfix.test>\r\nDATA\r\n")
        answer = b""
        while b"354" not in answer:
            answer += sock.recv(1000)
        sock.sendall(b"Subject: x\r\n\r\nbody" + vector + inner)
        while data := sock.recv(1000):
            answer += data
