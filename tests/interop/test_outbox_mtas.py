"""The outbox in front of real programs: Postfix's sendmail, and msmtp."""

from __future__ import annotations

import email
import email.policy
import re
import shutil
import subprocess
from pathlib import Path

import dkim
import pytest

from tests.outboxed import JO, outboxed
from tests.ports import free_port
from tests.postfixed import postfix
from tests.smtped import eventually

_SENDMAIL = shutil.which("sendmail", path="/usr/sbin")
_MSMTP = shutil.which("msmtp", path="/usr/bin")
_TO = "mail@postfix.test"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """A private key, and the DNS record of the public one."""
    file = tmp_path_factory.mktemp("key") / "key.pem"
    openssl = ["openssl", "genrsa", "-traditional", "-out", str(file), "2048"]
    subprocess.run(openssl, check=True, capture_output=True)
    public = subprocess.run(
        ["openssl", "rsa", "-in", str(file), "-pubout"], check=True, capture_output=True
    ).stdout
    record = b"v=DKIM1; k=rsa; p=" + b"".join(public.splitlines()[1:-1])
    return file.read_bytes(), record


def signed(mail: bytes, key: bytes, canonical: str) -> bytes:
    """A mail with its signature."""
    forms = tuple(word.encode() for word in canonical.split("/"))
    signature = dkim.sign(mail, b"s", b"ours.test", key, canonicalize=forms)
    return bytes(signature) + mail


def is_valid(mail: bytes, record: bytes) -> bool:
    """Whether the signature of a mail is right."""
    wire = re.sub(rb"\r?\n", b"\r\n", mail)
    return bool(dkim.verify(wire, dnsfunc=lambda *_, **__: record))


BODIES = {
    "small": b"body\r\n",
    "dots": b".\r\n..\r\n.x\r\nFrom here on\r\n",
    "8 bit": "Grüße \N{SNOWMAN}\r\n".encode() + bytes(range(128, 256)) + b"\r\n",
    "blanks": b"  x \t \r\n\r\n \t\r\nend  \r\n\r\n",
}


@pytest.mark.parametrize("canonical", ["relaxed/relaxed", "simple/simple", "relaxed/simple"])
def test_signatures_survive(tmp_path: Path, key: tuple[bytes, bytes], canonical: str) -> None:
    """A whole mail passes Postfix's sendmail with its signature still valid; Bcc is gone."""
    private, record = key
    with outboxed(tmp_path / "o") as world, postfix(tmp_path / "postfix") as server:
        world.start(MDIR_SMTP_SENDMAIL=f"{_SENDMAIL} -C {server.path}/etc")
        for name, body in BODIES.items():
            head = f"From: {JO}\r\nTo: {_TO}\r\nSubject: {name}\r\nMIME-Version: 1.0\r\n"
            mail = head.encode() + b"Content-Transfer-Encoding: 8bit\r\n\r\n" + body
            data = signed(mail, private, canonical)
            assert is_valid(data, record)
            world.put_mail(b"Bcc: hidden@postfix.test\r\n" + data, ("envelope-to", _TO))
        eventually(lambda: len(server.mails()) == len(BODIES), 30)
        world.until(len(BODIES))
        for found in server.mails():
            assert is_valid(found, record), found
            assert b"hidden" not in found
        assert [] == world.entries()


def test_parts_through_postfix(tmp_path: Path) -> None:
    """Another parser finds what was put there; sent to all, the hidden one included."""
    with outboxed(tmp_path / "o") as world, postfix(tmp_path / "postfix") as server:
        world.start(MDIR_SMTP_SENDMAIL=f"{_SENDMAIL} -C {server.path}/etc")
        fields = [("to", _TO), ("bcc", "root@postfix.test"), ("subject", "Grüße")]
        world.compose(*fields, attach=[b"\r\n.\r\n\0", b"x" * 100_000])
        world.until(1)
        eventually(lambda: len(server.mails()) == 1, 30)
        (data,) = server.mails()
        message = email.message_from_bytes(data, policy=email.policy.default)
        contents = [part.get_content() for part in message.iter_parts()]
        assert ["Hello\n", b"\r\n.\r\n\0", b"x" * 100_000] == contents
        assert "Grüße" == message["subject"]
        assert f"<{JO}>" == message["return-path"]
        assert re.search(r"to=<root@postfix\.test>", server.log)


def test_postfix_without_a_queue(tmp_path: Path) -> None:
    """What cannot be queued is tried again."""
    with outboxed(tmp_path / "o") as world, postfix(tmp_path / "postfix") as server:
        # Postfix's program waits for ever where its queue is missing.
        world.start("--deadline", "1", MDIR_SMTP_SENDMAIL=f"{_SENDMAIL} -C {server.path}/etc")
        drop = server.path / "queue" / "maildrop"
        drop.rename(drop.with_name("away"))
        url = world.compose(("to", _TO))
        eventually(lambda: world.status(url) == "deferred", 30)
        drop.with_name("away").rename(drop)
        world.until(1)


@pytest.mark.skipif(not _MSMTP, reason="needs msmtp")
def test_msmtp(tmp_path: Path) -> None:
    """Taken, refused for good, refused for now, and nobody there: the right end for each."""
    access = "{{no@postfix.test = 550 no}, {later@postfix.test = 451 later}}"
    settings = {"smtpd_recipient_restrictions": f"check_recipient_access inline:{access}, permit"}
    with (
        outboxed(tmp_path / "o") as world,
        postfix(tmp_path / "postfix", **settings) as server,
    ):
        config = tmp_path / "msmtprc"
        config.write_text(f"account default\nhost 127.0.0.1\nport {server.port}\n")
        config.chmod(0o600)
        nobody = tmp_path / "nobody"
        nobody.write_text(f"account default\nhost 127.0.0.1\nport {free_port()}\n")
        nobody.chmod(0o600)
        away = world.start(MDIR_SMTP_SENDMAIL=f"{_MSMTP} -C {nobody}")
        good = world.compose(("to", _TO))
        eventually(lambda: world.status(good) == "deferred", 30)
        away.terminate()
        assert 0 == away.wait(30)
        world.processes.remove(away)
        world.start(MDIR_SMTP_SENDMAIL=f"{_MSMTP} -C {config}")
        world.until(1)
        eventually(lambda: len(server.mails()) == 1, 30)
        refused = world.compose(("to", "no@postfix.test"))
        later = world.compose(("to", "later@postfix.test"))
        eventually(lambda: world.status(refused) == "failed", 30)
        eventually(lambda: world.status(later) == "deferred", 30)
