"""The SMTP server: what it takes, what it answers, and what is there afterwards."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import errno
import hashlib
import json
import re
import smtplib
import socket
import ssl
import struct
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from mdirclient import Header, connect, make_folder
from mdirclient.errors import StoreError, reply_error
from mdirclient.mdird.rights import rights_url
from mdirclient.mdird.tree import folder_id
from mdirclient.mdird.users import find_user, remove_user, set_password
from mdirclient.smtp.accounts import add_account
from mdirclient.smtp.serve.limits import Limits
from mdirclient.smtp.state import Record, State
from tests.crash.ladder import Ladder, counted
from tests.mails import small, two_photos
from tests.smtped import ACCOUNTS, PLACES, Smtped, change_user, smtp_serving, trusting
from tests.smuggling import VECTORS
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


def crlf(mail: bytes) -> bytes:
    """As it is sent."""
    return re.sub(rb"\r?\n", b"\r\n", mail)


def eventually(is_so: Callable[[], bool], timeout: float = 15) -> None:
    """Wait for something that another thread does."""
    deadline = time.monotonic() + timeout
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def code(do: Callable[[], tuple[int, bytes]]) -> str:
    """The reply of a command, code and enhanced code."""
    number, text = do()
    return f"{number} {text.decode().split(' ')[0]}"


def unique(prefix: str) -> str:
    """A message-id that no other test uses."""
    return f"{prefix}.{time.monotonic_ns()}@x.org"


# -- mails


@pytest.mark.parametrize("kind", ["smtp", "lmtp"])
def test_each_recipient_has_all_parts_and_their_own_envelope(shared: Smtped, kind: str) -> None:
    """The content is stored once; of the other recipients nobody learns."""
    message_id = unique(kind)
    mail = crlf(two_photos(message_id=message_id))
    answers = spoken(shared, mail, JO, LI, kind=kind)
    assert ["250"] * (2 if kind == "lmtp" else 1) == answers
    for address in ACCOUNTS:
        parts = [one for one in shared.entries(address) if message_id in one["url"]]
        assert ["1", "2", "3"] == [one["part"] for one in parts]
        for header in parts:
            assert (address,) == header.get_all("envelope-to")
            assert "a@b.test" == header["envelope-from"]
            assert ("127.0.0.1", "client.test") == (header["client-address"], header["helo"])
            protocol = "LMTP" if kind == "lmtp" else "ESMTP"
            assert header["received"].startswith(
                f"from client.test ([127.0.0.1]) by mx.test with {protocol} for <{address}>; "
            )
    assert mail in shared.mails(JO)
    eventually(lambda: len(shared.state.find(f"mdir:{message_id}/1")) == 1)
    (record,) = shared.state.find(f"mdir:{message_id}/1")
    assert ("accepted", (JO, LI), len(mail)) == (record.verdict, record.recipients, record.size)


@pytest.mark.parametrize("kind", ["smtp", "tls", "submissions", "lmtp"])
@pytest.mark.parametrize("size", [40_000, 5_000_000])
def test_large_mails_are_byte_exact(shared: Smtped, kind: str, size: int) -> None:
    """Through a thread that reads the socket, and through TLS."""
    message_id = unique("large")
    lines = b"".join(b".%d %s\r\n" % (number, b"x" * (number % 2000)) for number in range(5300))
    mail = b"Message-ID: <%s>\r\n\r\n" % message_id.encode() + lines[:size] + b"\xff\r\n"
    with shared.client("smtp" if kind == "tls" else kind) as client:
        if kind == "tls":
            client.starttls(context=trusting())
        if kind == "submissions":
            client.login(JO, "secret")
        client.sendmail(JO, [JO], mail)
    assert mail in shared.mails()


def test_bare_line_ends_are_kept(shared: Smtped) -> None:
    """They are bytes like any others, whatever stands around them."""
    mail = b"Message-ID: <%s>\r\n\r\na\nb\rc\r\r\n\n.\n\r\n..\r\n\0\r\n" % unique("bare").encode()
    assert ["250"] == replies(shared, mail.replace(b"\r\n.", b"\r\n.."))
    assert mail in shared.mails()


@pytest.mark.parametrize("name", VECTORS)
def test_smuggling_over_tcp(shared: Smtped, name: str) -> None:
    """One mail stays one mail, with the stream cut at each byte of the vector."""
    inner = b"MAIL FROM:<evil@b.test>\r\nRCPT TO:<%s>\r\nDATA\r\nX\r\n" % JO.encode()
    for cut in range(len(VECTORS[name]) + 1):
        message_id = unique("smuggle").encode()
        before = b"Message-ID: <%s>\r\n\r\nbody" % message_id
        stream = before + VECTORS[name] + inner
        assert ["250"] == replies(shared, stream, cuts=(len(before) + cut,))
        assert stream.replace(b"\r\n.", b"\r\n") in shared.mails()


def replies(world: Smtped, mail: bytes, *, cuts: tuple[int, ...] = ()) -> list[str]:
    """Send one mail as it is, in pieces; the codes that come after it."""
    return spoken(world, mail, JO, cuts=cuts)


def spoken(
    world: Smtped, mail: bytes, *recipients: str, kind: str = "smtp", cuts: tuple[int, ...] = ()
) -> list[str]:
    """The same, to some: smtplib reads one reply of LMTP."""
    with world.socket(kind) as sock, sock.makefile("rb") as file:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        hello = "LHLO" if kind == "lmtp" else "EHLO"
        lines = [f"{hello} client.test", "MAIL FROM:<a@b.test>"]
        lines += [*(f"RCPT TO:<{address}>" for address in recipients), "DATA", ""]
        sock.sendall("\r\n".join(lines).encode())
        while not file.readline().startswith(b"354"):
            pass
        stream = mail + b".\r\n"
        for start, end in zip((0, *cuts), (*cuts, len(stream)), strict=True):
            sock.sendall(stream[start:end])
        first = file.readline()
        sock.sendall(b"QUIT\r\n")
        rest = [line[:3].decode() for line in file]
        return [first[:3].decode(), *rest[:-1]]


def test_same_mail_again_and_another_of_the_same_id(shared: Smtped) -> None:
    """Delivery is idempotent, and a different mail is never dropped; all at once."""
    message_id = unique("twin")
    mails = [crlf(two_photos(text, message_id)) for text in ("one\r\n", "two\r\n")] * 6
    threads = [threading.Thread(target=send, args=(shared, mail)) for mail in mails]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    anchors = {one["anchor"] for one in shared.entries() if message_id in one["url"]}
    assert 2 == len(anchors)
    assert set(mails) <= set(shared.mails())


def send(world: Smtped, mail: bytes, *recipients: str) -> None:
    """Send one mail."""
    with world.client() as client:
        client.sendmail("a@b.test", recipients or (JO,), mail)


def test_an_empty_mail_is_refused(shared: Smtped) -> None:
    """There is nothing that could be kept."""
    assert ["554"] == replies(shared, b"")


def test_state_after_each_outcome(shared: Smtped) -> None:
    """After a refused mail, a large one and an empty one the next is as the first."""
    with shared.client() as client:
        client.ehlo()
        for _ in range(2):
            assert (250, b"2.1.0 Ok") == client.mail("a@b.test")
            assert 550 == client.rcpt("nobody@ours.test")[0]
            assert 503 == client.docmd("DATA")[0] or client.rset()
        client.mail("a@b.test", [f"SIZE={30 << 20}"])
        assert "503 5.5.1" == code(lambda: client.rcpt(JO))
        client.mail("a@b.test")
        client.rcpt(JO)
        assert 552 == client.data(b"x\r\n" * (7 << 20))[0]
        assert "503 5.5.1" == code(lambda: client.rcpt(JO))
        mail = crlf(small(1, unique("after")))
        client.sendmail("a@b.test", [JO], mail)
    assert mail in shared.mails()


# -- who gets it


@pytest.mark.parametrize(
    "recipient",
    [
        "victim@other.test",
        "victim%other.test@ours.test",
        "other.test!victim@ours.test",
        '"victim@other.test"@ours.test',
        '"victim%other.test"@ours.test',
        "@ours.test:victim@other.test",
        "@ours.test,@mx.test:victim@other.test",
        "victim@[127.0.0.1]",
        "jo@[127.0.0.1]",
        "jo@ours.test.other.test",
        "jo@xn--ours-test",
        "jo@our\u0455.test",
        "jo@ours\u3002other.test",
        "victim@other.test@ours.test",
        "victim@other.test,jo@ours.test",
        "jo\u0000@ours.test",
        "",
    ],
)
@pytest.mark.parametrize("sender", ["<>", "<jo@ours.test>", "<root@mx.test>"])
@pytest.mark.parametrize("helo", ["ours.test", "mx.test", "localhost"])
def test_never_an_open_relay(shared: Smtped, recipient: str, sender: str, helo: str) -> None:
    """The known tricks: each is refused for good, whoever somebody says they are."""
    with shared.client() as client:
        client.ehlo(helo)
        assert 250 == client.docmd("MAIL", f"FROM:{sender} SMTPUTF8")[0]
        client.send(f"RCPT TO:<{recipient}>\r\n".encode())
        number, text = client.getreply()
        assert number in (501, 550), text
        assert text.split(b" ")[0] in (b"5.1.1", b"5.7.1", b"5.1.3")
        assert 554 == client.docmd("DATA")[0]


def test_addresses(shared: Smtped) -> None:
    """Case, sub-addresses, source routes, postmaster and abuse; each of ours."""
    with shared.client() as client:
        client.ehlo()
        for number, recipient in enumerate(
            ["JO@OURS.TEST", "jo+lists@ours.test", '"jo"@ours.test', "@a.test:jo@ours.test."]
            + ["postmaster@ours.test", "Postmaster", "abuse@Ours.test"]
        ):
            client.mail("a@b.test")
            assert 250 == client.docmd("RCPT", f"TO:<{recipient}>")[0]
            mail = crlf(small(number, unique("to")))
            assert 250 == client.data(mail)[0]
            assert mail in shared.mails(JO)


def test_accounts_are_what_the_mdir_says(tmp_path: Path) -> None:
    """Made, given aliases and removed while the server runs; a catch-all; a domain in Unicode."""
    with smtp_serving(tmp_path) as world, world.served.embedded() as mdird:

        def answers(address: str) -> str:
            with world.client() as client:
                client.ehlo()
                client.docmd("MAIL", "FROM:<a@b.test> SMTPUTF8")
                client.send(f"RCPT TO:<{address}>\r\n".encode())
                number, text = client.getreply()
                return f"{number} {text.decode().split(' ')[0]}"

        assert "550 5.1.1" == answers("new@ours.test")
        add_account(mdird, PLACES, "new@ours.test")
        # Until the change is known to all of the server nobody is told that there is none.
        eventually(lambda: answers("new@ours.test") == "250 2.1.5")
        assert "550 5.7.1" == answers("jo@straße.test")
        alias = ("alias", "jo@straße.test"), ("alias", "@catch.test")
        change_user(world, JO, *alias)
        eventually(lambda: answers("jo@straße.test") == "250 2.1.5")
        # IDNA 2008 tells this from strasse.test.
        assert "250 2.1.5" == answers("JO@xn--strae-oqa.test")
        assert "550 5.7.1" == answers("jo@strasse.test")
        assert "250 2.1.5" == answers("whoever@catch.test")
        send(world, crlf(small(1)), "whoever@catch.test", "jo@ours.test", "jo+x@ours.test")
        assert 1 == len(world.mails(JO))
        remove_user(mdird, PLACES.users, JO)
        eventually(lambda: answers("whoever@catch.test") == "550 5.7.1")
        folder = f"{PLACES.accounts}/new@ours.test"
        mdird.remove(folder, Header([("type", "rights")]))
        mdird.remove(PLACES.accounts, Header([("type", "dir"), ("name", "new@ours.test")]))
        eventually(lambda: answers("new@ours.test") == "550 5.1.1")


def test_rules_of_the_owner_apply(tmp_path: Path) -> None:
    """The mail is classified in the account's folder: it goes where its rules say."""
    from mdirclient.mdird.rules import install_rules

    with smtp_serving(tmp_path) as world:
        with world.served.embedded() as mdird:
            install_rules(mdird, f"{PLACES.accounts}/{JO}", b'require "fileinto"; fileinto "Work";')
        send(world, crlf(small(1)))
        assert ["stribution"] == [header["type"] for header in world.entries(JO)]
        assert 1 == len(world.entries(f"{JO}/Work"))


