"""The SMTP server: what it takes, what it answers, and what is there afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from mdirclient import Header
from mdirclient.errors import StoreError, reply_error
from mdirclient.mdird.users import remove_user
from mdirclient.smtp.accounts import add_account
from mdirclient.smtp.serve import server as servers
from mdirclient.smtp.serve.limits import Limits
from mdirclient.smtp.state import Record, State
from mdirclient.smtp.statistics.totals import Total
from tests.crash.ladder import Ladder, counted
from tests.mails import small, two_photos
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
from tests.smuggling import VECTORS

JO, LI = ACCOUNTS
MO = "mo@ours.test"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Smtped]:
    """One server for the tests that leave nothing behind but mails."""
    path = tmp_path_factory.mktemp("smtp")
    limits, accounts = Limits(size=20 << 20, per_hour=5), (*ACCOUNTS, MO)
    with smtp_serving(path, limits, accounts=accounts, passwords=True) as world:
        yield world


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
    head = f"Message-ID: <{message_id}>\r\nFrom: {JO}\r\n\r\n".encode()
    mail = head + lines[:size] + b"\xff\r\n"
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
        query = "SELECT kind, name, mails FROM total WHERE kind IN ('received', 'reason')"
        with contextlib.closing(sqlite3.connect(world.state.path)) as connection:
            expected = [("reason", "451 4.3.0", 1), ("received", JO, 1)]
            eventually(lambda: connection.execute(query).fetchall() == expected)
        (record,) = world.state.since(0)
        assert ((JO, JO), (f"451 {LI}",)) == (record.recipients, record.refused)


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
    monkeypatch.setattr("mdirclient.smtp.followed._BEAT", 0.1)
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

    def slow(self: State, records: Sequence[Record], events: Sequence[Total] = ()) -> None:
        time.sleep(0.2)
        add(self, records, events)

    monkeypatch.setattr(State, "add", slow)
    with smtp_serving(tmp_path) as world:
        send(world, crlf(small(1)))
    state = State(str(tmp_path / "smtp.sqlite3"))
    assert 1 == len(state.since(0))
    assert 1 == state.forget(time.time() + 1)
    assert () == state.since(0)
    state.close()


def test_records_that_cannot_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are tried again, though nothing else comes."""
    monkeypatch.setattr(servers, "_RECORDING_AGAIN", 0.1)
    with smtp_serving(tmp_path) as world:
        add, tries = world.state.add, list[int]()

        def fails_once(records: Sequence[Record], events: Sequence[Total] = ()) -> None:
            tries.append(len(records))
            if len(tries) == 1:
                raise StoreError("busy")
            add(records, events)

        monkeypatch.setattr(world.state, "add", fails_once)
        send(world, crlf(small(1)))
        eventually(lambda: len(world.state.since(0)) == 1)
        assert [1, 1] == tries


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
