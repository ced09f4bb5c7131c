"""The SMTP server and its clients: users, limits, TLS, and the end of its time."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import smtplib
import socket
import ssl
import struct
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mdirclient import Header, connect, make_folder
from mdirclient.mdird.rights import rights_url
from mdirclient.mdird.tree import folder_id
from mdirclient.mdird.users import find_user, set_password
from mdirclient.smtp.serve.limits import Limits
from tests.mails import small
from tests.places import PLACES
from tests.smtped import (
    ACCOUNTS,
    Smtped,
    change_user,
    code,
    crlf,
    eventually,
    send,
    smtp_serving,
    trusting,
)
from tests.system.commands import World

JO, LI = ACCOUNTS
MO = "mo@ours.test"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smtped]:
    """One server for the tests that leave nothing behind but mails."""
    path = tmp_path_factory.mktemp("smtp")
    limits, accounts = Limits(size=20 << 20, per_hour=5), (*ACCOUNTS, MO)
    with smtp_serving(path, limits, accounts=accounts, passwords=True) as world:
        yield world


# -- users


def test_login(shared: Smtped) -> None:
    """PLAIN and LOGIN on TLS; wrong ones are 535; a user sends in their own name only."""
    with shared.client("submission") as client:
        client.ehlo()
        assert "530 5.7.0" == code(lambda: client.mail(JO))
        client.starttls(context=trusting())
        with pytest.raises(smtplib.SMTPAuthenticationError) as refused:
            client.login(JO, "wrong")
        assert (535, b"5.7.8") == (refused.value.smtp_code, refused.value.smtp_error.split()[0])
        client.user, client.password = LI, "secret"
        assert 235 == client.auth("LOGIN", client.auth_login)[0]
        assert "550 5.7.1" == code(lambda: client.mail(JO))
        assert "250 2.1.0" == code(lambda: client.mail("li+news@ours.test"))
        assert "550 5.7.1" == code(lambda: client.rcpt("x@other.test"))
        assert 503 == client.docmd("AUTH", "PLAIN")[0]
        assert "250 2.1.5" == code(lambda: client.rcpt(JO))


def test_quota(shared: Smtped) -> None:
    """After so many recipients in an hour 450, and the postmaster is told once."""
    with shared.client("submissions") as client:
        client.login(MO, "secret")
        client.mail(MO)
        answers = [code(lambda: client.rcpt(JO)) for _ in range(9)]
        assert {"250 2.1.5", "450 4.7.1"} == set(answers)
        assert "450 4.7.1" == answers[-1]

    def reports() -> list[Header]:
        with shared.served.embedded() as mdird:
            pattern = Header([("type", "report")])
            return list(mdird.lookup(f"{PLACES.accounts}/{JO}", pattern))

    eventually(lambda: len(reports()) == 1)
    assert f"{MO} sent to more than 5 recipients in an hour" == reports()[0]["reason"]


# -- limits


def test_who_is_refused_takes_nobodys_place(tmp_path: Path) -> None:
    """One address with more than its share does not keep others out."""
    limits = Limits(per_address=3, connections=20, early=0, allow=(), grey_for=0)
    with smtp_serving(tmp_path, limits) as world:
        port = world.ports["smtp"]
        held = [socket.create_connection(("127.0.0.1", port), 20) for _ in range(40)]
        assert [b"220"] * 3 + [b"421"] * 37 == [sock.recv(3) for sock in held]
        other = ("127.0.0.9", 0)
        with socket.create_connection(("127.0.0.1", port), 20, source_address=other) as sock:
            assert b"220" == sock.recv(3)
        for sock in held:
            sock.close()


def test_limits_of_addresses(tmp_path: Path) -> None:
    """So many connections from one address, and all; loopback is exempt unless told otherwise."""
    limits = Limits(per_address=2, connections=4, early=0, allow=(), grey_for=0)
    with smtp_serving(tmp_path, limits) as world:
        with (
            world.client() as one,
            world.client(),
            pytest.raises(smtplib.SMTPConnectError) as error,
        ):
            assert 250 == one.noop()[0]
            world.client()
        assert 421 == error.value.smtp_code
        eventually(lambda: world.server is not None and not world.server.sessions)
        with world.client() as client:
            assert 250 == client.noop()[0]


def test_early_talkers(tmp_path: Path) -> None:
    """Who does not wait for the greeting is not listened to; who does is greeted."""
    with smtp_serving(tmp_path, Limits(early=3, allow=(), grey_for=0)) as world:
        with world.socket() as sock:
            sock.sendall(b"EHLO x\r\n")
            assert b"554 5.5.0 " == b"".join(iter(lambda: sock.recv(1000), b""))[:10]
        with world.client() as client:
            assert 250 == client.ehlo()[0]


@pytest.mark.parametrize(
    "start",
    [b"", b"EHLO ", b"EHLO x\r\nMAIL FROM:<a@b>\r\nRCPT TO:<jo@ours.test>\r\nDATA\r\n"],
)
def test_slow_clients_are_cut(tmp_path: Path, start: bytes) -> None:
    """Who says nothing, who never ends a line, and whose mail drips."""
    limits = Limits(idle=1, rate=1_000_000)
    with smtp_serving(tmp_path, limits) as world, world.socket() as sock:
        sock.sendall(start)
        answer, deadline = b"", time.monotonic() + 20
        while start.endswith(b"DATA\r\n") and b"354" not in answer:
            answer += sock.recv(1000)
        sock.settimeout(0.2)
        while not answer.endswith(b"421 4.4.2 Too slow\r\n"):
            assert time.monotonic() < deadline
            with contextlib.suppress(TimeoutError):
                answer += sock.recv(1000)
            with contextlib.suppress(BrokenPipeError):
                sock.sendall(b"x" if start else b"")
        eventually(lambda: world.server is not None and not world.server.sessions)


def test_a_client_that_does_not_read(tmp_path: Path) -> None:
    """Its commands wait, and memory does not grow; in the end it is cut."""
    with smtp_serving(tmp_path, Limits(idle=2, errors=10**6)) as world, world.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.settimeout(0.5)
        deadline = time.monotonic() + 30
        with pytest.raises(OSError):
            while time.monotonic() < deadline:
                sock.sendall(b"FOO\r\n" * 100)
        assert world.server
        for session in list(world.server.sessions):
            assert session.engine.buffered < 100_000
        eventually(lambda: world.server is not None and not world.server.sessions)


def test_a_handshake_that_breaks_off(tmp_path: Path) -> None:
    """Nothing of it stays, after STARTTLS and where TLS comes first; both count from the start."""
    limits = Limits(per_address=3, allow=(), early=0, grey_for=0)
    with smtp_serving(tmp_path, limits) as world:
        assert world.server
        for kind in ["smtp", "submissions"] * 5:
            sock = world.socket(kind)
            if kind == "smtp":
                sock.sendall(b"EHLO x\r\nSTARTTLS\r\n")
                while b"220 2.0.0" not in sock.recv(1000):
                    pass
            # RST instead of FIN: asyncio does not tell while it shakes hands.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
            eventually(lambda: world.server is not None and not world.server.sessions)
        silent = [world.socket("submissions") for _ in range(4)]
        assert b"421" == silent[-1].recv(1000)[:3]
        for sock in silent:
            sock.close()


def said_with_the_handshake(sock: socket.socket, line: bytes) -> bytes:
    """Shake hands, and send a line in one piece with the end of it; what is answered."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = trusting().wrap_bio(incoming, outgoing)
    while True:
        try:
            client.do_handshake()
            break
        except ssl.SSLWantReadError:
            sock.sendall(outgoing.read())
            incoming.write(sock.recv(16_000))
    client.write(line)
    sock.sendall(outgoing.read())
    answer = b""
    while b"\r\n" not in answer:
        incoming.write(sock.recv(16_000))
        with contextlib.suppress(ssl.SSLWantReadError):
            answer += client.read(1000)
    return answer


