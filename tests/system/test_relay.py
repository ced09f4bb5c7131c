"""The relay: mails of users and of the outbox leave by a smarthost, each recipient for itself."""

from __future__ import annotations

import json
import os
import re
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import product
from pathlib import Path

import attrs
import pytest

from mdirclient import Header
from mdirclient.errors import SettingsError
from mdirclient.mdird.users import set_password
from mdirclient.service.tls import own_certificate
from mdirclient.smtp.relay.smarthost import Relay, parse_relay
from tests.outboxed import ACCOUNT, JO, OUTBOX, Outboxed
from tests.places import PLACES
from tests.ports import free_port, is_listening
from tests.relayed import Host, recipients, relaying, smarthost
from tests.smtped import eventually, trusting

_MAIL = (
    f"From: Jo <{JO}>\r\nTo: x@there.test\r\nBcc: secret@there.test\r\nSubject: Grüße\r\n"
    "Message-ID: <one@ours.test>\r\nMIME-Version: 1.0\r\n"
    "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
    "\r\nä\r\n"
).encode()


def test_each_recipient_for_itself(tmp_path: Path) -> None:
    """One is taken, one comes later, one never: the user is told of the last."""
    host = Host(
        says={
            "b@there.test": ["450 4.2.0 Later", "450 4.2.0 Later", "250 2.1.5 Ok"],
            "c@there.test": ["550 5.1.1 No such user"],
        }
    )
    with relaying(tmp_path) as (world, port), smarthost(host, port):
        world.put_mail(_MAIL, *recipients("a", "b", "c"))
        world.start()
        world.until(2)
        assert [["a@there.test"], ["b@there.test"]] == [one for _, one, _ in host.taken]
        assert [] == world.entries(OUTBOX)
        told = [one for one in world.entries(ACCOUNT) if one.get("type") == "delivery-status"]
        assert told
        with world.connect() as mdird, mdird.store.open(told[0]["anchor"][:-1] + "0") as file:
            report = file.read().decode()
        assert "Final-Recipient: rfc822; c@there.test" in report
        assert "Status: 5.1.1" in report
        assert "a@there.test" not in report.partition("message/rfc822")[0]


def test_who_has_it_gets_it_once(tmp_path: Path) -> None:
    """Nobody gets a mail again whose other recipients were taken away by its user."""
    host = Host()
    with relaying(tmp_path) as (world, port), smarthost(host, port):
        world.put_mail(_MAIL, *recipients("a"), ("settled", "a@there.test"))
        world.start()
        world.until(1)
    assert [] == host.taken


def test_a_field_behind_a_bare_cr(tmp_path: Path) -> None:
    """It would be one when the CR ends a line: it is checked before anything is signed."""
    host = Host()
    with relaying(tmp_path) as (world, port), smarthost(host, port):
        forged = _MAIL.replace(b"Subject: ", b"Subject: x\rFrom: boss@ours.test\rX-Rest: ")
        url = world.put_mail(forged, *recipients("a"))
        hidden = _MAIL.replace(b"<one@", b"<two@").replace(b"Bcc: ", b"X: x\rBcc: ")
        world.put_mail(hidden, *recipients("a"))
        world.start()
        eventually(lambda: world.status(url) == "failed")
        world.until(2)
    assert 1 == len(host.taken)
    assert b"secret@there.test" not in host.taken[0][2]


def test_nobody_has_it_in_the_end(tmp_path: Path) -> None:
    """One is refused at once and the other later: then it has failed, and is not filed as sent."""
    host = Host(
        says={
            "a@there.test": ["550 5.1.1 No"],
            "b@there.test": ["450 4.2.0 Later", "550 5.1.1 No"],
        }
    )
    with relaying(tmp_path) as (world, port), smarthost(host, port):
        url = world.put_mail(_MAIL, *recipients("a", "b"))
        world.start()
        eventually(lambda: world.status(url) == "failed")
        assert {"delivery-status"} == {one.get("type") for one in world.entries(ACCOUNT)}
    assert [] == host.taken


