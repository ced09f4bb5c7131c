"""Mails leave by a real Postfix and a real Dovecot, and their signatures hold behind them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mdirclient.service.tls import own_certificate
from mdirclient.smtp.relay.keys import Key, find_keys
from tests.outboxed import ACCOUNT, JO, OUTBOX, Outboxed
from tests.ports import free_port
from tests.postfixed import Postfix, postfix
from tests.relayed import Host, recipients, relaying, smarthost
from tests.smtped import eventually
from tests.submissions import submission
from tests.unit.test_dkim import verified

_OPENDKIM = shutil.which("opendkim", path="/usr/sbin")


def mail(number: int, body: bytes = b"hello\r\n", *fields: str) -> bytes:
    """One of Jo's."""
    lines = [
        f"From: Jo <{JO}>", "To: x@there.test", f"Subject: number {number}",
        "Date: Fri, 27 Nov 2026 10:00:00 +0000", f"Message-ID: <{number}@ours.test>", *fields,
    ]  # fmt: skip
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@contextmanager
def behind(path: Path, host: Host, **settings: str) -> Iterator[Postfix]:
    """A Postfix that passes all on to a host of aiosmtpd."""
    sink = free_port()
    given = {
        "relayhost": f"[127.0.0.1]:{sink}",
        "smtpd_recipient_restrictions": f"check_recipient_access texthash:{path}/access,"
        " permit_mynetworks, reject",
        "smtpd_delay_reject": "no",
        "service_throttle_time": "1s",
        "default_destination_recipient_limit": "1000",
        **settings,
    }
    path.mkdir(parents=True, exist_ok=True)
    (path / "access").write_text("")
    with smarthost(host, sink), postfix(path, **given) as server:
        yield server


def told(world: Outboxed) -> list[str]:
    """The notifications in the sender's account."""
    found = [one for one in world.entries(ACCOUNT) if one.get("type") == "delivery-status"]
    anchors = {one["anchor"] for one in found}
    texts = []
    with world.connect() as mdird:
        for anchor in sorted(anchors):
            with mdird.store.open(anchor[:-1] + "0") as file:
                texts.append(file.read().decode("utf-8", "replace"))
    return texts


def subjects(host: Host) -> list[str]:
    """Of what came."""
    found = (re.search(rb"^Subject: (.*?)\r?$", data, re.MULTILINE) for _, _, data in host.taken)
    return sorted(match[1].decode() for match in found if match)


def test_each_recipient_of_a_postfix(tmp_path: Path) -> None:
    """One is refused, one deferred and taken later, the third gets it once."""
    host = Host()
    with behind(tmp_path / "postfix", host) as server:
        access = tmp_path / "postfix" / "access"
        access.write_text("b@there.test 450 4.2.0 not today\nc@there.test 550 5.1.1 never\n")
        with relaying(tmp_path / "mdir", port=server.port) as (world, _):
            url = world.put_mail(mail(1), *recipients("a", "b", "c"))
            world.start()
            eventually(lambda: world.status(url) == "deferred", 30)
            eventually(lambda: len(told(world)) == 1, 30)
            assert "Final-Recipient: rfc822; c@there.test" in told(world)[0]
            assert "never" in told(world)[0]
            access.write_text("")
            server.run("postfix", "reload")
            eventually(lambda: world.entries(OUTBOX) == [], 60)
            eventually(lambda: len(host.taken) == 2, 30)
        found = {tuple(to) for _, to, _ in host.taken}
        assert {("a@there.test",), ("b@there.test",)} == found, world.log + server.log
        assert {JO} == {sender for sender, _, _ in host.taken}


def test_more_refusals_than_a_postfix_bears(tmp_path: Path) -> None:
    """It hangs up after 20: the others are asked by another connection, and get the mail."""
    host = Host()
    with (
        # It need not sleep a second for each refusal.
        behind(tmp_path / "postfix", host, smtpd_error_sleep_time="0") as server,
        relaying(tmp_path / "mdir", port=server.port) as (world, _),
    ):
        refused = [f"r{number}" for number in range(45)]
        lines = "".join(f"{name}@there.test 450 4.2.0 not today\n" for name in refused)
        (tmp_path / "postfix" / "access").write_text(lines)
        world.put_mail(mail(1), *recipients("a", *refused, "b"))
        world.start()
        eventually(lambda: sum(len(to) for _, to, _ in host.taken) == 2, 60)
        assert {"a@there.test", "b@there.test"} == {one for _, to, _ in host.taken for one in to}
        eventually(lambda: len(read(world)) == 2, 30)