# -- what goes wrong


@pytest.mark.parametrize("size", [100, 60_000])
def test_faults_of_the_store(tmp_path: Path, size: int) -> None:
    """Each call that the store makes fails once: 451, nothing half, and the next try is taken."""
    with smtp_serving(tmp_path, Limits(idle=5)) as world:
        ladder = Ladder()
        for step in ladder:
            mail = crlf(small(step, "x" * size))
            with counted(step, _fails, only=_is_ours) as counter:
                answer = sent(world, mail)
            ladder.note(is_reached=counter.count >= step)
            assert answer in ("250", "451")
            assert answer == "250" or counter.count >= step
            assert (mail in world.mails()) or answer == "451"
            assert "250" == sent(world, mail)
            assert 1 == world.mails().count(mail)
            world.log.clear()
        assert step > 15


def _is_ours() -> bool:
    return threading.current_thread().name.startswith("smtp-")


def _fails() -> None:
    raise OSError(errno.EIO, "injected")


def sent(world: Smtped, mail: bytes) -> str:
    """The code at the end of a mail."""
    with world.client() as client:
        client.ehlo()
        client.mail("a@b.test")
        client.rcpt(JO)
        return str(client.data(mail)[0])


def test_store_that_refuses_and_one_that_hangs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """451 at once, and 451 when there is no result in time; the connection goes on."""
    with smtp_serving(tmp_path, Limits(commit=0.5)) as world:
        assert world.server
        store = world.server.store
        commit_all = type(store).commit_all
        hold = threading.Event()

        def refusing(*_: object) -> list[object]:
            raise StoreError("no")

        def hanging(self: object, receivers: list[object]) -> object:
            hold.wait(20)
            return commit_all(self, receivers)  # type: ignore[arg-type]

        mail = crlf(small(1))
        monkeypatch.setattr(type(store), "commit_all", refusing)
        assert "451" == sent(world, mail)
        monkeypatch.setattr(type(store), "commit_all", hanging)
        assert ["451", "451"] == spoken(world, mail, JO, LI, kind="lmtp")
        hold.set()
        monkeypatch.setattr(type(store), "commit_all", commit_all)
        assert ["250", "250"] == spoken(world, mail, JO, LI, kind="lmtp")
        assert 1 == len(world.mails())
        eventually(lambda: len(world.state.since(0)) == 3)
        # The record of the second says what the client was told, not what came of it.
        assert ["deferred", "deferred", "accepted"] == [r.verdict for r in world.state.since(0)]