def test_nobody_is_taken(tmp_path: Path) -> None:
    """A mail that nobody takes stays in the outbox as failed, and its user is told."""
    host = Host(end=["554 5.7.1 Spam"])
    with relaying(tmp_path) as (world, port), smarthost(host, port):
        url = world.put_mail(_MAIL, *recipients("a", "b"))
        world.start()
        world.until(1)
        eventually(lambda: world.status(url) == "failed")
        assert [] == host.taken
        assert 1 == host.tried


def test_away_and_back(tmp_path: Path) -> None:
    """While the smarthost is away nothing is lost, and nothing comes twice."""
    host = Host()
    with relaying(tmp_path) as (world, port):
        urls = [
            world.put_mail(_MAIL.replace(b"<one@", b"<%d@" % n), *recipients("a")) for n in range(3)
        ]
        world.start()
        eventually(lambda: all(world.status(url) == "deferred" for url in urls))
        with smarthost(host, port):
            world.until(3)
    assert 3 == len(host.taken)


def test_link_dies_after_the_dot(tmp_path: Path) -> None:
    """Whether it was taken nobody knows then: it is sent once more, not again and again."""
    host = Host(end=[None, "250 2.0.0 Ok"])
    with relaying(tmp_path) as (world, port), smarthost(host, port):
        world.put_mail(_MAIL, *recipients("a"))
        world.start()
        world.until(1)
        world.stop()
    assert 2 == len(host.taken)


def test_no_bare_line_end(tmp_path: Path) -> None:
    """What leaves has no Bcc and no bare CR or LF."""
    host = Host()
    with relaying(tmp_path) as (world, port), smarthost(host, port):
        world.put_mail(_MAIL + b"a\rb\nc\r\r\nd\n.\r\ne")
        world.start()
        world.until(1)
    (sender, recipients, data) = host.taken[0]
    assert (JO, ["x@there.test", "secret@there.test"]) == (sender, recipients)
    assert b"secret@there.test" not in data
    assert data.count(b"\r\n") == data.count(b"\r") == data.count(b"\n")
    assert data.endswith(b"a\r\nb\r\nc\r\n\r\nd\r\n.\r\ne\r\n")