def read(world: Outboxed) -> list[str]:
    """The recipients that need not be tried again."""
    return (world.entries(OUTBOX)[0].get("settled") or "").split()


def test_too_large_for_a_postfix(tmp_path: Path) -> None:
    """It is told before the mail is sent (SIZE): it fails, and its sender is told."""
    with (
        behind(tmp_path / "postfix", Host(), message_size_limit="20000") as server,
        relaying(tmp_path / "mdir", port=server.port) as (world, _),
    ):
        url = world.put_mail(mail(1, b"x" * 70 + b"\r\n" * 40_000), *recipients("a"))
        world.start()
        eventually(lambda: world.status(url) == "failed", 30)
        assert "5.3.4" in told(world)[0]


def test_a_postfix_that_goes_away(tmp_path: Path) -> None:
    """Stopped and started again, and its processes killed: nothing is lost."""
    host = Host()
    count = 30
    with behind(tmp_path / "postfix", host) as server:
        with relaying(tmp_path / "mdir", port=server.port) as (world, _):
            server.run("postfix", "stop")
            urls = [world.put_mail(mail(number), *recipients("a")) for number in range(count)]
            world.start("--jobs", "1")
            eventually(lambda: any(world.status(url) == "deferred" for url in urls), 30)
            server.run("postfix", "start")
            for _ in range(5):
                _await_more(host, world)
                _kill_smtpd(tmp_path / "postfix")
            eventually(lambda: world.entries(OUTBOX) == [], 90)
            eventually(lambda: server.queued() == 0, 60)
        came = subjects(host)
        assert {f"number {number}" for number in range(count)} == set(came)
        # A link that dies between the dot and the reply leaves a doubt, once for each kill.
        assert len(came) <= count + 5


def _await_more(host: Host, world: Outboxed) -> None:
    before = len(host.taken)
    eventually(lambda: len(host.taken) > before or not world.entries(OUTBOX), 60)


def _kill_smtpd(path: Path) -> None:
    found = subprocess.run(["pgrep", "-x", "smtpd"], capture_output=True, text=True)
    for number in map(int, found.stdout.split()):
        # One that has ended by itself meanwhile needs no kill.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{number}/cwd").resolve().is_relative_to(path):
                os.kill(number, signal.SIGKILL)


def test_a_postfix_with_tls(tmp_path: Path) -> None:
    """STARTTLS with a certificate that is verified; a submission of many mails comes by one way."""
    certificate = own_certificate(str(tmp_path), "localhost")
    host = Host()
    tls = {"smtpd_tls_cert_file": certificate, "smtpd_tls_key_file": certificate,
           "smtpd_tls_security_level": "encrypt", "smtpd_tls_loglevel": "1"}  # fmt: skip
    with behind(tmp_path / "postfix", host, **tls) as server:
        url = "smtp://localhost:{port}"
        with relaying(tmp_path / "mdir", url, server.port) as (world, _):
            for number in range(5):
                world.put_mail(mail(number), *recipients("a"))
            world.start(SSL_CERT_FILE=certificate)
            eventually(lambda: len(host.taken) == 5, 60)
        assert "TLS connection established" in server.log