def test_a_command_with_the_end_of_the_handshake(tmp_path: Path) -> None:
    """TLS 1.3: what a client says at once is heard after STARTTLS, else it is too early."""
    with smtp_serving(tmp_path, Limits(early=1, allow=(), grey_for=0)) as world:
        with world.socket() as sock:
            assert b"220" == sock.recv(1000)[:3]
            sock.sendall(b"EHLO x\r\nSTARTTLS\r\n")
            while b"220 2.0.0" not in sock.recv(1000):
                pass
            assert said_with_the_handshake(sock, b"EHLO again\r\n").startswith(b"250-mx.test")
        with world.socket("submissions") as sock:
            assert said_with_the_handshake(sock, b"EHLO early\r\n").startswith(b"554 5.5.0")
    with smtp_serving(tmp_path / "exempt") as world, world.socket("submissions") as sock:
        assert said_with_the_handshake(sock, b"EHLO x\r\n").startswith(b"220 mx.test")


def test_guessers_do_not_keep_others_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So many of one address are held back at once; the next ones are told to come later."""
    monkeypatch.setattr("mdirclient.service.login._MAX_DELAYED", 6)
    given = base64.b64encode(b"\0nobody\0x")
    limits = Limits(drain=1.0)  # those that are held back need not be waited for
    with smtp_serving(tmp_path, limits, passwords=True) as world, contextlib.ExitStack() as stack:
        guessing = []
        for _ in range(14):
            sock = stack.enter_context(world.socket("submissions"))
            guessing.append(stack.enter_context(trusting().wrap_socket(sock)))
        for sock in guessing:  # that all are held back at the same time, however slow TLS is
            sock.sendall(b"EHLO x\r\nAUTH PLAIN " + given + b"\r\n")
        answers = dict.fromkeys(guessing, b"")

        def is_held() -> bool:
            """Three of them at least, in whatever order they came."""
            for sock in guessing:
                sock.settimeout(0.05)
                with contextlib.suppress(TimeoutError):
                    answers[sock] += sock.recv(1000)
            return sum(b"454 4.7.0" in answer for answer in answers.values()) >= 3

        eventually(is_held, 30)


def test_tls(tmp_path: Path) -> None:
    """From 1.2 on, no session tickets; what was sent before the handshake is dropped."""
    with smtp_serving(tmp_path) as world:
        old = trusting()
        old.set_ciphers("DEFAULT:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            old.minimum_version = ssl.TLSVersion.TLSv1
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with world.client() as client, pytest.raises(OSError):
            client.starttls(context=old)
        with world.client() as client:
            client.starttls(context=trusting())
            assert isinstance(client.sock, ssl.SSLSocket)
            client.ehlo()
            assert client.sock.version() in ("TLSv1.2", "TLSv1.3")
            assert not (client.sock.session and client.sock.session.has_ticket)
        with world.socket() as sock:
            assert sock.recv(100).startswith(b"220")
            sock.sendall(b"EHLO x\r\nSTARTTLS\r\nMAIL FROM:<evil@b.test>\r\n")
            answer = b""
            while b"220 2.0.0" not in answer:
                answer += sock.recv(1000)
            with trusting().wrap_socket(sock) as secured:
                secured.sendall(b"NOOP\r\nRCPT TO:<jo@ours.test>\r\nQUIT\r\n")
                found = b"".join(iter(lambda: secured.recv(1000), b""))
        assert [b"250", b"503", b"221"] == [line[:3] for line in found.splitlines()]


def test_external(tmp_path: Path) -> None:
    """A certificate of a user's logs them in; another, and another's name, do not."""
    from mdirclient.service.tls import own_certificate

    for name in ("jo", "eve"):
        (tmp_path / name).mkdir()
        own_certificate(str(tmp_path / name), name)
    both = (tmp_path / "jo/certificate.pem").read_text() + (
        tmp_path / "eve/certificate.pem"
    ).read_text()
    (tmp_path / "ca.pem").write_text(both)
    settings = {"MDIR_SMTP_CLIENT_CA": str(tmp_path / "ca.pem")}
    with smtp_serving(tmp_path, settings=settings) as world:
        pem = (tmp_path / "jo/certificate.pem").read_text()
        pem = pem[pem.index("-----BEGIN CERTIFICATE") :]
        digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
        change_user(world, JO, ("certificate-fingerprint", f"sha256:{digest.upper()}"))

        def answer(name: str, user: str) -> int:
            context = trusting()
            context.load_cert_chain(tmp_path / name / "certificate.pem")
            with smtplib.SMTP("127.0.0.1", world.ports["submission"], "x") as client:
                client.starttls(context=context)
                client.ehlo()
                given = base64.b64encode(user.encode()).decode() or "="
                return client.docmd("AUTH", f"EXTERNAL {given}")[0]

        eventually(lambda: answer("jo", "") == 235)
        assert 235 == answer("jo", JO)
        assert 535 == answer("jo", LI)
        assert 535 == answer("eve", "")
        assert 535 == answer("eve", JO)


@pytest.mark.parametrize("size", [1000, 3])
def test_stop_lets_a_mail_end(tmp_path: Path, size: int) -> None:
    """Who is in the middle of a mail may end it, taken or not; others are told to come back."""
    with smtp_serving(tmp_path, Limits(size=size)) as world:
        idle, busy = world.client(), world.client()
        idle.ehlo()
        busy.ehlo()
        busy.mail("a@b.test")
        busy.rcpt(JO)
        assert 354 == busy.docmd("DATA")[0]
        assert world.loop
        assert world.server
        stopping = asyncio_stop(world)
        assert 421 == idle.getreply()[0]
        busy.send(b"late\r\n.\r\n")
        assert (250 if size == 1000 else 552) == busy.getreply()[0]
        assert 421 == busy.getreply()[0]
        stopping()
        with pytest.raises(OSError):
            world.socket()
        idle.close()
        busy.close()
    assert ([b"late\r\n"] if size == 1000 else []) == world.mails()


def asyncio_stop(world: Smtped) -> Callable[[], object]:
    """Stop the server from another thread; returns what waits for it."""
    assert world.loop
    assert world.server
    return asyncio.run_coroutine_threadsafe(world.server.stop(), world.loop).result


def test_rights_of_a_connector(tmp_path: Path) -> None:
    """A user with the right `connector` is enough to receive, no administrator is needed."""
    with smtp_serving(tmp_path / "first") as world, world.served.embedded() as mdird:
        make_folder(mdird, "Other")
        url = rights_url(folder_id(mdird, "Other"))
        mdird.put("Other", Header([("url", url), ("type", "rights"), ("owner", JO)]))
        send(world, crlf(small(1)))
        assert 1 == len(world.mails())


def test_accounts_are_listed(tmp_path: Path) -> None:
    """With aliases and further accounts of their users; of secrets only that they are there."""
    world = World(tmp_path)
    world.account(JO)
    with connect(world.environ["MDIRD"]) as mdird:
        set_password(mdird, PLACES.users, JO, "secret")
        version, header = find_user(mdird, PLACES.users, JO)
        assert header
        more = ("alias", "jojo@ours.test"), ("sip", "sip:jo@voip.test"), ("sip", "sip:2@voip.test")
        mdird.set(PLACES.users, Header([*header, *more]), base=version)
    listed = world.right("mdir-smtp", "account", "list")
    assert f"{JO} user={JO} login=password alias=jojo@ours.test sip=sip:jo" in listed
    account = json.loads(world.right("mdir-smtp", "account", "list", "--json"))
    assert ["sip:jo@voip.test", "sip:2@voip.test"] == account["sip"]
    assert "scrypt" not in str(account)