def test_tls_and_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that leads nowhere gets neither mail nor password; a good one gets both."""
    certificate = own_certificate(str(tmp_path), "localhost")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    host = Host()
    url = "smtp://jo%40there:se%3Acret@localhost:{port}"
    with relaying(tmp_path / "mdir", url) as (world, port), smarthost(host, port, context):
        mail = world.put_mail(_MAIL)
        process = world.start()
        eventually(lambda: world.status(mail) == "deferred")
        assert ([], []) == (host.taken, host.logins)
        process.terminate()
        process.wait(30)
        world.processes.remove(process)
        world.start(SSL_CERT_FILE=certificate)
        world.until(1)
        assert (1, ["jo@there"]) == (len(host.taken), host.logins)
        assert "se:cret" not in world.log


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smtps://mail.x.org", Relay("mail.x.org", 465, True, password="")),
        ("smtp://mail.x.org", Relay("mail.x.org", 587, False, password="")),
        ("smtp://[::1]:25?tls=no", Relay("::1", 25, False, False, password="")),
        ("smtps://u%40x:p%2Fw@h:1", Relay("h", 1, True, True, "u@x", "p/w")),
    ],
)
def test_relays(text: str, expected: Relay) -> None:
    """Where the smarthost is, as people write it."""
    assert expected == parse_relay(text)


@pytest.mark.parametrize(
    "text",
    [
        "mail.x.org", "http://x", "smtp://", "smtps://x?tls=no", "smtp://x?tls=yes", "smtp://x/y",
        "smtp://u:secret@mail.x.org?tls=no", "smtp://x:port",
    ],
)  # fmt: skip
def test_no_relays(text: str) -> None:
    """Anything else is said to be wrong, without the password."""
    with pytest.raises(SettingsError) as caught:
        parse_relay(text)
    assert "secret" not in str(caught.value)


# -- two servers, each the other's smarthost


@attrs.define
class Served:
    """`mdir-smtp serve` of one domain."""

    world: Outboxed
    ports: dict[str, int]

    def mails(self, address: str) -> list[Header]:
        """The first parts of the mails in an account."""
        found = self.world.entries(f"{PLACES.accounts}/{address}")
        return [one for one in found if one["part"] == "1"]


def _domain(path: Path, address: str) -> Outboxed:
    """An mdir with one account, whose password is `secret`."""
    from mdirclient import connect
    from mdirclient.smtp.accounts import add_account

    environ = {
        "MDIRD": f"file://{path}/mdir",
        "MDIR_SMTP_STATE": f"{path}/smtp.sqlite3",
        "MDIR_SMTP_HOSTNAME": f"mx.{address.rpartition('@')[2]}",
        "PATH": "/usr/bin:/bin",
    }
    path.mkdir()
    with connect(environ["MDIRD"]) as mdird:
        add_account(mdird, PLACES, address)
        set_password(mdird, PLACES.users, address, "secret")
    return Outboxed(path, environ)


@contextmanager
def two_servers(path: Path) -> Iterator[tuple[Served, Served]]:
    """Start both, and end them."""
    kinds = ("smtp", "submission")
    ports = [{kind: free_port() for kind in kinds} for _ in range(2)]
    worlds = [_domain(path / "a", "al@a.test"), _domain(path / "b", "bo@b.test")]
    with ExitStack() as stack:
        for world, own, other in zip(worlds, ports, reversed(ports), strict=True):
            listens = ",".join(f"{kind}://127.0.0.1:{own[kind]}" for kind in kinds)
            relay = f"smtp://127.0.0.1:{other['smtp']}?tls=no"
            log = stack.enter_context((world.path / "log").open("w"))
            process = subprocess.Popen(
                [sys.executable, "-m", "mdirclient.cli.smtp", "serve", "--json",
                 "--listen", listens],
                env=world.environ | {"MDIR_SMTP_RELAY": relay}, stderr=log,
            )  # fmt: skip
            world.processes.append(process)
        try:
            for world, own in zip(worlds, ports, strict=True):
                eventually(lambda own=own: all(map(is_listening, own.values())))  # type: ignore[misc]
                eventually(lambda world=world: '"lease"' in world.log)  # type: ignore[misc]
            yield Served(worlds[0], ports[0]), Served(worlds[1], ports[1])
        finally:
            for world in worlds:
                world.stop()


@contextmanager
def _submitting(one: Served, user: str) -> Iterator[smtplib.SMTP]:
    with smtplib.SMTP("127.0.0.1", one.ports["submission"], timeout=30) as client:
        client.starttls(context=trusting())
        client.login(user, "secret")
        yield client


def _kinds(one: Served) -> list[str | None]:
    return [mail.get("type") for mail in one.mails("al@a.test")]


def test_two_servers(tmp_path: Path) -> None:
    """A submission, an answer to it and a notification walk the whole way between two servers."""
    mail = (
        b"From: al@a.test\r\nTo: bo@b.test\r\nMessage-ID: <1@a.test>\r\nSubject: Hi\r\n\r\nHi\r\n"
    )
    with two_servers(tmp_path) as (a, b):
        with _submitting(a, "al@a.test") as client:
            client.sendmail("al@a.test", ["bo@b.test", "al@a.test"], mail)
            # The same mail to others, as clients send a blind copy, is not lost.
            client.sendmail("al@a.test", ["nobody@b.test"], mail)
        eventually(lambda: len(b.mails("bo@b.test")) == 1, 30)
        (come,) = b.mails("bo@b.test")
        assert "al@a.test" == come["envelope-from"]
        assert "by mx.a.test with ESMTPSA id" in come["mail-received"]
        with _submitting(b, "bo@b.test") as client:
            client.sendmail(
                "bo@b.test", ["al@a.test"], mail.replace(b"al@a", b"bo@b").replace(b"<1@", b"<2@")
            )
        eventually(lambda: _kinds(a).count("delivery-status") == 1, 30)
        eventually(lambda: any(m["envelope-from"] == "bo@b.test" for m in a.mails("al@a.test")), 30)
        # Own domains are delivered to directly; what was sent is filed by its user's rules.
        own = [m for m in a.mails("al@a.test") if m["envelope-from"] == "al@a.test"]
        assert own
        events = [json.loads(line)["event"] for line in a.world.log.splitlines()]
        assert "defect" not in events


def test_submission_is_for_own_names(tmp_path: Path) -> None:
    """Nobody else relays, and a user does not send in the name of others."""
    with two_servers(tmp_path) as (a, b):
        with smtplib.SMTP("127.0.0.1", a.ports["smtp"], timeout=30) as client:
            client.ehlo()
            client.mail("al@a.test")
            assert 550 == client.rcpt("bo@b.test")[0]
        forged = b"From: boss@b.test\r\nTo: bo@b.test\r\nMessage-ID: <1@a.test>\r\n\r\nPay\r\n"
        with _submitting(a, "al@a.test") as client:
            assert 550 == client.mail("bo@b.test")[0]
            client.rset()
            client.mail("al@a.test")
            assert 553 == client.rcpt("a..b@b.test")[0]
            client.rset()
            for mail, expected in (
                (
                    forged.replace(b"From: boss@b", b"X: x\rFrom: boss@b\rFrom: al@a"),
                    (554, b"5.6.0 A field has a bare CR"),
                ),
                (forged, (550, b"5.7.1 This address is not yours")),
                (forged.replace(b"From", b"X"), (554, b"5.6.0 The field From cannot be used")),
                (
                    forged.replace(b"boss@b", b"al@a, boss@b"),
                    (550, b"5.7.1 This address is not yours"),
                ),
                (
                    b"Received: x\r\n" * 51 + forged.replace(b"boss@b", b"al@a"),
                    (554, b"5.4.6 Too many hops"),
                ),
            ):
                for recipient in ("bo@b.test", "al@a.test"):
                    with pytest.raises(smtplib.SMTPDataError) as caught:
                        client.sendmail("al@a.test", [recipient], mail)
                    assert expected == caught.value.args
        assert [] == a.mails("al@a.test")
        assert [] == b.mails("bo@b.test")


def test_what_users_want_to_be_told(tmp_path: Path) -> None:
    """DSN is for users only (RFC 3461): of own recipients, and of a smarthost without it."""
    mail = b"From: al@a.test\r\nSubject: Hi\r\nMessage-ID: <1@a.test>\r\n\r\nbody\r\n"
    with two_servers(tmp_path) as (a, _):
        with smtplib.SMTP("127.0.0.1", a.ports["smtp"], timeout=30) as client:
            client.ehlo()
            assert not client.has_extn("dsn")
            assert 555 == client.mail("al@a.test", ["RET=HDRS"])[0]
        with _submitting(a, "al@a.test") as client:
            client.ehlo()
            assert client.has_extn("dsn")
            assert 555 == client.mail("al@a.test", ["RET=ALL"])[0]
            client.mail("al@a.test", ["RET=HDRS", "ENVID=QQ+2B1"])
            assert 555 == client.rcpt("bo@b.test", ["NOTIFY=NEVER,SUCCESS"])[0]
            assert 250 == client.rcpt("al@a.test", ["NOTIFY=SUCCESS"])[0]
            orcpt = "ORCPT=rfc822;bo+2Bx@b.test"
            assert 250 == client.rcpt("bo@b.test", ["NOTIFY=SUCCESS,FAILURE", orcpt])[0]
            assert 250 == client.rcpt("nobody@b.test", ["NOTIFY=NEVER"])[0]
            assert 250 == client.rcpt("nothing@b.test", ["NOTIFY=FAILURE"])[0]
            assert 250 == client.data(mail)[0]
        eventually(lambda: _kinds(a).count("delivery-status") == 3, 30)
        found = [_text(a, one) for one in a.mails("al@a.test") if one.get("type")]
        by_action = {re.findall(r"Action: (\w+)", text)[0]: text for text in found}
        assert {"delivered", "relayed", "failed"} == set(by_action)
        assert all("Original-Envelope-Id: QQ+1" in text for text in found)
        assert all("body" not in text for text in found)
        assert "Original-Recipient: rfc822; bo+x@b.test" in by_action["relayed"]
        assert "Final-Recipient: rfc822; al@a.test" in by_action["delivered"]
        assert "Final-Recipient: rfc822; nothing@b.test" in by_action["failed"]
        assert not any("nobody@b.test" in text for text in found)


def _text(one: Served, header: Header) -> str:
    with one.world.connect() as mdird, mdird.store.open(header["anchor"][:-1] + "0") as file:
        return file.read().decode()


# -- Postfix's smtp-sink, with a fault at each step

_SINK = "/usr/sbin/smtp-sink"
#: Option of smtp-sink → what becomes of the mail: a soft error, a hard one, a dropped connection,
#: and 421 before that.
_FAULTS = {"-r": "deferred", "-f": "failed", "-q": "deferred", "-Q": "deferred"}


@pytest.mark.skipif(not Path(_SINK).exists(), reason="there is no Postfix")
@pytest.mark.parametrize("option", _FAULTS)
def test_faults_at_every_step(tmp_path: Path, option: str) -> None:
    """What can be mended by time is tried again, and taken then; what cannot is told."""
    steps = ("MAIL", "RCPT", "DATA", ".")
    with relaying(tmp_path) as (world, port):
        world.start()
        urls = []
        for number, step in enumerate(steps):
            with _sink(port, option, step):
                data = _MAIL.replace(b"<one@", b"<%d@" % number)
                urls.append(world.put_mail(data, *recipients("a", "b")))
                eventually(lambda: world.status(urls[-1]) == _FAULTS[option], 30)
        is_lost = _FAULTS[option] == "failed"
        with _sink(port, "-m", "100"):
            expected = "failed" if is_lost else None
            eventually(lambda: {expected} == {world.status(url) for url in urls}, 30)


@pytest.mark.skipif(not Path(_SINK).exists(), reason="there is no Postfix")
def test_faults_of_the_connection(tmp_path: Path) -> None:
    """Nothing of these is the mail's fault: it waits, or was taken already; slowness is none."""
    with relaying(tmp_path) as (world, port):
        world.start()
        for number, (step, option) in enumerate(product(("CONNECT", "EHLO", "QUIT"), _FAULTS)):
            # Who refuses EHLO may know HELO; what is said to QUIT is not listened to.
            is_sent = step == "QUIT" or (step == "EHLO" and option in ("-r", "-f"))
            with _sink(port, option, step):
                url = world.put_mail(_MAIL.replace(b"<one@", b"<%d@" % number), *recipients("a"))
                expected = None if is_sent else "deferred"
                eventually(lambda: world.status(url) == expected, 30)  # noqa: B023
        with _sink(port, *(word for verb in ("MAIL", "RCPT", ".") for word in ("-W", f"{verb}:1"))):
            eventually(lambda: world.entries(OUTBOX) == [], 30)
        assert not [one for one in world.entries(ACCOUNT) if one.get("type")]


@contextmanager
def _sink(port: int, *words: str) -> Iterator[None]:
    user = ["-u", "nobody"] if os.getuid() == 0 else []
    with subprocess.Popen([_SINK, *user, *words, f"127.0.0.1:{port}", "10"]) as process:
        try:
            eventually(lambda: is_listening(port))
            yield
        finally:
            process.kill()