def test_a_dovecot_submission(tmp_path: Path) -> None:
    """A wrong password lets mails wait, and their user sees why; with a right one they leave."""
    certificate = own_certificate(str(tmp_path), "localhost")
    host, sink = Host(), free_port()
    url = "smtp://jo:right@localhost:{port}"
    with smarthost(host, sink), relaying(tmp_path / "mdir", url) as (world, port):
        given = {"sink": sink, "certificate": certificate, "port": port}
        with submission(tmp_path / "dovecot", password="other", **given):  # type: ignore[arg-type]
            anchor = world.put_mail(mail(1, "ä\r\n".encode()), *recipients("a", "b"))
            process = world.start(SSL_CERT_FILE=certificate)
            eventually(lambda: world.status(anchor) == "deferred", 60)
            assert "535 5.7.8" in world.entries(OUTBOX)[0]["reason"]
            assert [] == told(world)
            process.terminate()
            process.wait(30)
            world.processes.remove(process)
        with submission(tmp_path / "dovecot", password="right", **given):  # type: ignore[arg-type]
            large = world.put_mail(mail(2, b"x" * 70 + b"\r\n" * 600_000), *recipients("a"))
            world.start(SSL_CERT_FILE=certificate)
            eventually(lambda: world.status(large) == "failed", 60)
            eventually(lambda: len(host.taken) == 1, 60)
            eventually(lambda: len(world.entries(OUTBOX)) == 1, 60)
    assert (JO, ["a@there.test", "b@there.test"]) == host.taken[0][:2]


# -- signatures


_LONG = b"word " * 1_000 + b"end\r\n"
_BODIES = {
    "plain": mail(1),
    "8-bit": mail(2, "Grüße\r\n".encode(), "MIME-Version: 1.0",
                  "Content-Type: text/plain; charset=utf-8", "Content-Transfer-Encoding: 8bit"),
    "raw": mail(3, "Grüße ohne alles \r\n".encode()),
    "long": mail(4, _LONG + b"a" * 5_000 + b"\r\n"),
    "long fields": mail(5, b"x\r\n", f"References: {'<a@b> ' * 900}", f"X-Long: {'x' * 5_000}"),
    "bare": mail(6, b"a\rb\nc\r\r\n.\r\n.\n..\r\n \r\n\r\n"),
    "empty": mail(7, b""),
    "blanks": mail(8, b" \t \r\nend \r\n\r\n\r\n"),
}  # fmt: skip


def opendkim(path: Path, data: bytes, key: Key) -> str:
    """What OpenDKIM says of the signature of one key."""
    for field in re.findall(rb"(?mis)^dkim-signature:.*?\r\n(?![ \t])", data):
        if f"s={key.selector};".encode() not in field:
            data = data.replace(field, b"")
    (path / "mail").write_bytes(data)
    (path / "keys").write_text(f"{key.name} {key.record}\n")
    (path / "conf").write_text(f"TestPublicKeys {path}/keys\nMode v\n")
    assert _OPENDKIM
    words = [_OPENDKIM, "-x", str(path / "conf"), "-t", str(path / "mail")]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30)
    return done.stdout + done.stderr


@pytest.mark.parametrize("is_8bit", [True, False])
def test_signatures_hold_behind_a_postfix(tmp_path: Path, is_8bit: bool) -> None:
    """Verified by dkimpy and by OpenDKIM: 8 bits, lines of 5,000 characters, odd line ends."""
    host = Host()
    more = {} if is_8bit else {"smtpd_discard_ehlo_keywords": "8bitmime"}
    with behind(tmp_path / "postfix", host, **more) as server:
        with relaying(tmp_path / "mdir", port=server.port) as (world, _):
            made = world.run("dkim", "ours.test")
            assert made.returncode == 0, made.stderr
            for data in _BODIES.values():
                world.put_mail(data, *recipients("a"))
            world.start()
            eventually(lambda: len(host.taken) == len(_BODIES), 60)
        keys = find_keys(f"{tmp_path}/mdir/smtp-dkim", "ours.test")
    assert {"rsa", "ed25519"} == {key.kind for key in keys}
    for _, _, data in host.taken:
        assert [True, True] == verified(data, keys), data
        assert is_8bit or data.isascii()
        assert max(map(len, data.split(b"\r\n"))) <= 998
        assert data.count(b"\r\n") == data.count(b"\r") == data.count(b"\n")
        if _OPENDKIM:
            for key in keys:
                assert "succeeded" in opendkim(tmp_path, data, key), data
                broken = data.replace(b"Subject: number", b"Subject: Number")
                assert "failed" in opendkim(tmp_path, broken, key)