def test_lmtp_has_an_outcome_for_each(tmp_path: Path) -> None:
    """Where one account cannot take it, the other has it."""
    with smtp_serving(tmp_path) as world:
        assert world.server
        file = world.server.committer.file

        async def partly(filed: list[tuple[str, Header]]) -> Exception | None:
            if any(LI in folder for folder, _ in filed):
                return reply_error(404, "there is no such folder")
            return await file(filed)

        world.server.committer.file = partly  # type: ignore[method-assign, assignment]
        answers = spoken(world, crlf(small(1)), JO, LI, JO, kind="lmtp")
        assert ["250", "451", "250"] == answers
        assert 1 == len(world.mails(JO))


def test_the_store_has_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """451, for a small mail and in the middle of a large one."""
    with smtp_serving(tmp_path) as world:
        monkeypatch.setattr("mdirclient._fs.free_bytes", lambda _: 0)
        assert "451" == sent(world, crlf(small(1)))
        assert "451" == sent(world, crlf(small(2, "x" * 200_000)))
        monkeypatch.undo()
        assert "250" == sent(world, crlf(small(2, "x" * 200_000)))
        assert [] == list((tmp_path / "mdir" / "store" / "incoming").iterdir())


def test_a_silent_subscription(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that has another name now, and an account that only the mdird knows: noticed."""
    monkeypatch.setattr("mdirclient.smtp.following._BEAT", 0.1)
    with smtp_serving(tmp_path) as world, world.served.embedded() as mdird:
        assert world.server
        following = world.server.policy.following
        parent, _, name = PLACES.accounts.rpartition("/")
        old = next(iter(mdird.lookup(parent, Header([("type", "dir"), ("name", name)]))))
        mdird.put(parent, Header([("type", "dir"), ("name", "Old"), ("id", old["id"])]))
        mdird.remove(parent, Header([("type", "dir"), ("name", name), ("id", old["id"])]))
        add_account(mdird, PLACES, "new@ours.test")
        eventually(lambda: [one.name for one in following.book.accounts] == ["new@ours.test"])
        eventually(lambda: following.is_current)
        send(world, crlf(small(1)), "new@ours.test")


def test_another_folder_after_a_gap(tmp_path: Path) -> None:
    """The connection broke, and the folder has been replaced meanwhile: all is read again."""
    with smtp_serving(tmp_path) as world, world.served.embedded() as mdird:
        assert world.server
        assert world.loop
        following = world.server.policy.following
        parent, _, name = PLACES.accounts.rpartition("/")
        old = next(iter(mdird.lookup(parent, Header([("type", "dir"), ("name", name)]))))
        mdird.put(parent, Header([("type", "dir"), ("name", "Old"), ("id", old["id"])]))
        mdird.remove(parent, Header([("type", "dir"), ("name", name), ("id", old["id"])]))
        for number in range(3):
            add_account(mdird, PLACES, f"new{number}@ours.test")
        followed = following.followed[PLACES.accounts]
        assert followed.subscription
        closing = asyncio.run_coroutine_threadsafe(followed.subscription.close(), world.loop)
        closing.result(20)
        names = [f"new{number}@ours.test" for number in range(3)]
        eventually(lambda: [one.name for one in following.book.accounts] == names)
        eventually(lambda: following.is_current)


def test_records_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the server stops while they are written."""
    add = State.add

    def slow(self: State, records: Sequence[Record]) -> None:
        time.sleep(0.2)
        add(self, records)

    monkeypatch.setattr(State, "add", slow)
    with smtp_serving(tmp_path) as world:
        send(world, crlf(small(1)))
    state = State(str(tmp_path / "smtp.sqlite3"))
    assert 1 == len(state.since(0))
    assert 1 == state.forget(time.time() + 1)
    assert () == state.since(0)
    state.close()


def test_mails_with_many_large_headers(tmp_path: Path) -> None:
    """So many parts that their headers are more than a transaction holds: taken all the same."""
    parts = b"--b\r\n\r\nx\r\n" * 890
    field = b"X-Long: " + b"x" * 7000 + b"\r\n"
    mail = b"Content-Type: multipart/mixed; boundary=b\r\n" + field * 9 + b"\r\n" + parts + b"--b--"
    with smtp_serving(tmp_path) as world:
        assert ["250"] == replies(world, mail + b"\r\n")
        assert 890 == len(world.entries())
        assert ["250"] == replies(world, crlf(small(1)))


def test_a_client_that_goes_away(tmp_path: Path) -> None:
    """In the middle nothing stays; after the dot the mail is there, answered or not."""
    with smtp_serving(tmp_path) as world:
        assert world.server
        begin = f"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<{JO}>\r\nDATA\r\n".encode()
        for body in (b"half", b"x" * 300_000):
            with world.socket() as sock:
                sock.sendall(begin)
                while b"354" not in sock.recv(1000):
                    pass
                sock.sendall(body)
        eventually(lambda: not world.server or not world.server.sessions)
        incoming = tmp_path / "mdir" / "store" / "incoming"
        eventually(lambda: not list(incoming.iterdir()))
        eventually(lambda: len([r for r in world.state.since(0) if r.verdict == "abandoned"]) == 2)
        with world.socket() as sock:
            sock.sendall(begin)
            while b"354" not in sock.recv(1000):
                pass
            sock.sendall(b"whole\r\n.\r\n")
            sock.shutdown(socket.SHUT_WR)  # a half-close: the answer is still wanted
            rest = b"".join(iter(lambda: sock.recv(1000), b""))
        assert rest.startswith(b"250 ")
        assert [b"whole\r\n"] == world.mails()


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
    limits = Limits(per_address=3, connections=20, early=0, allow=())
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
    limits = Limits(per_address=2, connections=4, early=0, allow=())
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
    with smtp_serving(tmp_path, Limits(early=0.3, allow=())) as world:
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
    limits = Limits(per_address=3, allow=(), early=0)
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
    with smtp_serving(tmp_path, Limits(early=1, allow=())) as world:
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


def test_guessers_do_not_keep_others_out(tmp_path: Path) -> None:
    """So many of one address are held back at once; the next ones are told to come later."""
    given = base64.b64encode(b"\0nobody\0x")
    with smtp_serving(tmp_path, passwords=True) as world, contextlib.ExitStack() as stack:
        guessing = []
        for _ in range(40):
            sock = stack.enter_context(world.socket("submissions"))
            guessing.append(stack.enter_context(trusting().wrap_socket(sock)))
            guessing[-1].sendall(b"EHLO x\r\nAUTH PLAIN " + given + b"\r\n")
        answers = b""
        for sock in guessing[-3:]:
            while b"454 4.7.0" not in answers:
                answers += sock.recv(1000)
            answers = b""


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
